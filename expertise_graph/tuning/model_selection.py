"""Which trial the model is made of: evidence on the same validation items, weighed against what was known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expertise_graph.core import Expert, FloatArray, normal_cdf
from expertise_graph.data import known_modalities
from expertise_graph.models import RAW
from expertise_graph.training import TrainConfig
from expertise_graph.tuning.result import CUT, DONE
from expertise_graph.tuning.space import Contender
from expertise_graph.tuning.trial import Outcome

# What other settings than the defaults add to the accuracy: mean and standard deviation. Two tuning tasks
# with twelve settings each: -.013 and .010, -.007 and .018 on their test items.
SETTINGS_GAIN, SETTINGS_DEVIATION = -0.01, 0.02
# What fine-tuning texts adds to the linear probe of the same expert, as far as time went; images, which few
# epochs of augmentation rather harm, are judged by what is measured. MiniLM, cut after one to six epochs:
# noun-fields .683 (probe, fitted on validation items too: .631), german-fortunes .526 (.497), verb-fields
# .463 (.369).
TUNING_GAIN = 0.04
# What training from scratch adds to an expert: as much as a ridge on the raw input does, up to so much, with
# this standard deviation; nothing where the expert is better; and it loses so much where the expert is far
# better. Three tuning tasks where the expert is below the ridge by .11, .16 and .28: +.13, +.10, +.12; eight
# where it is above: +.01 in the mean, deviation .06; three where it is far above: -.07, -.08, -.17.
SCRATCH_MOST, SCRATCH_DEVIATION = 0.1, 0.1
# Standard deviation of what a ridge on the raw input was measured to be worth, of some hundred items.
RAW_DEVIATION = 0.05
# An expert is far better than the raw input if it leaves less than this share of the errors of a ridge on it.
FAR = 0.6
SEARCH = "search"
"""Origin of a trial that the sampler suggested."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial with its outcome.

    Attributes:
        origin: why it was tried, see `TrialResult`.
        recorded: whether the outcome was in the registry, and so not computed again.
    """

    run: str
    contender: Contender
    config: TrainConfig
    outcome: Outcome
    status: str
    origin: str = SEARCH
    recorded: bool = False

    @property
    def usable(self) -> bool:
        """Whether a model may be made of it."""
        return self.status in (DONE, CUT)

    @property
    def expert(self) -> Expert | None:
        """The expert that it started from, None where that is the raw input."""
        return None if self.contender.expert.source == RAW else self.contender.expert

    @property
    def averages(self) -> bool:
        """Whether weights of several trainings like it may be averaged.

        Those that began at different random ones have nothing to do with each other; probes are alike.
        """
        return self.config.way.pretrained and self.outcome.kept > 0

    @property
    def is_probe(self) -> bool:
        """Whether it is a linear probe, be it that time ended before an epoch that was better."""
        return not self.config.way.fine_tunes or (not self.outcome.kept and self.outcome.stopped == "time")

    @property
    def repeats(self) -> bool:
        """Whether further trainings like it, from other random weights, complement it."""
        return not self.config.way.pretrained and self.outcome.kept > 0


@dataclass(frozen=True)
class Comparison:
    """A challenger against the incumbent: the expected advantage, and the probability of any."""

    advantage: float
    probability: float


def choose(trials: Sequence[TrialRecord], *, raw_accuracy: float | None) -> tuple[TrialRecord, str]:
    """Return the trial to make the model of, and a sentence that says why.

    That is the one that is expected to be the best by all that is known; the first usable trial of an
    expert where no other is expected to be better.

    Args:
        trials: at least one that is usable.
        raw_accuracy: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    first, *others = incumbent_first(trials)
    comparisons = [(compare(first, t, raw_accuracy=raw_accuracy), t) for t in others]
    n = len(first.outcome.fits)
    if not comparisons:
        return first, f"the first trial is taken: nothing else was finished on {n} validation items"
    comparison, best = max(comparisons, key=lambda pair: pair[0].advantage)
    if comparison.advantage <= 0:
        return first, f"the first trial stays: none of {len(comparisons)} others is expected to be better"
    return best, (
        f"expected to be better than the first trial by {100 * comparison.advantage:.1f} points, with "
        f"probability {comparison.probability:.2f}"
    )


def incumbent_first(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the usable trials, first the one that others have to beat: the first that is of an expert."""
    return sorted((t for t in trials if t.usable), key=lambda t: t.expert is None)


def compare(first: TrialRecord, other: TrialRecord, *, raw_accuracy: float | None) -> Comparison:
    """Return how much better `other` is than `first`, all that is known together.

    The difference of the fits of the same validation items is a measurement with its standard
    error; the prior is the difference of the query's predictions, with theirs, and what settings
    are usually worth. Both are normal, so the expectation is their mean weighted by precision,
    and the best of many lucky ones is shrunk by as much as it is uncertain.

    Args:
        first: the incumbent.
        other: the challenger.
        raw_accuracy: accuracy of a ridge on the raw input; None where the query predicts no accuracies, and
            experts are alike before.
    """
    mean, error = _measured(first.outcome.fits, other.outcome.fits)
    prior, deviation = _known(first, other, raw_accuracy=raw_accuracy)
    weight = deviation**2 / (deviation**2 + error**2)
    advantage = weight * mean + (1 - weight) * prior
    left = deviation * math.sqrt(1 - weight)
    return Comparison(advantage, float(normal_cdf(advantage / max(left, 1e-9))))


def _known(first: TrialRecord, other: TrialRecord, *, raw_accuracy: float | None) -> tuple[float, float]:
    """Return the expected difference before anything was measured, and its standard deviation."""
    ways = (first.config.way.pretrained, other.config.way.pretrained)
    if ways == (True, False):
        return scratch_gain(first.contender, raw_accuracy), SCRATCH_DEVIATION
    if ways == (False, True):
        return -scratch_gain(other.contender, raw_accuracy), SCRATCH_DEVIATION
    changed = first.config != other.config
    prior, deviation = (_settings_gain(first, other), SETTINGS_DEVIATION) if changed else (0.0, 0.0)
    if first.contender.expert.id == other.contender.expert.id:
        return prior, deviation
    if ways == (False, False):
        return prior, math.hypot(deviation, SCRATCH_DEVIATION)
    spread = math.hypot(first.contender.deviation, other.contender.deviation)
    prior += 0.0 if raw_accuracy is None else other.contender.predicted - first.contender.predicted
    return prior, math.hypot(deviation, spread)


def _settings_gain(first: TrialRecord, other: TrialRecord) -> float:
    """Return what the settings of `other` are expected to add to those of `first`."""
    if first.is_probe and not other.is_probe:
        return 0.0 if known_modalities[first.contender.expert.modality].augmented else TUNING_GAIN
    return SETTINGS_GAIN


def scratch_gain(expert: Contender, raw_accuracy: float | None) -> float:
    """Return what training from scratch is expected to add to an expert.

    Args:
        expert: with the query's prediction.
        raw_accuracy: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    if raw_accuracy is None:
        return 0.0
    if 1 - expert.predicted < FAR * (1 - raw_accuracy):
        return -SCRATCH_MOST
    return min(max(raw_accuracy - expert.predicted, 0.0), SCRATCH_MOST)


def _measured(first: FloatArray, other: FloatArray) -> tuple[float, float]:
    """Return the mean difference of paired fits (n,) and its standard error, one item's worth at least."""
    difference = np.asarray(other) - np.asarray(first)
    n = len(difference)
    spread = float(difference.std(ddof=1)) if n > 1 else 1.0
    return float(difference.mean()), max(spread, 1.0 / n) / math.sqrt(n)
