"""From beliefs to a ranking that a person can act on."""

from __future__ import annotations

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
        notes=_notes(search, belief, baseline),
        seconds=seconds,
    )


def _draws(search: Search, belief: Belief) -> Array:
    """Return draws (draws, N) of the log-odds of accuracy from the joint posterior.

    What fine-tuning adds is unknown but common to all experts. A measured result replaces the
    prediction of that expert; its noise is binomial.
    """
    rng = np.random.default_rng(search.query.seed)
    n = len(search.experts)
    values, vectors = np.linalg.eigh(belief.state.covariance)
    root = vectors * np.sqrt(values.clip(min=0.0))
    latent = belief.state.mean + rng.standard_normal((_DRAWS, n)) @ root.T
    line = belief.calibration
    draws = line.level + line.slope * latent + line.spread * rng.standard_normal((_DRAWS, n))
    draws += belief.shift.mean + belief.shift.deviation * rng.standard_normal((_DRAWS, 1))
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
        reasons.append(f"probe {found.accuracy:.3f} on {n} items, LogME {found.logme:.2f}")
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
    return [f"CKA {cka:.2f} to {search.experts[nearest].name}, which was run"]


def _notes(search: Search, belief: Belief, baseline: Baseline) -> tuple[str, ...]:
    notes = list(search.unusable.values())
    if belief.shift.runs:
        notes.append(
            f"predictions are of the accuracy after fine-tuning, calibrated on {belief.shift.runs} "
            f"measured run{'s' if belief.shift.runs > 1 else ''}"
        )
    else:
        notes.append(
            "predictions are accuracies of a linear probe on frozen features; no run has been measured yet, "
            "fine-tuning usually adds to them"
        )
    probe = max((e.accuracy for e in search.evidence.values()), default=None)
    if probe is not None and probe <= baseline.predicted:
        notes.append(
            "no expert that was run beats the raw input; a cold start (--from-scratch) may do as well"
        )
    return tuple(notes)
