"""A model without a network: a linear head on what is computed from the input itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expertise_graph.core import Expert, InvalidInputError, SourceError, sha256_of_json, write_json
from expertise_graph.data import known_modalities
from expertise_graph.models.base import Backbone
from expertise_graph.models.weights import read_object

RAW = "raw"
"""Source of what stands for no expert."""

RAW_FILE = "raw_input.json"
"""In ``model/`` of a run: which input is described, and by which version of the description."""

# Increased when a modality describes its inputs in another way: a head fits one of them only.
_VERSION = 1


class RawInput(nn.Module):
    """Gives back its input: the description of raw inputs (n, d) is all that the head needs.

    Attributes:
        counts: whether the description counts many rare parts, see `Modality.counts`.
    """

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        self.counts = counts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        return x


def raw_expert(modality: str) -> Expert:
    """Return what stands in the place of an expert; it is no node, and cannot be registered."""
    sha = sha256_of_json({"modality": modality, "version": _VERSION})
    return Expert(
        id=f"{RAW}:{modality}",
        name="raw input",
        source=RAW,
        locator=modality,
        modality=modality,
        architecture="none",
        params=0,
        bytes=0,
        dim=raw_backbone(modality).dim,
        weights_sha=sha,
        preprocessing_sha=sha,
    )


def raw_backbone(modality: str) -> Backbone:
    """Return the description of raw inputs of a modality in the form of a backbone."""
    known = known_modalities[modality]
    describe = known.counts or known.raw_features

    def collate(items: Sequence[Any]) -> dict[str, torch.Tensor]:
        return {"x": torch.from_numpy(describe(items))}

    def fresh(seed: int) -> nn.Module:
        return RawInput(counts=known.counts is not None)

    def save(module: nn.Module, folder: Path) -> None:
        folder.mkdir(parents=True)
        write_json(folder / RAW_FILE, {"modality": modality, "version": _VERSION})

    dim = describe([]).shape[1]
    return Backbone(module=fresh(0), collate=collate, dim=dim, modality=modality, fresh=fresh, save=save)


def read_raw(folder: Path) -> Backbone | None:
    """Return what `raw_backbone` saved in ``model/`` of a run, None where a network is there.

    Raises:
        InvalidInputError: when another version of this package described the inputs.
    """
    if not (folder / RAW_FILE).is_file():
        return None
    described = read_object(folder / RAW_FILE)
    modality, version = described.get("modality"), described.get("version")
    if version != _VERSION or modality not in known_modalities:
        raise InvalidInputError(
            f"{folder / RAW_FILE} describes {modality} by version {version}, and this package has version "
            f"{_VERSION}: train the model again"
        )
    return raw_backbone(str(modality))


def refuse_raw(folder: Path) -> None:
    """Raise SourceError where a run has no network, and so is no expert."""
    if (folder / RAW_FILE).is_file():
        raise SourceError(
            f"{folder} is a linear model on raw input without a network: predict and evaluate use it, and "
            "nothing can start from it"
        )
