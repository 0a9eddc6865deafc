"""The posterior over the candidates of a query, given all that was found out so far."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_80
from expertise_graph.retrieval.evidence import Sample, embed_task, score_column
from expertise_graph.retrieval.gains import usual_gain
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import (
    ExpertPrediction,
    gaussian_draws,
    graph_correlation,
    observe,
    predict,
)
from expertise_graph.retrieval.reliability import AFFINITY, RIDGE
from expertise_graph.retrieval.results import Measured
from expertise_graph.retrieval.scale import (
    TASK_DEVIATION,
    Scale,
    Shift,
    accuracy_of,
    fine_tuning_shift,
    log_odds,
    luck,
    scale_of,
    usual_level,
)
from expertise_graph.retrieval.search import ExpertSearch
from expertise_graph.retrieval.task_similarity import likeness_of

Array = NDArray[np.float64]

# Deviation, in log-odds, that a fine-tune which ended at chance may lie below what the expert is worth.
# Half of it is shared by near experts: a failure is partly bad luck, and must not pull down unlike ones.
_FAILURE = 3.0
# Correlation of the errors of raced experts, which are measured on the same few validation items: of 51 image
# and 14 text experts on 36 tasks .36 and .18 of the variance around the test accuracy is common to a task.
_SAME_ITEMS = 0.3
# A result below this multiple of the accuracy of guessing counts as such a failure.
_CHANCE = 1.5


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Joint Gaussian of the log-odds of accuracy of N candidates, and what it rests on.

    Attributes:
        mean: (N,).
        covariance: (N, N), what is common to all included.
        prediction: the same in standard units, before results on this very task.
        scale: from standard units to log-odds.
        affinity: (N,) cosine of each embedding to the task's, NaN without one.
        task_vector: (m,) embedding of the task, or None.
        best_seen: the best mean among the experts that were run or measured, in standard units.
    """

    mean: Array
    covariance: Array
    prediction: ExpertPrediction
    scale: Scale
    affinity: Array
    task_vector: NDArray[np.float32] | None
    best_seen: float

    def draws(self, count: int, seed: int) -> Array:
        """Return draws (count, N) of the log-odds."""
        return gaussian_draws(self.mean, self.covariance, count, np.random.default_rng(seed))

    def interval(self) -> tuple[Array, Array]:
        """Return the ends (N,) of the 80 % intervals, as accuracies."""
        reach = Z_80 * np.sqrt(np.diag(self.covariance))
        return accuracy_of(self.mean - reach), accuracy_of(self.mean + reach)


def infer(search: ExpertSearch) -> Posterior:
    """Return the posterior over all candidates after the evidence so far."""
    vector = _task_vector(search)
    affinity = _affinity(search, vector)
    history = _with_evidence(search, affinity, vector)
    prediction = predict(history, search.pool.target, search.pool.residuals)
    n = len(search.pool.experts)
    indices = search.were_run()
    odds, doubt = _probed(search)
    shift = fine_tuning_shift(history, search.pool.target, RIDGE, _usual_gain(search.sample))
    scale = scale_of(history, search.pool.target, prediction.mean[indices[: len(odds)]], odds, shift)
    scale = dataclasses.replace(scale, doubt=math.hypot(scale.doubt, doubt))
    mean, covariance = _in_odds(prediction, scale, n)
    if indices:
        mean, covariance = _as_usual(search, mean, covariance)
    mean, covariance, scale = _with_results(search, mean, covariance, scale)
    seen = [*indices, *(i for i, e in enumerate(search.pool.experts) if e.id in search.measured)]
    return Posterior(
        mean=mean,
        covariance=covariance,
        prediction=prediction,
        scale=scale,
        affinity=affinity,
        task_vector=vector,
        best_seen=float(prediction.mean[seen].max()) if seen else math.nan,
    )


def _usual_gain(sample: Sample) -> Shift | None:
    """Return what fine-tuning adds to the probe of a sample where no results of the registry tell."""
    return usual_gain(
        sample.task.modality,
        classes=len(sample.task.classes),
        trained=sample.trained,
        probed=len(sample.labels),
    )


def _probed(search: ExpertSearch) -> tuple[Array, float]:
    """Return the log-odds (k,) of the accuracy of the probe of each expert that was run, and their doubt.

    All were measured on the same items, whose luck they share. An item that is alone in its class is never
    told from the others, whatever the expert: of such items anything is possible from none to as many as of
    the rest, so half of that, and an interval from one end to the other. Where all are alone nothing is
    known, and no log-odds are returned.
    """
    items, supported = len(search.sample.labels), search.sample.supported
    accuracies = np.array([search.evidence[search.pool.experts[i].id][RIDGE] for i in search.were_run()])
    if not supported or not len(accuracies):
        return np.zeros(0), 0.0
    of_rest = np.minimum(accuracies * items / supported, 1.0)
    middle = accuracies + of_rest * (1.0 - supported / items) / 2.0
    low, odds = (np.array([log_odds(a, items) for a in given]) for given in (accuracies, middle))
    high = np.array([log_odds(a, supported) for a in of_rest])
    alone = float(np.mean(np.abs(high - low))) / (2.0 * Z_80) if supported < items else 0.0
    return odds, math.hypot(alone, math.sqrt(float(np.mean(luck(odds, items)))))


def _task_vector(search: ExpertSearch) -> NDArray[np.float32] | None:
    """Return the embedding of the task; every expert that was run serves as a landmark."""
    ran = [expert for i in search.were_run() if search.respond(expert := search.pool.experts[i])]
    return embed_task(
        [search.responses[e.id] for e in ran],
        [search.evidence[e.id][RIDGE] for e in ran],
    )


