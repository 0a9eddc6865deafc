"""From beliefs to a ranking that a person can act on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Baseline, Candidate, Excluded, Ranking
from expertise_graph.retrieval.portfolio import complementary
from expertise_graph.retrieval.posterior import Belief
from expertise_graph.retrieval.scale import accuracy_of
from expertise_graph.retrieval.search import Search

Array = NDArray[np.float64]

_DRAWS = 4000
_TIE = 0.3
_TOGETHER = 3
PERCENTILE = "percentile"


@dataclass(frozen=True)
class _Numbers:
    """What is printed of each candidate: predicted, low, high, in the unit of the answer; draws behind it."""

    predicted: Array
    low: Array
    high: Array
    draws: Array


def rank(search: Search, belief: Belief, baseline: Baseline, seconds: float) -> Ranking:
    """Return the ranking, best first; the command to go on with is the caller's to add."""
    numbers = _numbers(search, belief)
    order = sorted(range(len(search.experts)), key=lambda i: (-belief.mean[i], search.experts[i].id))
    admitted = [i for i in order if search.experts[i].id not in search.excluded]
    share = np.bincount(
        np.asarray(admitted)[numbers.draws[:, admitted].argmax(axis=1)], minlength=len(order)
    ) / len(numbers.draws)
    candidates = {i: _candidate(search, belief, numbers, i, float(share[i])) for i in order}
    first = admitted[0]
    listed = tuple(
        replace(candidates[i], tied=place > 0 and _may_beat(numbers.draws, i, first))
        for place, i in enumerate(admitted)
    )
    runnable = [i for i in admitted if search.experts[i].runnable]
    together = complementary(belief.mean[runnable], accuracy_of(numbers.draws[:, runnable]), _TOGETHER)
    return Ranking(
        task=search.sample.task,
        experts_run=search.ran,
        baseline=baseline,
        candidates=listed,
        unit="accuracy" if belief.scale.known else PERCENTILE,
        together=tuple(search.experts[runnable[i]] for i in together),
        excluded=_best_excluded(search, order, candidates),
        interrupted=search.interrupted,
        notes=_notes(search, belief, baseline),
        seconds=seconds,
    )


def _numbers(search: Search, belief: Belief) -> _Numbers:
    draws = belief.draws(_DRAWS, search.query.seed)
    if belief.scale.known:
        low, high = belief.interval()
        return _Numbers(accuracy_of(belief.mean), low, high, draws)
    places = draws.argsort(axis=1).argsort(axis=1) / max(draws.shape[1] - 1, 1)
    low, high = np.quantile(places, [0.1, 0.9], axis=0)
    return _Numbers(places.mean(axis=0), low, high, draws)


def _candidate(search: Search, belief: Belief, numbers: _Numbers, place: int, p_best: float) -> Candidate:
    expert = search.experts[place]
    return Candidate(
        expert=expert,
        predicted=float(numbers.predicted[place]),
        low=float(numbers.low[place]),
        high=float(numbers.high[place]),
        p_best=p_best,
        ran=expert.id in search.evidence,
        evidence=_evidence(search, belief, place),
        same_as=search.stands_for.get(expert.id, ()),
    )


def _may_beat(draws: Array, place: int, first: int) -> bool:
    return float((draws[:, place] >= draws[:, first]).mean()) >= _TIE


def _best_excluded(
    search: Search, order: list[int], candidates: dict[int, Candidate]
) -> tuple[Excluded, ...]:
    """Return for each constraint the best expert that it alone keeps out."""
    found: dict[str, Excluded] = {}
    for i in order:
        reasons = search.excluded.get(search.experts[i].id, ())
        if len(reasons) == 1 and reasons[0] not in found:
            found[reasons[0]] = Excluded(constraint=reasons[0], candidate=candidates[i])
    return tuple(found.values())


def _evidence(search: Search, belief: Belief, place: int) -> tuple[str, ...]:
    """Return why an expert stands where it does, the strongest reason first."""
    expert = search.experts[place]
    reasons = []
    if expert.id in search.measured:
        reasons.append(search.measured[expert.id].text)
    if expert.id in search.evidence:
        scores = search.evidence[expert.id]
        n = len(search.sample.labels)
        reasons.append(f"probe {scores.accuracy:.3f} on {n} items, LogME {scores.logme:.2f}")
    else:
        reasons += _nearest_evidence(search, place)
    results = int(belief.prediction.forecast.results[place])
    if results:
        standing = belief.prediction.forecast.mean[place]
        reasons.append(f"history {standing:+.2f} sd from {results} task{'s' if results > 1 else ''}")
    if not np.isnan(belief.affinity[place]):
        reasons.append(f"affinity {belief.affinity[place]:.2f}")
    if not expert.runnable:
        reasons.append("known from imported metadata only")
    return tuple(reasons) or ("nothing is known of it",)


def _nearest_evidence(search: Search, place: int) -> list[str]:
    ran = search.ran_places()
    if not ran or not search.vectors[place].any():
        return []
    similarity = search.vectors[ran] @ search.vectors[place]
    nearest = int(np.argmax(similarity))
    return [f"CKA {similarity[nearest]:.2f} to {search.experts[ran[nearest]].name}, which was run"]


def _notes(search: Search, belief: Belief, baseline: Baseline) -> tuple[str, ...]:
    notes = list(search.unusable.values())
    if search.interrupted:
        notes.append("interrupted: the answer rests on what was run until then")
    if search.stopped and search.open_places():
        notes.append(f"stopped before the budget was used up: {search.stopped}")
    notes.append(_meaning(search, belief))
    probe = max((e.accuracy for e in search.evidence.values()), default=None)
    if probe is not None and probe <= baseline.predicted:
        notes.append("no expert that was run beats the raw input; --strategy from-scratch may do as well")
    return tuple(notes)


def _meaning(search: Search, belief: Belief) -> str:
    """Say what the predicted numbers are."""
    scale = belief.scale
    if not scale.known:
        return (
            "predictions are percentiles among the candidates: how hard the task is cannot be told "
            "without running an expert on it"
        )
    if scale.runs:
        return (
            f"predictions are of the accuracy after fine-tuning, calibrated on {scale.runs} "
            f"measured run{'s' if scale.runs > 1 else ''}"
        )
    if search.measured:
        n = len(search.measured)
        return (
            f"predictions rest on what fine-tuning {n} expert{'s' if n > 1 else ''} on this task reached; "
            "those of the others are accuracies of a linear probe, fine-tuning usually adds to them"
        )
    if not search.evidence:
        return "predictions are of results like those of other tasks: no expert was run on this one"
    return (
        "predictions are accuracies of a linear probe on frozen features; no run has been measured yet, "
        "fine-tuning usually adds to them"
    )
