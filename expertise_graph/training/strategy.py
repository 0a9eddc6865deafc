"""Training strategies: which pretrained weights are trained, from when on, and what regularises them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from expertise_graph import models
from expertise_graph.core import Expert, Registry, SourceError

if TYPE_CHECKING:
    # The command line asks for the names of the strategies, which does not wait for torch.
    from torch import nn

Moving = Callable[["nn.Module", int], Sequence["nn.Parameter"]]
"""Returns the parameters of a backbone that are trained; may add an adapter of the given rank to it."""

Save = Callable[["nn.Module", Expert, Path], None]
"""Writes the adapter that was trained beside the weights of an expert into a folder."""

BACKBONE_LR = 0.3
"""Learning rate of the last stage of the backbone as a fraction of the head's, where all weights move.

Four pairs of glyph tasks: .845 with .3, .840 with .1, .807 with 1; the linear probe alone .828.
"""
ADAPTER_LR = 3.0
"""The same for adapters: six image tasks .570 at 1, .598 from 3 to 10; the smallest is the safest."""
FEW_WEIGHTS_LR = 5.0
"""The same for biases (.540 at 1, .552 at 5, .548 at 10) and normalisation layers (.541, .556, .553)."""


def _weights(module: nn.Module, _: int) -> list[nn.Parameter]:
    """Return all parameters except token embeddings.

    A few hundred texts touch a small part of the rows: moving those alone pulls them away from
    their untouched neighbours, and the table is half of the weights of a small text encoder.
    """
    tables = {id(m.weight) for m in module.modules() if isinstance(m, import_module("torch.nn").Embedding)}
    return [p for p in module.parameters() if id(p) not in tables]


def _everything(module: nn.Module, _: int) -> list[nn.Parameter]:
    return list(module.parameters())


def _nothing(module: nn.Module, _: int) -> list[nn.Parameter]:
    return []


def _biases(module: nn.Module, _: int) -> list[nn.Parameter]:
    return [p for name, p in module.named_parameters() if name.rsplit(".", 1)[-1] == "bias"]


def _norms(module: nn.Module, _: int) -> list[nn.Parameter]:
    norms = (m for m in module.modules() if "norm" in type(m).__name__.lower())
    return [p for m in norms for p in m.parameters(recurse=False)]


def _adapter(module: nn.Module, rank: int) -> list[nn.Parameter]:
    """Put low-rank adapters into the module and return their parameters; none where no layer can have one."""
    return models.add_adapter(module, rank=rank) if models.adaptable(module) else []


def _save_adapter(module: nn.Module, parent: Expert, folder: Path) -> None:
    # Named late: the adapter library is slow to import, and only this strategy needs it.
    models.save_adapter(module, parent, folder)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A training strategy.

    Attributes:
        summary: for the card and for help.
        moving: the parameters of the backbone that are trained.
        lr: learning rate of the last stage of the backbone, as a fraction of the head's.
        pretrained: whether training starts from the expert's weights.
        probe: whether the head starts as a linear probe on the expert's features.
        unfreezes: whether the stages are unfrozen one after the other, the last one first.
        anchored: whether weights are regularised towards their pretrained values.
        save: writes an adapter; None where the whole backbone is saved.
    """

    summary: str
    moving: Moving = _weights
    lr: float = BACKBONE_LR
    pretrained: bool = True
    probe: bool = True
    unfreezes: bool = False
    anchored: bool = False
    save: Save | None = None

    @property
    def fine_tunes(self) -> bool:
        """Whether anything but the head is trained."""
        return self.moving is not _nothing


strategies: Registry[Strategy] = Registry("strategy")

LINEAR_PROBE = "linear-probe"
strategies.register(LINEAR_PROBE, Strategy(summary="linear probe on frozen features", moving=_nothing))
strategies.register("lp-ft", Strategy(summary="linear probe, then fine-tuning of all weights"))
strategies.register("full", Strategy(summary="fine-tuning of all weights under a new head", probe=False))
strategies.register(
    "l2-sp",
    Strategy(summary="fine-tuning of all weights, regularised towards the pretrained ones", anchored=True),
)
strategies.register("bitfit", Strategy(summary="fine-tuning of biases", moving=_biases, lr=FEW_WEIGHTS_LR))
strategies.register(
    "norm-only", Strategy(summary="fine-tuning of normalisation layers", moving=_norms, lr=FEW_WEIGHTS_LR)
)
strategies.register(
    "gradual",
    Strategy(summary="fine-tuning with gradual unfreezing, the last stage first", unfreezes=True),
)
strategies.register(
    "from-scratch",
    Strategy(summary="training from random weights", moving=_everything, pretrained=False, probe=False),
)
strategies.register(
    "lora",
    Strategy(
        summary="low-rank adapters beside frozen weights", moving=_adapter, lr=ADAPTER_LR, save=_save_adapter
    ),
)


def unfreeze(module: nn.Module, name: str, *, rank: int) -> None:
    """Require gradients of the parameters that a strategy trains, and freeze all others.

    Args:
        module: the backbone, changed in place; an adapter is added where the strategy trains one.
        name: of the strategy.
        rank: of the adapter.

    Raises:
        SourceError: when the architecture has nothing that the strategy trains.
    """
    module.requires_grad_(False)
    moving = [p for p in strategies[name].moving(module, rank) if p.is_floating_point()]
    if strategies[name].fine_tunes and not moving:
        others = [n for n in strategies if n != name and _possible(module, strategies[n])]
        raise SourceError(
            f"strategy {name} has nothing to train in this architecture: give {' or '.join(others)}"
        )
    for parameter in moving:
        parameter.requires_grad_(True)


def _possible(module: nn.Module, strategy: Strategy) -> bool:
    """Tell whether an architecture allows a strategy; not asked of those that would change it."""
    return not strategy.fine_tunes or strategy.save is not None or bool(strategy.moving(module, 1))
