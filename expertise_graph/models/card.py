"""Metadata from a model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from expertise_graph.core import UNKNOWN

_LIMIT = 2 << 20


@dataclass(frozen=True, kw_only=True)
class CardData:
    """What the author of a model states about it; unverified."""

    license: str = UNKNOWN
    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def read_card(path: Path) -> CardData:
    """Return the metadata of the model card at `path`; a missing or broken card states nothing."""
    try:
        if not path.is_file() or path.stat().st_size > _LIMIT:
            return CardData()
        data = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except Exception:  # a card is free text by strangers: whatever the parser raises means "unknown"
        return CardData()
    name = _first(data.get("license_name")) if data.get("license") == "other" else _first(data.get("license"))
    return CardData(
        license=(name or UNKNOWN).lower(),
        base_model=_first(data.get("base_model")),
        datasets=_strings(data.get("datasets")),
        tags=_strings(data.get("tags")),
    )


def _strings(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, str))


def _first(value: Any) -> str | None:
    return next(iter(_strings(value)), None)
