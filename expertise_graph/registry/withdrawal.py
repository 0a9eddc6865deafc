"""Taking results back: training runs with the experts they left, and measured results by what they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import (
    METADATA,
    Edge,
    Expert,
    InvalidInputError,
    NotFoundError,
    Task,
    count,
    listed,
    setting,
)
from expertise_graph.models import RunFolder
from expertise_graph.registry.neighbours import refresh
from expertise_graph.store import Store, features_key


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """What was taken out of the registry, or would be in a dry run; files of runs are never touched.

    Attributes:
        runs: ids of training runs.
        results: measured results that they, imports, races or searches had left.
        experts: that those runs had left, and experts known by name only of which nothing is known any more.
        tasks: names of tasks known by name only of which nothing is known any more.
        dry_run: whether it is still there.
    """

    runs: tuple[str, ...] = ()
    results: tuple[Edge, ...] = ()
    experts: tuple[Expert, ...] = ()
    tasks: tuple[str, ...] = ()
    dry_run: bool = False


def withdraw_run(store: Store, name: str, *, descendants: bool = False, dry_run: bool = False) -> Withdrawn:
    """Take back a training run: its results, the expert it left, and whatever was derived from that.

    All of it goes in one transaction. The neighbours of other experts are found anew after that; if that is
    interrupted, taking the same run back again completes it.

    Args:
        store: the registry.
        name: id of the run, the beginning of it, or the folder of the run.
        descendants: also take back what was made from the expert that the run left.
        dry_run: change nothing.

    Raises:
        NotFoundError: when there is no such run, and was none.
        InvalidInputError: when something was made from its expert and may not go, or it is under way.
    """
    first = _find_run(store, name)
    if first is None:
        _refresh(store)
        return Withdrawn()
    runs, experts = _derived(store, first)
    for run in runs:
        if (live := store.run(run)) is not None:
            RunFolder(Path(live.path)).refuse_in_use(f"{run} in {live.path}")
    known = [expert for e in experts if (expert := store.known_expert(e)) is not None]
    if len(runs) > 1 and not descendants:
        others = listed(sorted(runs - {first}))
        raise InvalidInputError(
            f"{count(len(runs) - 1, 'run')} started from the expert that {first} left: {others}; take them "
            f"back first, or all at once with {setting('descendants')}"
        )
    results = [edge for edge in store.edges("transfer") if edge.run in runs or edge.source in experts]
    done = Withdrawn(runs=tuple(sorted(runs)), results=tuple(results), experts=tuple(known), dry_run=dry_run)
    if not dry_run:
        _discard_features(store, known)
        store.remove_runs(done.runs, experts)
        _refresh(store)
    return done


def _find_run(store: Store, name: str) -> str | None:
    """Return the id of the run that is meant; None for one that was taken back before."""
    found = [run.id for run in store.runs() if name in (run.id, run.path)] or [
        run.id for run in store.runs() if run.id.startswith((name, f"run:{name}"))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFoundError(f"{name!r} names {count(len(found), 'run')}: {listed(found)}; give the whole id")
    taken_back = (event for event in store.events() if event["kind"] == "runs rm")
    if any(name in (e["subject"], e["subject"][4:], e["detail"].get("path")) for e in taken_back):
        return None
    if store.edges("transfer", run=name):
        raise NotFoundError(f"{name!r} is a trial, not a training run; take its result back with history rm")
    raise NotFoundError(f"no run {name!r} among {count(len(store.runs()), 'run')}. See: expertise-graph runs")


def _derived(store: Store, first: str) -> tuple[set[str], set[str]]:
    """Return the ids of a run and of all that were made from what it left, and of the experts they left."""
    runs, experts, waiting = set[str](), set[str](), [first]
    while waiting:
        run = waiting.pop()
        runs.add(run)
        for child in _children(store, run) - experts:
            if not _kept(store, child, runs):
                experts.add(child)
                made = {e.run for e in store.edges("lineage", source=child) if e.run}
                waiting += sorted((made | {r.id for r in store.runs(expert=child)}) - runs)
    return runs, experts


def _children(store: Store, run: str) -> set[str]:
    """Return the experts that a run left; a delta that was applied is known by its lineage only."""
    known = store.run(run)
    left = {e.target for e in store.edges("lineage", run=run)}
    return left | ({known.child} if known is not None and known.child else set())


def _kept(store: Store, child: str, runs: set[str]) -> bool:
    """Tell whether an expert stands without some runs: another run left it too, or it was there before."""
    expert, own = store.known_expert(child), [r for r in store.runs(child=child) if r.id in runs]
    others = {r.id for r in store.runs(child=child)} | {e.run for e in store.edges("lineage", target=child)}
    # What lies in the folder of a run was left by one, whichever registered it first.
    before = (
        expert is not None
        and all(store.registered_before(child, r.id) for r in own)
        and not any(Path(expert.locator).is_relative_to(path) for path in _folders(store))
    )
    return (before and bool(own)) or bool(others - runs - {None})


def _folders(store: Store) -> set[str]:
    """Return the folders of all runs, those taken back before included."""
    removed = (event["detail"].get("path") for event in store.events() if event["kind"] == "runs rm")
    return {run.path for run in store.runs()} | {path for path in removed if path}


def _discard_features(store: Store, experts: Iterable[Expert]) -> None:
    """Delete what experts answered to the probes, unless another expert has the same weights."""
    for expert in experts:
        if len(store.experts(where={"weights_sha": expert.weights_sha})) == 1:
            for probe_set in store.probe_sets(expert.modality):
                store.features.discard(features_key(expert, probe_set.id))


def _refresh(store: Store) -> None:
    for probe_set in store.probe_sets():
        refresh(store, probe_set.id)


def withdraw_results(
    store: Store,
    *,
    task: str | None = None,
    expert: str | None = None,
    metric: str | None = None,
    method: str | None = None,
    origin: str | None = None,
    dry_run: bool = False,
) -> Withdrawn:
    """Take back the measured results that meet all conditions given, at least one.

    Experts and tasks that are known by name only, and of which nothing else is known, go with them. Runs
    and the experts that they left stay.

    Args:
        store: the registry.
        task: id of the task.
        expert: id of the expert.
        metric: name of the metric.
        method: e.g. imported, race, lp-ft.
        origin: file that they were imported from, or id of the run that left them.
        dry_run: change nothing.

    Raises:
        InvalidInputError: without any condition.
        NotFoundError: when no result meets them.
    """
    given = {"target": task, "source": expert, "metric": metric, "method": method, "origin": origin}
    where = {name: value for name, value in given.items() if value is not None}
    if not where:
        names = ", ".join(setting(name) for name in ("task", "expert", "metric", "method", "origin"))
        raise InvalidInputError(f"say which results to take back, by one or more of {names}")
    with store.transaction():
        results = store.results(where)
        if not results:
            raise NotFoundError("no measured result meets these conditions. See: expertise-graph history ls")
        experts, tasks = _only_there(store, results)
        if not dry_run:
            store.remove_results(where, [e.id for e in experts], [t.id for t in tasks])
    return Withdrawn(
        results=tuple(results), experts=tuple(experts), tasks=tuple(t.name for t in tasks), dry_run=dry_run
    )


def _only_there(store: Store, results: Sequence[Edge]) -> tuple[list[Expert], list[Task]]:
    """Return the experts and tasks known by name only, of which nothing is known but some results."""
    of_expert, of_task = Counter(e.source for e in results), Counter(e.target for e in results)
    told = store.covariates(of_expert)
    far = {end for d in store.distances() for end in (d.task, d.other)}
    experts = [
        expert
        for expert in store.experts(where={"source": METADATA, "id": of_expert})
        # Of one that somebody shared the size and the embedding are known, too.
        if not expert.weights_sha
        and expert.id not in told
        and not store.scores(expert=expert.id)
        and len(store.edges(node=expert.id)) == of_expert[expert.id]
    ]
    tasks = [
        task
        for task in store.tasks(locator="")
        if task.id in of_task.keys() - far
        and not store.scores(task.id)
        and len(store.edges(node=task.id)) == of_task[task.id]
    ]
    return experts, tasks
