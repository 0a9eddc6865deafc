"""The path of a query, in order.

sample -> candidates (leakage, constraints, duplicates, recall) -> landmarks -> posterior -> the next expert
to run, until the budget is used up -> race -> ranking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from expertise_graph import features
from expertise_graph.core import (
    DatasetError,
    Embedding,
    Expert,
    InvalidInputError,
    Progress,
    Query,
    Ranking,
    SourceError,
    setting,
    silent,
)
from expertise_graph.data import Columns, Inputs, LabelledData
from expertise_graph.features import SKETCH_SEED, Context
from expertise_graph.registry import Catalogue, families_of, kind_of
from expertise_graph.retrieval.acquisition import downloads_together, next_expert, run_landmarks
from expertise_graph.retrieval.answers import remember
from expertise_graph.retrieval.baseline import raw_baseline
from expertise_graph.retrieval.candidates import draw, eligible, embedded, read_pool, recall
from expertise_graph.retrieval.constraints import NeedsOf, apply_constraints, violations
from expertise_graph.retrieval.coverage import far_note
from expertise_graph.retrieval.estimates import PlanOf, estimates_for, left_out, usual_plan
from expertise_graph.retrieval.evidence import (
    TASK_METHOD,
    TASK_VERSION,
    ProbeRunner,
    Runner,
    Sample,
    draw_sample,
    stored_evidence,
)
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.posterior import Posterior, infer
from expertise_graph.retrieval.ranking import rank
from expertise_graph.retrieval.results import Measured, measured, results_of_removed
from expertise_graph.retrieval.search import ExpertSearch
from expertise_graph.retrieval.sources import sources_of
from expertise_graph.store import Store

# Share of the time left that the query before a training may take, and its bounds in seconds: beyond five
# minutes a better choice of experts gains less than the training does. Where time is short it may take half,
# up to so many seconds: loading the experts takes most of them, and without a good one training is in vain.
QUERY_SHARE, LEAST_SECONDS, QUERY_MOST = 0.25, 0.01, 300.0
SHORT_SHARE, SHORT_SECONDS = 0.5, 15.0
# Items that one cheap expert is run on, where the time is too short for a query.
SMALL_SAMPLE = 64
# Experts that are compared with each other; of a larger zoo those that promise most are recalled. The
# posterior takes memory of the square and time of the cube of their number.
POOL = 1500
# Of experts that a constraint excludes so few are recalled, to name the best of them: a tenth of the pool.
_EXCLUDED_SHARE = 10


@dataclass(frozen=True, kw_only=True)
class RaceResults:
    """What a race measured.

    Attributes:
        measured: results of the raced experts, and of earlier races on the task, by expert id.
        failed: a line for each expert that could not be trained, by id.
        diverged: a line for each expert whose loss became NaN or infinite, by id.
        interrupted: whether Ctrl-C ended it.
    """

    measured: Mapping[str, Measured]
    failed: Mapping[str, str] = field(default_factory=dict)
    diverged: Mapping[str, str] = field(default_factory=dict)
    interrupted: bool = False


Expected = Callable[[Mapping[str, Measured]], Mapping[str, float]]
"""Returns the predicted log-odds of accuracy of every candidate by id, given results on the task."""


RaceFunction = Callable[[Sequence[Expert], Expected], RaceResults]
"""Fine-tunes entrants, the most promising first, briefly before the answer; see `training.Race`.

