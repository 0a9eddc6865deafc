"""From the posterior to a ranking that a person can act on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    Baseline,
    Candidate,
    Command,
    Excluded,
    Expert,
    Ranking,
    byte_size,
    count,
    setting,
)
from expertise_graph.data import Columns
from expertise_graph.retrieval.constraints import NeedsOf, is_about_size
from expertise_graph.retrieval.knowledge import is_known_model
from expertise_graph.retrieval.posterior import Posterior
from expertise_graph.retrieval.predict import complementary, listing, tied
from expertise_graph.retrieval.reliability import LOGME, RIDGE
from expertise_graph.retrieval.scale import accuracy_of
from expertise_graph.retrieval.search import ExpertSearch

Array = NDArray[np.float64]

# Joint draws behind p_best, ties and percentiles: the standard error of a share is below .008.
_DRAWS = 4000
# Experts worth trying together: few enough to fine-tune all of them.
_TOGETHER = 3
PERCENTILE = "percentile"
# Experts that a smaller network may be started from: not all architectures can be made smaller.
_SHRUNK = 3
_LABELS = {LOGME: "LogME"}


@dataclass(frozen=True)
class _Numbers:
    """What is printed of each candidate: predicted, low, high, in the unit of the answer; draws behind it."""

    predicted: Array
    low: Array
    high: Array
    draws: Array


def rank(
    search: ExpertSearch,
    posterior: Posterior,
    baseline: Baseline,
    *,
    columns: Columns | None = None,
    notes: Sequence[str] = (),
    families: Mapping[str, str] | None = None,
    needs: NeedsOf | None = None,
) -> Ranking:
    """Return the ranking, best first, of as many experts as the query asks for.

    Args:
        search: the candidates and the evidence.
        posterior: over them.
        baseline: what the task yields without any expert.
        columns: how the dataset is read, for the command to go on with.
        notes: more of them.
        families: what stands for the family of each candidate, by id; of each only the first is listed.
        needs: what fine-tuning a candidate takes.
    """
    seconds = time.perf_counter() - search.started
    experts = search.pool.experts
    numbers = _numbers(search, posterior)
    order = sorted(range(len(experts)), key=lambda i: (-posterior.mean[i], experts[i].id))
    admitted = [i for i in order if experts[i].id not in search.excluded]
    first = listing(posterior.mean[admitted], numbers.draws[:, admitted])
    admitted = [admitted[i] for i in np.argsort(-first, kind="stable")]
    share = np.bincount(
        np.asarray(admitted)[numbers.draws[:, admitted].argmax(axis=1)], minlength=len(order)
    ) / len(numbers.draws)
    candidates = {i: _candidate(search, posterior, numbers, i, float(share[i]), needs) for i in order}
    equal = tied(numbers.draws, admitted[0])
    others = _others(experts, admitted, families or {})
    admitted = [i for i in admitted if i in others]
    listed = tuple(
        replace(candidates[i], tied=position > 0 and bool(equal[i]), family=others[i])
        for position, i in enumerate(admitted)
    )
    runnable = [i for i in admitted if experts[i].runnable]
    together = complementary(posterior.mean[runnable], accuracy_of(numbers.draws[:, runnable]), _TOGETHER)
    return Ranking(
        task=search.sample.task,
        experts_run=search.ran,
        baseline=baseline,
        candidates=listed[: search.query.top],
        here=_best_here(listed, search.query.top),
        command=_next_step(search, experts[admitted[0]], columns),
        unit="accuracy" if posterior.scale.known else PERCENTILE,
        together=tuple(experts[runnable[i]] for i in together),
        excluded=_best_excluded(search, order, candidates),
        too_large=tuple(candidates[i] for i in order if _is_only_too_large(search, i))[:_SHRUNK],
        failed=dict(search.failed),
        interrupted=search.interrupted,
        notes=(*_notes(search, posterior, baseline), *_on_known(listed[: search.query.top]), *notes),
        seconds=seconds,
        shared_names=search.pool.shared_names,
        order=tuple((c.expert.id, *c.same_as, *c.family) for c in listed),
    )


def _is_only_too_large(search: ExpertSearch, index: int) -> bool:
    expert = search.pool.experts[index]
    reasons = search.excluded.get(expert.id, ())
    return expert.runnable and bool(reasons) and all(map(is_about_size, reasons))


def _best_here(listed: Sequence[Candidate], top: int) -> tuple[int, Candidate] | None:
    """Return place and candidate of the best expert with weights, where the first `top` have none."""
    if any(candidate.expert.runnable for candidate in listed[:top]):
        return None
    return next(((i, c) for i, c in enumerate(listed, 1) if c.expert.runnable), None)


def _others(
    experts: Sequence[Expert], order: Sequence[int], families: Mapping[str, str]
) -> dict[int, tuple[str, ...]]:
    """Return the first of each family in an order, with the ids of the others of it."""
    members: dict[str, list[int]] = {}
    for i in order:
        members.setdefault(families.get(experts[i].id, experts[i].id), []).append(i)
    return {first: tuple(experts[i].id for i in rest) for first, *rest in members.values()}


def _next_step(search: ExpertSearch, best: Expert, columns: Columns | None) -> Command:
    """Return what to do next: start from the best, or register it where only its name is known."""
    if not best.runnable:
        return Command("register", (best.name if ":" in best.name else f"hf:{best.name}",))
    task = search.sample.task
    settings: dict[str, str | float | bool | None] = {"expert": best.short}
    settings |= columns.settings if columns else {}
    if best.trusted_code:
        settings["trust_code"] = True
    return Command("warm_start", (task.locator,), {**settings, "out": f"runs/{task.name}"})


def _numbers(search: ExpertSearch, posterior: Posterior) -> _Numbers:
    draws = posterior.draws(_DRAWS, search.query.seed)
    if posterior.scale.known:
        low, high = posterior.interval()
        return _Numbers(accuracy_of(posterior.mean), low, high, draws)
    places = draws.argsort(axis=1).argsort(axis=1) / max(draws.shape[1] - 1, 1)
    low, high = np.quantile(places, [0.1, 0.9], axis=0)
    return _Numbers(places.mean(axis=0), low, high, draws)


def _candidate(
    search: ExpertSearch,
    posterior: Posterior,
    numbers: _Numbers,
    index: int,
    p_best: float,
    needs: NeedsOf | None,
) -> Candidate:
    expert = search.pool.experts[index]
    return Candidate(
        expert=expert,
        predicted=float(numbers.predicted[index]),
        low=float(numbers.low[index]),
        high=float(numbers.high[index]),
        p_best=p_best,
        ran=expert.id in search.evidence,
        evidence=_evidence(search, posterior, index),
        same_as=search.pool.stands_for.get(expert.id, ()),
        needs=needs(expert) if needs else None,
    )


def _best_excluded(
    search: ExpertSearch, order: list[int], candidates: dict[int, Candidate]
) -> tuple[Excluded, ...]:
    """Return for each constraint the best expert that it alone keeps out."""
    found: dict[str, Excluded] = {}
    for i in order:
        reasons = search.excluded.get(search.pool.experts[i].id, ())
        if len(reasons) == 1 and reasons[0] not in found:
            found[reasons[0]] = Excluded(constraint=reasons[0], candidate=candidates[i])
    return tuple(found.values())


def _evidence(search: ExpertSearch, posterior: Posterior, index: int) -> tuple[str, ...]:
    """Return the evidence behind an expert's rank, the strongest first."""
    expert = search.pool.experts[index]
    reasons = []
    if expert.id in search.measured:
        reasons.append(search.measured[expert.id].text)
    if expert.id in search.evidence:
        reasons.append(_scores(search, expert.id))
    else:
        reasons += _nearest_evidence(search, index)
    before = posterior.prediction.forecast
    results, claimed = int(before.results[index]), int(before.claimed[index])
    if results or claimed:
        standing = before.mean[index] - before.gap[index]
        told = [count(results, "task")] if results else []
        told += [f"{claimed} self-reported"] if claimed else []
        reasons.append(f"history {standing:+.2f} SD from {' and '.join(told)}")
    if not np.isnan(posterior.affinity[index]):
        reasons.append(f"similarity to the task {posterior.affinity[index]:.2f}")
    if not expert.runnable:
        measured = not np.isnan(search.pool.history.outcomes[index]).all()
        by_results = "not run here" if measured else "no published results: by size and age"
        reasons.append(by_results if is_known_model(expert) else "known from imported metadata only")
    return tuple(reasons) or ("no evidence yet",)


