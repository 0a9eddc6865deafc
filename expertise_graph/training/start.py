"""The warm start: train from an expert and, for comparison, from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from expertise_graph.core import Expert, InvalidInputError
from expertise_graph.data import LabelledData, holdout, known_modalities
from expertise_graph.models import Backbone, native_features
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.fine_tune import train
from expertise_graph.training.loop import Report
from expertise_graph.training.resizing.resize_expert import resize
from expertise_graph.training.result import TrainResult
from expertise_graph.training.trackers import TENSORBOARD


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is trained from what, and how.

    Attributes:
        expert: the node to start from.
        config: the settings.
        architecture: the node that ``config.into`` names, where it is a registered expert.
        compare_cold: whether to train from scratch as well.
        trust_code: whether code that comes with an expert, or a factory of the user, may be run.
        tracker: what shows the course.
        seen: items of the test split that the expert has learnt from before.
    """

    expert: Expert
    config: TrainConfig
    architecture: Expert | None = None
    compare_cold: bool = False
    trust_code: bool = False
    tracker: str = TENSORBOARD
    seen: int = 0


@dataclass(frozen=True, kw_only=True)
class WarmCold:
    """The results of a warm start and, when asked for, of the cold start on the same budget."""

    warm: TrainResult
    cold: TrainResult | None

    @property
    def transfer_gain(self) -> float | None:
        """Accuracy of the warm start minus that of the cold start on the same test split."""
        return None if self.cold is None else self.warm.accuracy - self.cold.accuracy


def warm_start(
    backbone: Backbone, data: LabelledData, start: Start, *, out: Path, progress: Report | None = None
) -> WarmCold:
    """Train from an expert into `out`, and when asked to from scratch into ``out/cold`` as well.

    Both have the same split, batches, epochs and time budget; each is resumed or read back by a
    second call. Where the settings name another architecture, that is what is trained, from weights
    of the expert.

    Args:
        backbone: the expert in memory.
        data: labelled inputs of its modality.
        start: expert and settings.
        out: folder of the run.
        progress: called after each step and phase.

    Raises:
        InvalidInputError: as `train`, and when a cold start would be compared with itself.
        SourceError: as `train`, and when the head is to be native and the library has none that fits.
    """
    config = start.config
    if start.compare_cold and not config.way.pretrained:
        raise InvalidInputError(
            f"strategy {config.strategy} is the cold start already: give it or compare_cold, not both"
        )
    run = partial(
        train,
        _network(backbone, data, start),
        data,
        expert=start.expert,
        teacher=backbone,
        tracker=start.tracker,
        progress=progress,
    )
    warm = run(out=out, config=config, seen=start.seen)
    cold = run(out=out / "cold", config=config.cold()) if start.compare_cold else None
    return WarmCold(warm=warm, cold=cold)


def _network(backbone: Backbone, data: LabelledData, start: Start) -> Backbone:
    """Return what is trained: the expert, or a smaller network from its weights; pooled as asked."""
    config = start.config
    if config.into is not None:
        items = _training_items(data, config)
        reference = start.architecture or config.into
        backbone = resize(backbone, start.expert, reference, items=items, trust_code=start.trust_code)
    return native_features(backbone) if config.head == "native" else backbone


def _training_items(data: LabelledData, config: TrainConfig) -> list[Any]:
    """Return the decoded items to train on."""
    decode = known_modalities[data.modality].decode
    return [decode(data.items[i]) for i in holdout(data, seed=config.seed).train]