Once some of them were measured, its second argument gives what is expected of each.
"""

Ask = Callable[[LabelledData, Query], Ranking]
"""Answers a query about a dataset."""


def answer_query(
    context: Context,
    data: LabelledData,
    query: Query,
    *,
    probes: Inputs,
    catalogue: Catalogue | None = None,
    columns: Columns | None = None,
    race: RaceFunction | None = None,
    plan_of: PlanOf = usual_plan,
) -> Ranking:
    """Return the ranking of the registered experts, and of known models, for a dataset.

    Args:
        context: the store is read, and keeps the task, its embedding, scores and features.
        data: a stratified sample of it is looked at, test items left out.
        query: budget, constraints, estimators.
        probes: the current probe set of the modality; its hash is its id.
        catalogue: published models that take part by their results elsewhere; None for none.
        columns: how the dataset is read, for the command to go on with.
        race: called when the budget is used up, and not when the search was interrupted.
        plan_of: what of a training's settings decides how much memory and time it takes.

    Raises:
        NotFoundError: when no expert of the modality is there, or none meets the constraints.
        InvalidInputError: when nothing may be run and no evidence is there, or for an estimator that needs
            more than features.
        SourceError: when experts were to be run and none could.
    """
    timings = features.Timings(context.store)
    # What is read from here on tells how busy the machine is.
    timings.mark()
    runner = ProbeRunner(context=context, probes=probes, estimators=query.estimators, timings=timings)
    store, sample = context.store, draw_sample(data, query)
    known = Knowledge(store, catalogue, sample.task.modality, here=query.here, claims=query.self_reported)
    needs = estimates_for(store, data, query, plan_of=plan_of, may_calibrate=_loads(known, sample, query))
    search = open_search(
        known, sample, query, runner=runner, needs=needs, progress=context.progress, size=POOL
    )
    posterior = without_failed(search, explore(search))
    _store_task(store, search, posterior)
    if race is not None and not search.interrupted:
        posterior = without_failed(search, _after_race(search, posterior, race))
    notes = [*_notes(search, runner), needs.note(query.strategy)]
    if data.stand_in:
        notes.append(f"experts were ranked by how well they tell apart {data.stand_in}")
    posterior = _without_changed(search, posterior)
    ranking = rank(
        search,
        posterior,
        raw_baseline(store, sample),
        columns=columns,
        notes=notes,
        needs=needs,
        families=_families(search),
    )
    remember(store, ranking)
    if query.explain_sources:
        ranking = replace(ranking, sources=sources_of(search, posterior, ranking.candidates))
    cut = context.prober.note(ranking.best.expert, sample.inputs)
    return replace(ranking, notes=(*ranking.notes, cut)) if cut else ranking


def _notes(search: ExpertSearch, runner: ProbeRunner) -> list[str]:
    """Return what is to be said of the search, a line each."""
    task = search.sample.task
    distances = [runner.distance(search.pool.experts[i], search.sample) for i in search.were_run()]
    return [
        *runner.latency_notes,
        *results_of_removed(search.known.store, task),
        *far_note(distances, task.modality),
        *(left_out(search.excluded, features.free_memory()) if search.query.fits else ()),
    ]


def _loads(known: Knowledge, sample: Sample, query: Query) -> bool:
    """Tell whether a query loads what runs experts, so that the machine may be timed with it."""
    if query.fetch > 0:
        return True
    done = stored_evidence(known.store, sample, query.estimators).keys()
    enough = len(done) >= query.budget if query.budget is not None else query.seconds == 0
    return not enough and any(e.runnable and e.id not in done for e in known.registered)


def ask_within(ask: Ask, data: LabelledData, query: Query, *, left: float) -> tuple[Ranking, Query]:
    """Return the answer before a training that has so many seconds left, and the query that it answers.

    It may take a share of them. Where that runs no expert and nothing is known, one cheap expert is run on
    few items.

    Raises:
        DatasetError, InvalidInputError, NotFoundError, SourceError: as `answer_query`.
    """
    short = min(SHORT_SHARE * left, SHORT_SECONDS)
    seconds = min(max(QUERY_SHARE * left, short, LEAST_SECONDS), QUERY_MOST)
    timed = replace(query, budget=None, seconds=seconds)
    try:
        return ask(data, timed), timed
    except DatasetError:
        raise
    except InvalidInputError:
        small = replace(query, budget=1, seconds=None, sample=SMALL_SAMPLE)
        return ask(data, small), small


def open_search(
    known: Knowledge,
    sample: Sample,
    query: Query,
    *,
    runner: Runner,
    needs: NeedsOf | None = None,
    progress: Progress = silent,
    size: int = POOL,
) -> ExpertSearch:
    """Return a search over the candidates, with the evidence that is stored about them.

    Of a zoo larger than `size` as many are drawn, a few of them are run to find out where the task is, and
    then the most promising of the whole zoo take the place of those drawn.

    Raises:
        NotFoundError: as `answer_query`.
    """
    started = time.perf_counter()
    zoo, store = eligible(known, sample), known.store
    failed = store.failures(sample.task.id)
    failed = {e.id: failed[e.id] for e in zoo if e.id in failed}
    zoo = [e for e in zoo if e.id not in failed]
    if not zoo:
        raise _none_left(failed)
    lineage = store.edges("lineage") if query.kinds else []
    excluded = apply_constraints(
        zoo,
        query,
        latency=runner.latency,
        lineage=lineage,
        needs=needs,
        free=features.free_memory(),
        progress=progress,
    ).excluded
    stored = stored_evidence(store, sample, query.estimators)
    # Those of a race are left to the race, so that it takes the same course when it is run again.
    results = measured(store, sample.task, rungs=0 if query.race else None)
    drawn = draw(zoo, stored.keys(), excluded=excluded.keys(), size=size, seed=query.seed)
    search = ExpertSearch(
        runner=runner,
        sample=sample,
        query=query,
        known=known,
        pool=read_pool(known, runner.probe_set, sample, drawn, excluded=excluded.keys()),
        excluded=excluded,
        evidence=stored,
        results=results,
        started=started,
        unusable=dict(failed),
        failed=dict(failed),
    )
    if len(zoo) > size:
        run_landmarks(search)
        recalled = _recalled(search, zoo, size)
        search.change_pool(read_pool(known, runner.probe_set, sample, recalled, excluded=excluded.keys()))
    return search


def _recalled(search: ExpertSearch, zoo: list[Expert], size: int) -> list[Expert]:
    """Return the experts of a large zoo that promise most, and a few of those that a constraint excludes."""
    posterior = infer(search)
    placed, vectors = embedded(search.known.store, search.runner.probe_set, zoo)
    near: dict[str, float] = {}
    if posterior.task_vector is not None:
        near = dict(zip((e.id for e in placed), (vectors @ posterior.task_vector).tolist(), strict=True))
    results = posterior.prediction.forecast.results
    means = posterior.prediction.mean.tolist()
    promise = {e: m for e, m, n in zip(search.pool.history.experts, means, results, strict=True) if n}
    kept: set[str] = set()
    for out, most in ((False, size), (True, size // _EXCLUDED_SHARE)):
        part = [e for e in zoo if (e.id in search.excluded) == out]
        kept |= recall(part, search.evidence.keys(), near=near, promise=promise, size=most)
    return [e for e in zoo if e.id in kept]


def explore(search: ExpertSearch) -> Posterior:
    """Run experts within the budget, and return the posterior then.

    Ctrl-C ends the search; what was found until then counts.

    Raises:
        SourceError, InvalidInputError: as `answer_query`.
    """
    try:
        run_landmarks(search)
        posterior = infer(search)
        while (index := next_expert(search, posterior)) is not None:
            _run(search, index, posterior)
            posterior = infer(search)
    except KeyboardInterrupt:
        if not search.evidence:
            raise
        search.interrupted = True
        posterior = infer(search)
    _check_evidence(search)
    return posterior


def _run(search: ExpertSearch, index: int, posterior: Posterior) -> None:
    """Run one expert; a known model is downloaded for it, and its weights go again where that is asked."""
    expert = search.pool.experts[index]
    if expert.runnable:
        search.run(index)
        return
    if expert.id not in search.queue:
        together = [search.pool.experts[i] for i in downloads_together(search, posterior, index)]
        search.queue = [model.id for model in together]
        search.runner.prefetch(together)
    fetched = search.fetch(expert)
    if fetched is None:
        return
    search.known = search.known.renewed()
    if _is_wanted(search, expert, fetched):
        _take_place(search, expert, fetched)
    if search.query.evict:
        search.runner.evict(fetched)


def _is_wanted(search: ExpertSearch, model: Expert, fetched: Expert) -> bool:
    """Tell whether a downloaded expert is to be run; what its card says is not always what was known."""
    kind = kind_of(fetched, search.known.store.edges("lineage", target=fetched.id))
    broken = violations(fetched, search.query, latency=search.runner.latency, kind=kind)
    if broken:
        line = f"{model.name} was fetched and registered, but does not meet {', '.join(broken)}"
    elif fetched.id in search.evidence:
        line = f"{model.name} is the same as {fetched.name}, which was run"
    else:
        return True
    search.refuse(model, line, for_good=True)
    return False


def _take_place(search: ExpertSearch, model: Expert, fetched: Expert) -> None:
    """Put a downloaded expert among the candidates in the place of the known model, and run it."""
    pool = search.pool
    ids = {e.id for e in pool.experts} | {name for names in pool.stands_for.values() for name in names}
    found = search.known.nodes((ids - {model.id}) | {fetched.id})
    excluded = search.excluded.keys()
    search.change_pool(
        read_pool(search.known, search.runner.probe_set, search.sample, found, excluded=excluded)
    )
    for place, candidate in enumerate(search.pool.experts):
        if candidate.id == fetched.id:
            search.run(place)
            if fetched.id in search.evidence:
                search.respond(fetched)


def without_failed(search: ExpertSearch, posterior: Posterior) -> Posterior:
    """Return the posterior without the experts that failed; their near-duplicates are candidates again.

    Raises:
        SourceError: when no candidate is left that meets the constraints.
    """
    pool = search.pool
    if not any(e.id in search.failed for e in pool.experts):
        return posterior
    ids = {e.id for e in pool.experts} | {name for names in pool.stands_for.values() for name in names}
    left = search.known.nodes(ids - search.failed.keys())
    if not any(e.id not in search.excluded for e in left):
        raise _none_left(search.unusable)
    excluded = search.excluded.keys()
    search.change_pool(
        read_pool(search.known, search.runner.probe_set, search.sample, left, excluded=excluded)
    )
    return infer(search)


def _without_changed(search: ExpertSearch, posterior: Posterior) -> Posterior:
    """Return the posterior without experts that would be listed and whose files are others now."""
    while True:
        experts, unsound = search.pool.experts, False
        order = [
            i for i in np.argsort(-posterior.mean, kind="stable") if experts[i].id not in search.excluded
        ]
        kin, listed = _families(search), set[str]()
        for expert in (experts[i] for i in order):
            listed.add(kin.get(expert.id, expert.id))
            if len(listed) > search.query.top:
                break
            unsound |= not search.is_sound(expert)
        if not unsound:
            return posterior
        posterior = without_failed(search, posterior)


def _families(search: ExpertSearch) -> dict[str, str]:
    """Return what stands for the family of each candidate, by id, where one of each is asked for."""
    return families_of(search.known.store, search.pool.experts) if search.query.one_per_family else {}


def _none_left(reasons: Mapping[str, str]) -> SourceError:
    return SourceError("no expert could be run: " + "; ".join(reasons.values()))


def _check_evidence(search: ExpertSearch) -> None:
    """Refuse to guess.

    Raises:
        SourceError: when experts were to be run and none could.
        InvalidInputError: when none was to be run and history says nothing.
    """
    history, n = search.pool.history, len(search.pool.experts)
    claimed = history.claims is not None and bool((~np.isnan(history.claims[:n])).any())
    if search.evidence or search.measured or claimed or (~np.isnan(history.outcomes[:n])).any():
        return
    if search.unusable:
        raise _none_left(search.unusable)
    raise InvalidInputError(
        "this budget runs no expert, and no expert has a result on this task or another; set "
        f"{setting('budget', 1)} or more, or import results of the experts on other tasks"
    )


def _after_race(search: ExpertSearch, posterior: Posterior, race: RaceFunction) -> Posterior:
    """Race the first candidates that may be the answer, add the results, and return the posterior with them.

    Experts with a full fine-tune on record are not raced; `search.measured` holds no other results yet.
    """
    experts = search.pool.experts
    barred = {*search.excluded, *search.unusable, *search.measured}
    able = [i for i, e in enumerate(experts) if e.runnable and e.id not in barred]
    able.sort(key=lambda i: (-float(posterior.mean[i]), experts[i].id))

    def expected(results: Mapping[str, Measured]) -> dict[str, float]:
        means = infer(search.with_results(results)).mean.tolist()
        return {e.id: mean for e, mean in zip(experts, means, strict=True)}

    found = race([experts[i] for i in able[: search.query.race]], expected)
    search.results = found.measured
    search.change_pool(search.pool)
    search.unusable.update({**found.failed, **found.diverged})
    search.failed.update(found.failed)
    search.interrupted = found.interrupted
    return infer(search)


def _store_task(store: Store, search: ExpertSearch, posterior: Posterior) -> None:
    store.put_task(search.sample.task)
    if posterior.task_vector is None:
        return
    store.put_embedding(
        Embedding(
            owner=search.sample.task.id,
            kind="task",
            probe_set=search.runner.probe_set,
            method=TASK_METHOD,
            version=TASK_VERSION,
            vector=posterior.task_vector,
            seed=SKETCH_SEED,
            n=len(search.sample.labels),
        )
    )
