"""A finished model, opened: one network, or several that answer together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import InvalidInputError, Progress, silent
from expertise_graph.data import Item
from expertise_graph.inference.base import Model, is_positive, noted_score, shifted
from expertise_graph.inference.network import Network, open_network
from expertise_graph.models import existing_folder, read_json
from expertise_graph.training import with_remark, write_json, write_text

ENSEMBLE = "ensemble.json"
_REMARK = (
    "{} networks answer together here, see `ensemble.json`: {:.4f} on the test split. What follows is of the "
    "first, in `model/`; the others are in `members/`."
)
_MEMBER = re.compile(r"members/[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Ensemble(Model):
    """Networks of the same classes; the answer is the weighted mean of logits, each over its own temperature.

    That is the geometric mean of their probabilities, scaled to sum to 1; of values it is the mean.

    Attributes:
        weights: of the networks; they sum to 1.

    References:
        Hinton, Neural Computation 14(8), 2002, products of experts; Heskes, NIPS 1997, logarithmic
        opinion pools.
    """

    members: tuple[Network, ...]
    weights: tuple[float, ...]

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that it runs."""
        return self.members

    @property
    def factors(self) -> tuple[float, ...]:
        """The weights, over the temperatures."""
        return tuple(w / m.temperature for w, m in zip(self.weights, self.members, strict=True))

    def logits(self, items: Sequence[Item], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Return mean logits (n, classes) of undecoded items, in their order.

        Raises:
            DatasetError: when an item cannot be decoded.
            SourceError: when a member cannot be run, or gives NaN or infinity.
        """
        total, n = len(items) * len(self.members), len(items)
        told = [shifted(progress, place * n, total) for place in range(len(self.members))]
        found = np.zeros((n, len(self.classes)), dtype=np.float32)
        for member, factor, progressed in zip(self.members, self.factors, told, strict=True):
            found += member.logits(items, progress=progressed) * np.float32(factor)
        return found


def open_model(folder: str | Path, *, trust_code: bool = False) -> Model:
    """Read the ``--out`` folder of a finished warm start, or of an `auto` that left an ensemble.

    Args:
        folder: it holds ``model/``, ``head.safetensors`` and ``head.json``, and of an ensemble
            ``ensemble.json`` and ``members/``; no workspace is needed.
        trust_code: whether networks built by code of the user may be built.

    Raises:
        NotFoundError: when there is no such folder, or no head in it.
        InvalidInputError: when the run has not finished, or its files do not belong together.
        SourceError: when a file is damaged.
        UntrustedError: when a network is built by code and that was not allowed.
    """
    root = existing_folder(str(folder))
    first = open_network(root, trust_code=trust_code)
    path = root / ENSEMBLE
    if not path.is_file():
        return first
    described = read_json(path)
    weights = _weights(path, described.get("weights"))
    others = [open_network(root / name, trust_code=trust_code) for name in list(weights)[1:]]
    members = (first, *others)
    for member in members:
        if (member.classes, member.kind, member.modality) != (first.classes, first.kind, first.modality):
            raise InvalidInputError(f"{member.folder} has other classes than {root}: they are no ensemble")
    return Ensemble(
        folder=root,
        classes=first.classes,
        kind=first.kind,
        temperature=1.0,
        identity=first.identity,
        accuracy=noted_score(path, described.get("accuracy")),
        members=members,
        seen=max(member.seen for member in members),
        weights=_normalised(list(weights.values())),
    )


def write_ensemble(folder: Path, weights: Mapping[str, float], accuracy: float) -> None:
    """Make an ensemble of the model in a folder and others below it.

    Args:
        folder: of the first network.
        weights: by folder of the network: ``.``, ``members/2`` and so on.
        accuracy: of all together on the test split.
    """
    write_json(folder / ENSEMBLE, {"weights": dict(weights), "accuracy": accuracy})
    card = folder / "README.md"
    write_text(card, with_remark(card.read_text(encoding="utf-8"), _REMARK.format(len(weights), accuracy)))


def _weights(path: Path, weights: object) -> dict[str, float]:
    """Return the weights by folder of the network, the first first; none may lie elsewhere."""
    if not isinstance(weights, dict) or not _are_members(list(weights)):
        raise InvalidInputError(f"{path} must give weights of ., members/2 and so on; it has {weights!r}")
    for name, weight in weights.items():
        if not is_positive(weight):
            raise InvalidInputError(f"{path} gives {name} the weight {weight!r}; a number above 0 is needed")
    return weights


def _normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Return the weights over their sum; whatever finite numbers they are, that is finite."""
    shares = [weight / max(weights) for weight in weights]
    return tuple(share / sum(shares) for share in shares)


def _are_members(names: list[str]) -> bool:
    return names[:1] == ["."] and len(names) > 1 and all(_MEMBER.fullmatch(name) for name in names[1:])
