"""What a search begins with: with little time a linear probe of the query's best expert comes first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# The raw input is tried before a fine-tune that is expected to be better where it takes less than this of the
# time left. It wins where no expert is good, and is one more opinion in the ensemble.
RAW_SHARE = 0.15


class Step(Enum):
    """A trial that a search may begin with."""

    PROBE = "linear probe"
    RAW = "raw input"
    TUNE = "defaults"


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """Seconds that first steps are expected to take, on a machine as busy as it is.

    Attributes:
        left: until the deadline.
        raw: a linear model on the raw input.
        probe: a linear probe of the query's best expert, from loading it on.
        probe_end: measuring and writing the probe.
        epoch: of fine-tuning that expert.
        tune_end: measuring, writing and registering the fine-tuned expert.
    """

    left: float
    raw: float
    probe: float
    probe_end: float
    epoch: float
    tune_end: float

    @property
    def training(self) -> float:
        """Epochs that there is time for after the head."""
        return max(self.left - self.probe - self.tune_end, 0.0) / max(self.epoch, 1e-9)


def opening(times: Foreseen, *, epochs: float, least: float, raw_promises: bool) -> list[Step]:
    """Return the first trials, in their order.

    With time for a whole fine-tune of the best expert beside the raw input, that is the raw input alone: the
    search goes on with the fine-tune, which begins with the probe. With less time, what is worth most for its
    seconds comes first: the probe, for which the query has computed most features; then a shorter fine-tune,
    where that is better than the probe. The raw input comes before them where the query expects as much of
    it, between them where it takes little of the time, and after a probe that is not fine-tuned where it
    leaves the time to fit the probe once more, on all items.

    Args:
        times: what each takes.
        epochs: of a whole fine-tune.
        least: epochs from which on a shorter fine-tune is better than the probe.
        raw_promises: whether the raw input is expected to be as good as the best expert.
    """
    whole = times.raw + times.probe + epochs * times.epoch + times.tune_end
    if whole <= times.left or times.probe + times.probe_end > times.left:
        return [Step.RAW]
    rest = [Step.TUNE] if times.training >= least else []
    if raw_promises:
        return [Step.RAW, Step.PROBE, *rest]
    after = times.left - times.probe
    spare = RAW_SHARE * after if rest else after - times.probe - times.probe_end
    return [Step.PROBE, Step.RAW, *rest] if times.raw < spare else [Step.PROBE, *rest]