def _affinity(search: ExpertSearch, vector: NDArray[np.float32] | None) -> Array:
    found = np.full(len(search.pool.experts), np.nan)
    # Vectors of a damaged registry may be of another length, and say nothing then.
    if vector is not None and vector.shape == search.pool.vectors.shape[1:]:
        embedded = search.pool.embedded()
        found[embedded] = search.pool.vectors[embedded] @ (vector / np.linalg.norm(vector))
    return found


def _with_evidence(search: ExpertSearch, affinity: Array, vector: NDArray[np.float32] | None) -> History:
    """Return the history with what this query found out: scores on the task, and similar tasks."""
    experts = search.pool.history.experts
    # Scores of items that are all alone in their classes say nothing.
    evidence = search.evidence if search.sample.supported else {}
    columns = {name: score_column(evidence, experts, name) for name in search.query.estimators}
    columns[AFFINITY] = np.concatenate([affinity, np.full(len(experts) - len(affinity), np.nan)])
    scores = dict(search.pool.history.scores)
    for name, column in columns.items():
        array = scores.get(name, np.full_like(search.pool.history.outcomes, np.nan)).copy()
        array[:, search.pool.target] = column
        scores[name] = array
    vectors = dict(search.pool.task_vectors)
    vectors.pop(search.sample.task.id, None)
    if vector is not None:
        vectors[search.sample.task.id] = vector.astype(np.float64) / np.linalg.norm(vector)
    likeness = likeness_of(scores, search.pool.distances, search.pool.history.tasks, vectors)
    return dataclasses.replace(search.pool.history, scores=scores, likeness=likeness)


def _in_odds(prediction: ExpertPrediction, scale: Scale, n: int) -> tuple[Array, Array]:
    """Return mean (n,) and covariance (n, n) of the log-odds of the candidates."""
    own = scale.slope**2 * prediction.noise
    covariance = scale.slope**2 * prediction.covariance[:n, :n] + own * np.eye(n) + scale.doubt**2
    return scale.level + scale.slope * prediction.mean[:n], covariance


def _as_usual(search: ExpertSearch, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Return mean and covariance once the level that published models usually reach is an observation, too.

    Where others were run and none of them, what the others reach says little of them: a specialist may be as
    good as any. So their mean is expected near that of their results on other tasks.
    """
    history, n = search.pool.history, len(mean)
    if history.population is None:
        return mean, covariance
    known = {*search.evidence, *search.measured}
    published = [i for i, e in enumerate(search.pool.experts) if history.population[i]]
    measured = [i for i in published if not np.isnan(history.outcomes[i]).all()]
    if not measured or any(search.pool.experts[i].id in known for i in published):
        return mean, covariance
    theirs = history.without_experts(history.population == 0)
    level, deviation = usual_level(theirs, search.pool.target)
    if math.isnan(level):
        return mean, covariance
    weights = np.zeros(n)
    weights[measured] = 1.0 / len(measured)
    shared = covariance @ weights
    gain = shared / (weights @ shared + deviation**2)
    return mean + gain * (level - weights @ mean), covariance - np.outer(gain, shared)


def _with_results(
    search: ExpertSearch, mean: Array, covariance: Array, scale: Scale
) -> tuple[Array, Array, Scale]:
    """Return the posterior given results measured on this very task; their noise is binomial."""
    seen = np.flatnonzero([e.id in search.measured for e in search.pool.experts])
    if not len(seen):
        return mean, covariance, scale
    found = [search.measured[search.pool.experts[i].id] for i in seen]
    odds = np.array([log_odds(m.accuracy, m.n) + m.lift for m in found])
    if not (scale.shift.runs or scale.shift.shipped):
        # What fine-tuning adds to a probe is common to all, and only these results tell.
        covariance = covariance + TASK_DEVIATION**2
    covariance = covariance + _failures(search)
    if not scale.known:
        mean = mean + float(np.mean(odds - mean[seen]))
        scale = dataclasses.replace(scale, level=float(np.mean(odds)), known=True)
    after = observe(mean, covariance, seen, odds, covariance[np.ix_(seen, seen)] + _noise(found, odds))
    return after.mean, after.covariance, scale


def _noise(found: Sequence[Measured], odds: Array) -> Array:
    """Return the covariance (k, k) of the errors of results on a task: binomial, of a race in part shared."""
    p = accuracy_of(odds)
    deviation = np.sqrt(1.0 / np.array([m.n for m in found]) / (p * (1.0 - p)))
    raced = np.array([m.raced for m in found])
    shared = np.where(np.outer(raced, raced), _SAME_ITEMS, 0.0)
    np.fill_diagonal(shared, 1.0)
    return np.asarray(shared * np.outer(deviation, deviation))


def _failures(search: ExpertSearch) -> Array:
    """Return the covariance (N, N) of what made fine-tunes on this task end at chance, with near experts.

    Training that failed is half bad luck, and hardly tells what unlike experts reach.
    """
    n = len(search.pool.experts)
    graph = np.eye(n) if search.pool.history.graph is None else search.pool.history.graph[:n, :n]
    chance = _CHANCE / max(len(search.sample.task.classes), 2)
    total = np.zeros((n, n))
    for index, expert in enumerate(search.pool.experts):
        if expert.id in search.measured and search.measured[expert.id].accuracy <= chance:
            near = graph_correlation(graph[index])
            total += _FAILURE**2 / 2.0 * np.outer(near, near)
            total[index, index] += _FAILURE**2 / 2.0
    return total
