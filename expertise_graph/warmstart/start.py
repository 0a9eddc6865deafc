"""The warm start: train from an expert and, for comparison, from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expertise_graph.data.base import LabelledData
from expertise_graph.errors import InvalidInputError
from expertise_graph.sources.base import Backbone
from expertise_graph.types import Expert
from expertise_graph.warmstart.config import TrainConfig
from expertise_graph.warmstart.loop import Report, train
from expertise_graph.warmstart.result import TrainResult
from expertise_graph.warmstart.trackers import TENSORBOARD


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
    backbone: Backbone,
    expert: Expert,
    data: LabelledData,
    *,
    out: Path,
    config: TrainConfig,
    compare_cold: bool = False,
    tracker: str = TENSORBOARD,
    progress: Report | None = None,
) -> WarmCold:
    """Train from `expert` into `out`, and with `compare_cold` from scratch into ``out/cold`` as well.

    Both have the same split, batches, epochs and time budget; each is resumed or read back by a
    second call.

    Raises:
        InvalidInputError: as `train`, and when a cold start would be compared with itself.
    """
    if compare_cold and not config.way.pretrained:
        raise InvalidInputError(
            f"strategy {config.strategy} is the cold start already: give it or compare_cold, not both"
        )
    warm = train(backbone, data, out=out, config=config, expert=expert, tracker=tracker, progress=progress)
    cold = None
    if compare_cold:
        cold = train(
            backbone,
            data,
            out=out / "cold",
            config=config.cold(),
            expert=expert,
            tracker=tracker,
            progress=progress,
        )
    return WarmCold(warm=warm, cold=cold)