def _scores(search: ExpertSearch, expert: str) -> str:
    """Return the accuracy of the probe, and the first other score that takes part in the ranking."""
    scores = search.evidence[expert]
    if not search.sample.supported:
        return "run on a single item a class"
    text = f"probe {scores[RIDGE]:.3f} on {count(len(search.sample.labels), 'item')}"
    other = next((name for name in search.query.estimators if name != RIDGE), None)
    return text if other is None else f"{text}, {_LABELS.get(other, other)} {scores[other]:.2f}"


def _nearest_evidence(search: ExpertSearch, index: int) -> list[str]:
    ran = search.were_run()
    if not ran or not search.pool.vectors[index].any():
        return []
    similarity = search.pool.vectors[ran] @ search.pool.vectors[index]
    nearest = int(np.argmax(similarity))
    other = search.pool.experts[ran[nearest]]
    called = other.short if other.name in search.pool.shared_names else other.name
    return [f"CKA {similarity[nearest]:.2f} to {called}, which was run"]


def _notes(search: ExpertSearch, posterior: Posterior, baseline: Baseline) -> tuple[str, ...]:
    notes = [*search.unusable.values(), *search.sample.notes]
    if search.fetched:
        size = byte_size(sum(search.fetched.values()))
        notes.append(f"{count(len(search.fetched), 'model')} fetched, {size}")
    if search.interrupted:
        notes.append("interrupted: the ranking is based on the experts run until then")
    if search.stopped and search.not_run():
        notes.append(f"stopped before the budget was used up: {search.stopped}")
    if search.query.fetch and search.known.unavailable:
        left = count(search.known.unavailable, "known model")
        notes.append(
            f"{left} left out: not to be had or run before (expertise-graph sync asks the Hub again)"
        )
    notes.append(_meaning(search, posterior))
    if claimed := int(posterior.prediction.forecast.claimed[: len(search.pool.experts)].sum()):
        notes.append(
            f"{count(claimed, 'result')} that only model cards claim count, less than measured ones; "
            f"{setting('self_reported', False)} leaves them out"
        )
    probe = max((scores[RIDGE] for scores in search.evidence.values()), default=None)
    if probe is not None and probe <= baseline.predicted and search.sample.supported:
        notes.append("no expert that was run beats the raw input; training from scratch may do as well")
    return tuple(notes)


