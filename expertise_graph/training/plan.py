"""What a training takes, as far as its settings decide: the plan that demands are estimated for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expertise_graph.core import InvalidInputError
from expertise_graph.features import Plan
from expertise_graph.training.config import TrainConfig

# Share of the weights that strategies train which leave most as they are: low-rank adapters of rank eight in
# networks of 384 channels have three in a hundred, biases and norms fewer.
_FEW = 0.03
_ALL = ("_weights", "_everything")


def plan_of(settings: Mapping[str, Any]) -> Plan | None:
    """Return what of a training's settings decides how much memory and time it takes.

    Args:
        settings: fields of a `TrainConfig`, as runs are recorded with; the others have their defaults.

    Returns:
        None for settings of another version, a smaller architecture, or distillation.
    """
    try:
        config = TrainConfig(**settings)
    except (InvalidInputError, TypeError):
        return None
    if config.into is not None or config.distill:
        return None
    way = config.way
    return Plan(
        trained=(1.0 if way.moving.__name__ in _ALL else _FEW) if way.fine_tunes else 0.0,
        adapts=way.save is not None,
        probes=way.probe,
        fine_tunes=way.fine_tunes,
        epochs=config.epochs,
        batch_size=config.batch_size,
        augments=config.augment,
    )
