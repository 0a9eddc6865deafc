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
from torch import nn

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, NotFoundError
from expertise_graph.data import CLASS, KINDS
from expertise_graph.merging.states import State, Weights, weights_of
from expertise_graph.models import Backbone, SourceOptions, load, resolve
from expertise_graph.registry import kind_of
from expertise_graph.store import Store


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear head: weight (k, d), bias (k,), the names of its k outputs, and what they are.

    Attributes:
        classes: names of classes or labels, or of the value.
        kind: of the target, class, labels or value.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    classes: tuple[str, ...]
    kind: str = CLASS

    def ordered(self, classes: Sequence[str]) -> Head:
        """Return the same head with its classes in another order."""
        rows = [self.classes.index(name) for name in classes]
        return dataclasses.replace(
            self, weight=self.weight[rows], bias=self.bias[rows], classes=tuple(classes)
        )

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

    def head_for(self, outputs: Sequence[str], kind: str) -> Head | None:
        """Return its head with these outputs in this order, or None where it has not exactly these."""
        if self.head is None or self.head.kind != kind or sorted(self.head.classes) != sorted(outputs):
            return None
        return self.head.ordered(outputs)


def open_model(store: Store, text: str, *, trust_code: bool = False) -> Model:
    """Return the model that `text` names: a registered expert, or the folder of a finished run.

    Raises:
        NotFoundError: when there is neither.
        InvalidInputError: for an adapter, a quantised model, or one without weights.
        SourceError: when its weights cannot be loaded.
    """
    path = Path(text).expanduser()
    folder: Path | None
    if "\0" not in text and path.is_dir():
        expert, folder = _in_folder(path, trust_code), path.absolute()
        known = next((e for e in store.experts(expert.modality) if e.id == expert.id), None)
        # The folder that was named is read, wherever the same weights were registered from.
        expert = dataclasses.replace(known, locator=expert.locator) if known else expert
    else:
        expert = store.find_runnable(text)
        folder = _left_by(expert)
    lineage = store.edges("lineage", expert.id)
    _check_whole(expert, kind_of(expert, lineage))
    model = _opened(expert, folder, trust_code=trust_code)
    runs = [run for run in store.runs() if run.child == expert.id and run.status == "done"]
    parents = [e.source for e in lineage if e.target == expert.id]
    items = [n for n in (run.result.get("n_train") for run in runs) if isinstance(n, int)]
    return dataclasses.replace(
        model,
        parents=tuple(dict.fromkeys([*parents, *model.parents])),
        seen=tuple(dict.fromkeys([*((run.task, run.seed) for run in runs), *model.seen])),
        items=model.items or next(iter(items), None),
    )


def open_folder(folder: Path, *, trust_code: bool = False) -> Model:
    """Return the model in the folder of a finished run, as far as the folder knows it.

    Raises:
        NotFoundError: when no finished run is there.
        InvalidInputError: for an adapter or a quantised model.
        SourceError: when its weights cannot be loaded.
    """
    expert = _in_folder(folder, trust_code)
    _check_whole(expert, kind_of(expert, ()))
    return _opened(expert, folder.absolute(), trust_code=trust_code)


def open_expert(reference: str, *, trust_code: bool = False) -> Model:
    """Return the expert that ``scheme:locator`` names, without any registry.

    Raises:
        ExpertiseError: see the sources.
    """
    expert = resolve(reference, SourceOptions(trust_code=trust_code))
    _check_whole(expert, kind_of(expert, ()))
    return _opened(expert, None, trust_code=trust_code)


def _opened(expert: Expert, folder: Path | None, *, trust_code: bool) -> Model:
    described = read_description(folder) if folder else {}
    backbone = load(expert, trust_code=trust_code)
    told = (described.get("expert"), expert.base_model)
    items = _recorded(folder, "result").get("n_train")
    config = _recorded(folder, "identity").get("config")
    seed = config.get("seed") if isinstance(config, dict) else None
    data = _recorded(folder, "identity").get("data")
    return Model(
        expert=expert,
        backbone=backbone,
        weights=weights_of(backbone.module, expert.name),
        head=read_head(folder) if folder else None,
        parents=tuple(dict.fromkeys(p for p in told if isinstance(p, str) and p != expert.id)),
        folder=folder,
        seen=((f"task:{data}", seed),) if isinstance(seed, int) and isinstance(data, str) else (),
        items=items if isinstance(items, int) and items > 0 else None,
    )


def _in_folder(path: Path, trust_code: bool) -> Expert:
    """Return the node of the model that a finished run left in a folder."""
    model = path.absolute() / "model"
    if (model / "adapter_config.json").is_file():
        raise InvalidInputError(
            f"{path} holds an adapter: it adds to other weights, which cannot be averaged; give full models"
        )
    if not (path / "head.json").is_file() and not model.is_dir():
        raise NotFoundError(
            f"{path} is not the folder of a finished run: register a checkpoint as dir:{path}"
        )
    return resolve(f"dir:{model}", SourceOptions(trust_code=trust_code))


def _left_by(expert: Expert) -> Path | None:
    """Return the folder of the run that left a registered expert, if it is still there."""
    model = Path(expert.locator)
    left = expert.source == "dir" and model.name == "model" and (model.parent / "head.json").is_file()
    return model.parent if left else None


def _check_whole(expert: Expert, kind: str) -> None:
    reasons = {"adapter": "it adds to other weights", "quantised": "its weights are rounded"}
    if kind in reasons:
        raise InvalidInputError(
            f"{expert.name} is {kind}: {reasons[kind]}, which cannot be averaged; give full-precision models"
        )


def read_head(folder: Path) -> Head | None:
    """Return the head of a run's folder, or None where there is none.

    Raises:
        InvalidInputError: when the files do not belong together.
    """
    described = read_description(folder)
    classes, kind = described.get("classes"), described.get("kind", CLASS)
    if kind not in KINDS or not isinstance(classes, list):
        return None
    path = folder / "head.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}): train the model again") from error
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or bias is None or weight.ndim != 2 or not len(weight) == len(bias) == len(classes):
        raise InvalidInputError(f"{path} is not a head for the {len(classes)} classes of head.json")
    return Head(weight=weight.float(), bias=bias.float(), classes=tuple(map(str, classes)), kind=kind)


def read_description(folder: Path) -> dict[str, Any]:
    """Return what head.json says, an empty dictionary where there is none.

    Raises:
        InvalidInputError: when it is not a JSON object.
    """
    return _object(folder / "head.json")


def changed(model: Model, module: nn.Module, head: Head | None, *, items: int) -> Model:
    """Return a model with another network and head in place of its own."""
    return dataclasses.replace(
        model,
        backbone=dataclasses.replace(model.backbone, module=module),
        weights=weights_of(module, model.expert.name),
        head=head,
        items=items,
    )


def license_of(model: Model) -> str:
    """Return the licence of a model, "unknown" where nothing is stated."""
    return model.expert.license or UNKNOWN


def _recorded(folder: Path | None, part: str) -> dict[str, Any]:
    """Return a part of run.json: the identity of the run or its result."""
    content = _object(folder / "run.json").get(part) if folder else None
    return content if isinstance(content, dict) else {}


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