def _on_known(listed: Sequence[Candidate]) -> tuple[str, ...]:
    """Say what the predictions for models that are not registered rest on, if any are listed."""
    if not any(is_known_model(candidate.expert) for candidate in listed):
        return ()
    return (
        "models to fetch were not run: they are ranked by published results on other tasks "
        f"({setting('fetch', 4)} downloads and runs the most promising)",
    )


def _meaning(search: ExpertSearch, posterior: Posterior) -> str:
    """Say what the predicted numbers are."""
    scale = posterior.scale
    if not scale.known:
        return (
            "predictions are percentiles among the candidates: the accuracy that the task allows is unknown"
            + ("" if search.evidence else " until an expert is run on it")
        )
    if scale.shift.runs:
        runs = count(scale.shift.runs, "measured run")
        return f"predictions are accuracies after fine-tuning, calibrated on {runs}"
    if not search.evidence and not search.measured:
        return "predictions are based on results on other tasks: no expert was run on this one"
    shipped = f"{count(scale.shift.shipped, 'fine-tune')} that come with the package"
    if search.measured:
        based = f"predictions are based on fine-tuning {count(len(search.measured), 'expert')} on this task"
        if not search.evidence:
            return based
        others = f"as {shipped} let expect" if scale.shift.shipped else "of a linear probe"
        return f"{based}; for the other experts they are accuracies {others}"
    if scale.shift.shipped:
        return f"predictions are accuracies after fine-tuning, calibrated on {shipped}"
    return "predictions are accuracies of a linear probe on frozen features, not after fine-tuning"
