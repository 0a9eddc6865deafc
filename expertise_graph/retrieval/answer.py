"""From beliefs to a ranking that a person can act on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.evidence import log_odds
from expertise_graph.retrieval.search import Belief, Search
from expertise_graph.types import Baseline, Candidate, Ranking

Array = NDArray[np.float64]

_DRAWS = 4000
_Z80 = 1.2816
_TIE = 0.3


def rank(search: Search, belief: Belief, baseline: Baseline, seconds: float) -> Ranking:
    """Return the ranking, best first; the command to go on with is the caller's to add."""
    draws = _draws(search, belief)
    middle = _accuracy(np.median(draws, axis=0))
    low, high = _accuracy(np.quantile(draws, [0.1, 0.9], axis=0))
    order = sorted(range(len(search.experts)), key=lambda i: (-middle[i], search.experts[i].id))
    p_best = np.bincount(draws.argmax(axis=1), minlength=len(order)) / len(draws)
    candidates = tuple(
        Candidate(
            expert=search.experts[i],
            predicted=float(middle[i]),
            low=float(low[i]),
            high=float(high[i]),
            p_best=float(p_best[i]),
            ran=search.experts[i].id in search.evidence,
            tied=place > 0 and float((draws[:, i] >= draws[:, order[0]]).mean()) >= _TIE,
            evidence=_evidence(search, belief, i),
            same_as=search.stands_for.get(search.experts[i].id, ()),
        )
        for place, i in enumerate(order)
    )
    return Ranking(
        task=search.sample.task,
        experts_run=search.ran,
        baseline=baseline,
        candidates=candidates,
        command="",
        notes=_notes(search, belief, candidates, baseline),
        seconds=seconds,
    )


def _draws(search: Search, belief: Belief) -> Array:
    """Return draws (draws, N) of the log-odds of accuracy from the joint posterior.

    A measured result replaces the prediction of that expert; its noise is binomial.
    """
    rng = np.random.default_rng(search.query.seed)
    n = len(search.experts)
    values, vectors = np.linalg.eigh(belief.state.covariance)
    root = vectors * np.sqrt(values.clip(min=0.0))
    latent = belief.state.mean + rng.standard_normal((_DRAWS, n)) @ root.T
    line = belief.calibration
    draws = line.level + line.slope * latent + line.spread * rng.standard_normal((_DRAWS, n))
    for i, expert in enumerate(search.experts):
        if expert.id in belief.measured:
            accuracy, count, _ = belief.measured[expert.id]
            odds = log_odds(accuracy, count)
            p = _accuracy(np.array(odds))
            draws[:, i] = odds + rng.standard_normal(_DRAWS) / np.sqrt(count * p * (1 - p))
    return np.asarray(draws)


def _accuracy(odds: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-odds))


def _evidence(search: Search, belief: Belief, place: int) -> tuple[str, ...]:
    """Return why an expert stands where it does, the strongest reason first."""
    expert = search.experts[place]
    reasons = []
    if expert.id in belief.measured:
        accuracy, n, run = belief.measured[expert.id]
        reasons.append(f"measured {accuracy:.3f} on {n} test items in {run}")
    if expert.id in search.evidence:
        found = search.evidence[expert.id]
        n = len(search.sample.labels)
        reasons.append(f"probe accuracy {found.accuracy:.3f} on {n} items, LogME {found.logme:.3f}")
    else:
        reasons += _nearest_evidence(search, place)
    reasons.append(f"affinity {belief.affinity[place]:.2f}")
    return tuple(reasons)


def _nearest_evidence(search: Search, place: int) -> list[str]:
    ran = [i for i, e in enumerate(search.experts) if e.id in search.evidence]
    if not ran:
        return []
    nearest = max(ran, key=lambda i: float(search.similarity[place, i]))
    cka = search.similarity[place, nearest]
    return [f"not run; nearest that was: {search.experts[nearest].short} (CKA {cka:.2f})"]


def _notes(
    search: Search, belief: Belief, candidates: Sequence[Candidate], baseline: Baseline
) -> tuple[str, ...]:
    notes = list(search.unusable.values())
    if belief.calibrated_on:
        notes.append(
            f"predictions are of the accuracy after fine-tuning, calibrated on {belief.calibrated_on} "
            "measured runs"
        )
    else:
        notes.append(
            "predictions are accuracies of a linear probe on frozen features; no run has been measured yet, "
            "fine-tuning usually adds to them"
        )
    if candidates[0].predicted <= baseline.predicted:
        notes.append(
            "no expert is predicted to beat the raw input; a cold start (--from-scratch) may do as well"
        )
    elif candidates[0].low <= baseline.predicted:
        notes.append("the best expert is not clearly better than the raw input")
    return tuple(notes)
