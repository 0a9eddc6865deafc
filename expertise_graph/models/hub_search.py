"""Models on the Hub by what is written about them, without downloading any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from huggingface_hub import HfApi, ModelInfo

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, setting
from expertise_graph.models.card import CardData, card_of
from expertise_graph.models.card_results import CLAIMS, claims_in
from expertise_graph.models.hub_client import hub_errors

# What the Hub calls the use of models that give features of one kind of input.
_PIPELINES: Mapping[str, str] = {
    "image-classification": "image",
    "image-feature-extraction": "image",
    "zero-shot-image-classification": "image",
    "feature-extraction": "text",
    "fill-mask": "text",
    "sentence-similarity": "text",
    "text-classification": "text",
    "text-generation": "text",
    "token-classification": "text",
}
# Bytes of a number by its name in a safetensors header; what is not here counts as float32.
_BYTES: Mapping[str, int] = {"F64": 8, "I64": 8, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_USUAL_BYTES = 4
# Asked for with each page, so that no repository is asked by itself.
FIELDS: Any = [
    *("baseModels", "cardData", "createdAt", "downloads", "gated", "library_name", "model-index"),
    *("pipeline_tag",),
    *("safetensors", "sha", "tags"),
]


@dataclass(frozen=True, kw_only=True)
class HubSearch:
    """Which models of the Hub are wanted.

    Attributes:
        text: part of their names; empty for any.
        pipeline_tag: what the Hub calls their use, e.g. image-classification; None for any that is known.
        license: SPDX identifier; None for any.
        max_params: most parameters; models of unknown size are left out then.
        limit: how many at most, those downloaded most first.
    """

    text: str = ""
    pipeline_tag: str | None = None
    license: str | None = None
    max_params: int | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if self.pipeline_tag is not None and self.pipeline_tag not in _PIPELINES:
            raise InvalidInputError(
                f"{setting('pipeline_tag', self.pipeline_tag)} is not the use of models that give features; "
                f"there are {', '.join(_PIPELINES)}"
            )


def search_hub(search: HubSearch) -> Iterator[Expert]:
    """Yield the models that are found, as nodes without weights; pages are asked for as they are needed.

    Raises:
        OfflineError, SourceError: when the Hub cannot be asked.
    """
    found = 0
    with hub_errors(f"hf:{search.text or '*'}"):
        for info in HfApi().list_models(
            search=search.text or None,
            pipeline_tag=search.pipeline_tag,
            filter=f"license:{search.license}" if search.license else None,
            sort="downloads",
            expand=FIELDS,
        ):
            node = _node(info, search)
            if node is not None:
                yield node
                found += 1
            if found >= search.limit:
                return


def _node(info: ModelInfo, search: HubSearch) -> Expert | None:
    """Return a model as a node; None where it is not wanted, or gives no features of a known kind."""
    if search.pipeline_tag is not None and info.pipeline_tag != search.pipeline_tag:
        return None
    node = node_of(info)
    fits = search.max_params is None or 0 < node.params <= search.max_params
    licensed = search.license is None or search.license.lower() == node.license
    return node if node.modality != UNKNOWN and fits and licensed else None


def node_of(info: ModelInfo) -> Expert:
    """Return what the Hub says of a model, as a node; its modality is unknown where its use is."""
    modality = _PIPELINES.get(info.pipeline_tag or "", UNKNOWN)
    counts = dict(info.safetensors.parameters) if info.safetensors else {}
    params = sum(counts.values())
    card = card_of(info.card_data) if info.card_data else CardData()
    meta = {
        "hub": True,
        "languages": list(card.languages),
        "gated": bool(info.gated),
        "remote_code": "custom_code" in (info.tags or []),
        "downloads": info.downloads or 0,
        "released": info.created_at.date().isoformat() if info.created_at else "",
        "pipeline_tag": info.pipeline_tag,
        "origin": "the Hub",
        CLAIMS: [claim.plain for claim in claims_in(info.model_index)],
    }
    return replace(
        Expert.named(f"hf:{info.id}"),
        modality=modality,
        params=params,
        bytes=sum(n * _BYTES.get(kind, _USUAL_BYTES) for kind, n in counts.items()),
        revision=info.sha,
        license=card.license,
        base_model=card.base_model,
        datasets=card.datasets,
        weights_format="safetensors" if counts else UNKNOWN,
        meta={n: v for n, v in meta.items() if v not in ("", [], False)}
        | ({} if counts else {"safetensors": False}),
    )
