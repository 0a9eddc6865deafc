"""What fine-tuning adds to the accuracy of a probe, as the fine-tunes that come with the package tell."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_80, t_quantile
from expertise_graph.retrieval.scale import Shift, log_odds, luck
from expertise_graph.starter import fine_tunes

Array = NDArray[np.float64]

# Training items a class at which the level is given: most of the shipped fine-tunes have so many.
_ITEMS = 10.0
# Deviation, in log-odds, of what a doubling of the items is expected to change, before any was measured.
_BY_DOUBLING = 0.2
# Rounds of fitting the level and the variance that fine-tunes of a task share: more change nothing.
_ROUNDS = 20


@dataclass(frozen=True)
class _Fit:
    """Coefficients (3,), the sizes (3,) that they were fitted between, deviation, number of fine-tunes."""

    coefficients: Array
    smallest: Array
    largest: Array
    deviation: float
    trainings: int


def usual_gain(modality: str, *, classes: int, trained: int, probed: int) -> Shift | None:
    """Return what the shipped fine-tunes let expect of one by default on a task of this size.

    A mixed model of the gains by task: level, doublings of the training items a class, and doublings from the
    items that the probe was measured on to those that are trained on, with an effect of the task and one of
    the expert on it. A task beyond the sizes that were measured counts as one of the nearest.

    Args:
        modality: of the task.
        classes: how many it has.
        trained: items that the fine-tune learns from.
        probed: items that the accuracy of the probe was measured on, each left out in turn.

    Returns:
        None for a modality of which no fine-tunes are shipped.
    """
    fit = _fits().get(modality)
    if fit is None or not min(classes, trained, probed):
        return None
    size = _size(classes, trained, probed).clip(fit.smallest, fit.largest)
    return Shift(mean=float(size @ fit.coefficients), deviation=fit.deviation, shipped=fit.trainings)


def _size(classes: int, trained: int, probed: int) -> Array:
    """Return the size (3,) of a task as the fit takes it."""
    return np.array([1.0, math.log2(trained / classes / _ITEMS), math.log2(trained / probed)])


@cache
def _fits() -> Mapping[str, _Fit]:
    """Return the fit by modality."""
    # Fine-tunes of one task in one size, of different experts.
    groups: dict[str, dict[tuple[str, int], list[Mapping[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with fine_tunes().open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            groups[row["modality"]][row["task"], int(row["trained"])].append(row)
    return {modality: _fit(list(of.values())) for modality, of in groups.items()}


def _fit(groups: list[list[Mapping[str, str]]]) -> _Fit:
    """Return the generalised least squares of the mean gain of each group, slopes shrunk towards zero."""
    gains, lucks = zip(*(_gains(group) for group in groups), strict=True)
    means, n = np.array([g.mean() for g in gains]), np.array([len(g) for g in gains])
    own = sum(np.square(g - g.mean()).sum() for g in gains) / (n - 1).sum()
    own = max(own - float(np.average(lucks, weights=n)), 0.0)
    tasks = np.array([group[0]["task"] for group in groups])
    sizes = np.stack([_size(*(int(g[0][of]) for of in ("classes", "trained", "probed"))) for g in groups])
    shrinking, noise = np.diag([0.0, _BY_DOUBLING**-2, _BY_DOUBLING**-2]), (own + np.array(lucks)) / n
    common = own
    for _ in range(_ROUNDS):
        covariance = common * (tasks[:, None] == tasks) + np.diag(noise)
        weighted = np.linalg.solve(covariance, sizes).T
        coefficients = np.linalg.solve(weighted @ sizes + shrinking, weighted @ means)
        # Maximum likelihood: groups that are mostly luck, such as all right on the test, tell less.
        counts = (common + noise) ** -2.0
        common = max(float(np.average(np.square(means - sizes @ coefficients) - noise, weights=counts)), 0.0)
    # So that 80 % intervals hold one more task, of few tasks.
    wider = t_quantile(0.9, max(len(set(tasks.tolist())) - 1, 1)) / Z_80
    return _Fit(
        coefficients=coefficients,
        smallest=sizes.min(axis=0),
        largest=sizes.max(axis=0),
        deviation=wider * math.sqrt(common + own),
        trainings=int(n.sum()),
    )


def _gains(group: list[Mapping[str, str]]) -> tuple[Array, float]:
    """Return the gains (n,) of fine-tunes in log-odds, and the variance that luck with items gives."""
    outcome, probe = (
        np.array([log_odds(float(row[value]), int(row[items])) for row in group])
        for value, items in (("accuracy", "tested"), ("probe", "probed"))
    )
    tested, probed = (np.array([float(row[items]) for row in group]) for items in ("tested", "probed"))
    return outcome - probe, float(np.mean(luck(outcome, tested) + luck(probe, probed)))
