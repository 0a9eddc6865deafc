"""The models that are merged: registered experts or folders of runs, with head and parents."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from expertise_graph.errors import InvalidInputError, NotFoundError
from expertise_graph.merging.states import State, Weights, weights_of
from expertise_graph.retrieval.constraints import kind_of
from expertise_graph.sources import Backbone, SourceOptions, load, resolve
from expertise_graph.store import Store
from expertise_graph.types import UNKNOWN, Expert

SINGLE = "single"


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear classifier: weight (classes, d), bias (classes,) and the names of the classes."""

    weight: torch.Tensor
    bias: torch.Tensor
    classes: tuple[str, ...]

    def ordered(self, classes: Sequence[str]) -> Head:
        """Return the same head with its classes in another order."""
        rows = [self.classes.index(name) for name in classes]
        return Head(weight=self.weight[rows], bias=self.bias[rows], classes=tuple(classes))

    def knows(self, classes: Sequence[str]) -> bool:
        """Tell whether it has exactly these classes, in any order."""
        return len(classes) == len(self.classes) and set(classes) == set(self.classes)

    @property
    def state(self) -> State:
        """Its tensors by name."""
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model in memory with what is known of where it comes from.

    Attributes:
        expert: its node, as registered or as its folder describes it.
        backbone: the network.
        weights: copies of the tensors of the network, in float32.
        head: its classifier, where a run left one.
        parents: ids of what it was made from.
        folder: of the run that made it.
        seen: (task id, seed) of the runs it was trained in.
        items: how many items it was trained on.
    """

    expert: Expert
    backbone: Backbone
    weights: Weights
    head: Head | None = None
    parents: tuple[str, ...] = ()
    folder: Path | None = None
    seen: tuple[tuple[str, int], ...] = ()
    items: int | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.expert.short


def open_model(store: Store, text: str, *, trust_code: bool = False) -> Model:
    """Return the model that `text` names: a registered expert, or the folder of a finished run.

    Raises:
        NotFoundError: when there is neither.
        InvalidInputError: for an adapter, a quantised model, or one without weights.
        SourceError: when its weights cannot be loaded.
    """
    expert, folder = _find(store, text, trust_code)
    lineage = store.edges("lineage", expert.id)
    kind = kind_of(expert, lineage)
    if kind in ("adapter", "quantised"):
        made_of = "adds to other weights" if kind == "adapter" else "has rounded weights"
        raise InvalidInputError(
            f"{expert.name} is {kind}: it {made_of}, which cannot be averaged; give full-precision models"
        )
    described = read_description(folder) if folder else {}
    runs = [run for run in store.runs() if run.child == expert.id and run.status == "done"]
    told = (described.get("expert"), expert.base_model)
    parents = [e.source for e in lineage if e.target == expert.id] + [p for p in told if isinstance(p, str)]
    backbone = load(expert, trust_code=trust_code)
    seen = [(run.task, run.seed) for run in runs] + _seen_in(folder)
    items = [run.result.get("n_train") for run in runs] + [_result(folder).get("n_train")]
    return Model(
        expert=expert,
        backbone=backbone,
        weights=weights_of(backbone.module, expert.name),
        head=read_head(folder) if folder else None,
        parents=tuple(dict.fromkeys(p for p in parents if p != expert.id)),
        folder=folder,
        seen=tuple(dict.fromkeys(seen)),
        items=next((n for n in items if isinstance(n, int) and n > 0), None),
    )


def _find(store: Store, text: str, trust_code: bool) -> tuple[Expert, Path | None]:
    """Return the node of a model and the folder of its run, if there is one."""
    path = Path(text).expanduser()
    if "\0" not in text and (path / "head.json").is_file():
        folder = path.absolute()
        if (folder / "model" / "adapter_config.json").is_file():
            raise InvalidInputError(
                f"{folder} holds an adapter: it adds to other weights, which cannot be averaged; "
                "give full-precision models"
            )
        described = resolve(f"dir:{folder / 'model'}", SourceOptions(trust_code=trust_code))
        known = next((e for e in store.experts(described.modality) if e.id == described.id), None)
        # The folder that was named is read, wherever the same weights were registered from.
        expert = described if known is None else dataclasses.replace(known, locator=described.locator)
        return expert, folder
    if "\0" not in text and path.is_dir():
        raise NotFoundError(f"{path} is not the folder of a finished run (no head.json): register it as dir:")
    expert = store.find_runnable(text)
    folder = Path(expert.locator).parent
    left = expert.source == "dir" and Path(expert.locator).name == "model" and (folder / "head.json").is_file()
    return expert, folder if left else None


def read_head(folder: Path) -> Head | None:
    """Return the head of a run's folder, or None when it is not one of a single label.

    Raises:
        InvalidInputError: when the files do not belong together.
    """
    described = read_description(folder)
    classes = described.get("classes")
    if described.get("kind", SINGLE) != SINGLE or not isinstance(classes, list):
        return None
    path = folder / "head.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}): train the model again") from error
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or bias is None or weight.ndim != 2 or not len(weight) == len(bias) == len(classes):
        raise InvalidInputError(f"{path} is not a head for the {len(classes)} classes of head.json")
    return Head(weight=weight.float(), bias=bias.float(), classes=tuple(map(str, classes)))


def read_description(folder: Path) -> dict[str, Any]:
    """Return what head.json says, an empty dictionary where there is none.

    Raises:
        InvalidInputError: when it is not a JSON object.
    """
    return _object(folder / "head.json")


def license_of(model: Model) -> str:
    """Return the licence of a model, "unknown" where nothing is stated."""
    return model.expert.license or UNKNOWN


def _seen_in(folder: Path | None) -> list[tuple[str, int]]:
    """Return the task and the seed of the run in a folder."""
    identity = _object(folder / "run.json").get("identity") if folder else None
    config = identity.get("config") if isinstance(identity, dict) else None
    seed = config.get("seed") if isinstance(config, dict) else None
    if not isinstance(identity, dict) or not isinstance(seed, int):
        return []
    return [(f"task:{identity.get('data')}", seed)]


def _result(folder: Path | None) -> dict[str, Any]:
    result = _object(folder / "run.json").get("result") if folder else None
    return result if isinstance(result, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds a {type(content).__name__}, an object is expected")
    return content
