"""One network with its head in memory: logits of any number of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.core import (
    ExpertiseError,
    InvalidInputError,
    NotFoundError,
    Progress,
    SourceError,
    first_line,
    silent,
)
from expertise_graph.data import KINDS, Item, plural_of
from expertise_graph.features import extract
from expertise_graph.inference.base import CHUNK, Model, is_positive, noted_score, shifted
from expertise_graph.models import Backbone, SourceOptions, existing_folder, inspect, load, read_json, resolve
from expertise_graph.training import check_backbone, load_model


@dataclass(frozen=True, kw_only=True)
class Network(Model):
    """What one warm start left.

    Attributes:
        backbone: the network that gives features, and its preprocessing.
        head: the linear layer from features to logits.
    """

    backbone: Backbone
    head: torch.nn.Linear

    @property
    def networks(self) -> tuple[Network, ...]:
        """Itself."""
        return (self,)

    @property
    def factors(self) -> tuple[float, ...]:
        """One: logits are as they are."""
        return (1.0,)

    def logits(self, items: Sequence[Item], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Return logits (n, classes) of undecoded items, in their order.

        No more than `CHUNK` items are decoded, and their features kept, at a time.

        Raises:
            DatasetError: when an item cannot be decoded.
            SourceError: when the model cannot be run, or gives NaN or infinity.
        """
        parts = [np.zeros((0, self.head.out_features), dtype=np.float32)]
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            parts.append(self._classify(chunk, shifted(progress, start, len(items))))
        return np.concatenate(parts)

    def _classify(self, items: Sequence[Item], progress: Progress) -> NDArray[np.float32]:
        try:
            features = extract(self.backbone, items, label=self.folder.name, progress=progress)
        except ExpertiseError:
            raise
        except Exception as error:  # networks of strangers raise anything
            raise SourceError(
                f"{self.folder} cannot be run on {plural_of(self.modality)}: {first_line(error)}"
            ) from error
        with torch.inference_mode():
            logits: NDArray[np.float32] = self.head(torch.from_numpy(features)).numpy()
        if not np.isfinite(logits).all():
            raise SourceError(f"{self.folder} gives NaN or infinity; its weights are not usable")
        return logits


def open_network(folder: str | Path, *, trust_code: bool = False) -> Network:
    """Read the ``--out`` folder of a finished warm start; of an ensemble its first network.

    Args:
        folder: it holds ``model/``, ``head.safetensors`` and ``head.json``; no workspace is needed.
        trust_code: whether a network built by code of the user may be built.

    Raises:
        NotFoundError: when there is no such folder, or no head in it.
        InvalidInputError: when the run has not finished, or its files do not belong together.
        SourceError: when a file is damaged.
        UntrustedError: when the network is built by code and that was not allowed.
    """
    root = existing_folder(str(folder))
    identity = _finished(root)
    described = _described(root)
    weights = root / "head.safetensors"
    if weights.exists():
        inspect(weights)
    check_backbone(root)
    options = SourceOptions(trust_code=trust_code, modality=described.get("modality"), name=root.name)
    expert = resolve(f"dir:{root / 'model'}", options)
    backbone = load(expert, trust_code=trust_code)
    classifier, classes = load_model(backbone.module, root)
    if classifier.head.in_features != backbone.dim:
        raise InvalidInputError(
            f"the head in {root} takes {classifier.head.in_features} features and model/ gives "
            f"{backbone.dim}: they are of different runs"
        )
    return Network(
        folder=root,
        backbone=backbone,
        head=classifier.head.eval(),
        classes=classes,
        kind=described["kind"],
        temperature=described["temperature"],
        identity=identity,
        accuracy=noted_score(root / "head.json", described.get("accuracy")),
        seen=described["seen"],
    )


def _finished(root: Path) -> Mapping[str, Any]:
    """Return what the run in a folder recorded about itself, if it has finished."""
    record = root / "run.json"
    if not record.is_file():
        return {}
    content = read_json(record)
    if content.get("result") is None:
        raise InvalidInputError(
            f"the run in {root} has not finished: give its warm-start command again to go on with it"
        )
    identity = content.get("identity")
    return identity if isinstance(identity, dict) else {}


def _described(root: Path) -> dict[str, Any]:
    """Return head.json with what older ones leave out, checked."""
    path = root / "head.json"
    if not path.is_file():
        raise _no_head(root)
    found = {"kind": "class", "temperature": 1.0, "seen": 0, **read_json(path)}
    classes = found.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InvalidInputError(f"{path} names no classes: train the model again")
    if found["kind"] not in KINDS:
        raise InvalidInputError(f"{path} has the kind {found['kind']!r}; possible are {', '.join(KINDS)}")
    temperature = found["temperature"]
    if not is_positive(temperature):
        raise InvalidInputError(f"{path} has the temperature {temperature!r}; a number above 0 is needed")
    if type(found["seen"]) is not int:
        raise InvalidInputError(f"{path} has {found['seen']!r} items seen before; a whole number is needed")
    return found


def _no_head(root: Path) -> NotFoundError:
    if (root.parent / "head.json").is_file():
        return NotFoundError(f"{root} is a part of a finished model: give {root.parent}")
    return NotFoundError(
        f"{root} holds no finished model (no head.json): give the --out folder of a warm start"
    )
