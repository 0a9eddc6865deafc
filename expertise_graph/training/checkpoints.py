"""Checkpoints: complete or absent, without a pickle.

``checkpoint/epoch-00007/`` holds model, best and optimizer (safetensors) and state.json. It is
written under another name, flushed to disk and renamed, so a kill at any moment leaves the
checkpoint before it or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core import first_line, remove, sync, write_json
from expertise_graph.models import write_tensors

Tensors = dict[str, torch.Tensor]


@dataclass(kw_only=True)
class TrainingState:
    """How far a training is: everything besides tensors that the next epoch depends on.

    Attributes:
        epoch: the last finished epoch; 0 is the linear probe.
        kept: the epoch whose weights were kept.
        stopped: epochs (all were run), early, time or nan; empty while it goes on.
        mirror: whether images are mirrored at random.
        parts: how many parts each batch is computed in.
        temperature: where it was fitted before, on validation items that were trained on since.
        clock: of the time budget.
        scaler: of the gradients, in fp16.
        head_scale: factor of the linear probe's weights that training started from.
        lr: the peak learning rate that was chosen, None where none was.
        lr_search: what was measured to choose it, a row a rate.
    """

    epoch: int = 0
    step: int = 0
    kept: int = 0
    stopped: str = ""
    note: str = ""
    mirror: bool = False
    parts: int = 1
    temperature: float | None = None
    clock: dict[str, float] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    head_scale: float = 1.0
    lr: float | None = None
    lr_search: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def trained_tensors(model: nn.Module) -> Tensors:
    """Return what training may change: parameters that are not frozen, and all buffers, not copied."""
    moving = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    return {**moving, **{f"buffer.{name}": b for name, b in model.named_buffers()}}


def restore(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy `tensors`, as `trained_tensors` names them, into the model."""
    for name, tensor in trained_tensors(model).items():
        tensor.copy_(tensors[name])


def copied(tensors: Tensors) -> Tensors:
    """Return copies that further training does not change."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


class _Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    state: TrainingState
    model: Tensors
    best: Tensors
    optimizer: Tensors


def _read(path: Path, model: nn.Module) -> _Checkpoint:
    """Read a checkpoint of a model, all of it before any of it is used.

    Raises:
        ValueError: when it is of another model; and what readers raise where it is damaged.
    """
    names = ("model", "best", "optimizer")
    parts = {name: load_file(path / f"{name}.safetensors") for name in names}
    state = TrainingState(**json.loads((path / "state.json").read_text(encoding="utf-8")))
    wanted = {name: tensor.shape for name, tensor in trained_tensors(model).items()}
    for name in ("model", "best"):
        if any(parts[name][tensor].shape != shape for tensor, shape in wanted.items()):
            raise ValueError(f"{name}.safetensors holds tensors of another model")
    parameters = {name for name, _ in model.named_parameters()}
    if strange := {label for label in parts["optimizer"] if label.partition(":")[2] not in parameters}:
        raise ValueError(f"optimizer.safetensors holds {min(strange)}")
    if not 0 <= state.kept < len(state.history):
        raise ValueError("state.json lacks its epochs")
    return _Checkpoint(state=state, **parts)


class Checkpoints:
    """The checkpoints of one run; the newest counts.

    Args:
        out: folder of the run.
        writes: whether this process writes them; of several that train together only the first does.
    """

    def __init__(self, out: Path, *, writes: bool = True) -> None:
        self.folder, self.writes = out / "checkpoint", writes

    def latest(self) -> Path | None:
        """Return the newest whole checkpoint."""
        found = sorted(self.folder.glob("epoch-*"))
        return found[-1] if found else None

    def save(self, state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint of `state.epoch`, then drop the ones before it."""
        before = self.latest()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{uuid.uuid4().hex}"
        temporary.mkdir()
        write_tensors(temporary / "model.safetensors", trained_tensors(model))
        write_tensors(temporary / "optimizer.safetensors", _optimizer_tensors(model, optimizer))
        best = temporary if before is None or state.kept == state.epoch else before
        name = "model.safetensors" if best is temporary else "best.safetensors"
        _link(best / name, temporary / "best.safetensors")
        write_json(temporary / "state.json", asdict(state))
        # Before the first epoch there is one for each rate that was tried, too.
        tried = f".{len(state.lr_search)}" if state.lr_search and not state.epoch else ""
        temporary.rename(self.folder / f"epoch-{state.epoch:05d}{tried}")
        sync(self.folder)
        self._clean()

    def load(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[TrainingState, Tensors] | None:
        """Put the newest checkpoint into model and optimizer; return its state and the best weights."""
        if self.writes:
            self._clean()
        path = self.latest()
        if path is None:
            return None
        try:
            found = _read(path, model)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            # Nothing was put into the model yet: the training begins as if there were none.
            sys.stderr.write(f"{path} is damaged ({first_line(error)}): training starts over\n")
            if self.writes:
                remove(path)
            return None
        restore(model, found.model)
        _restore_optimizer(model, optimizer, found.optimizer)
        return found.state, found.best

    def remove(self) -> None:
        """Remove all checkpoints, after the run has its result."""
        remove(self.folder)

    def _clean(self) -> None:
        latest = self.latest()
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            if path != latest:
                remove(path)


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    return {
        f"{key}:{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    parameters = dict(model.named_parameters())
    for label, value in tensors.items():
        key, name = label.split(":", 1)
        parameter = parameters[name]
        on_device = key != "step" or optimizer.defaults["fused"]
        optimizer.state[parameter][key] = value.to(parameter.device) if on_device else value


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        sync(target)
