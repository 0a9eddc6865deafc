"""What was made of several models, in the registry: the expert, its licence, its lineage, its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import UNKNOWN, Edge, Expert, Run, Task, check_no_workspace
from expertise_graph.features import Context
from expertise_graph.models import RunFolder, SourceOptions, resolve
from expertise_graph.registry import register
from expertise_graph.store import Pending, Store

# Of the way in which merges are measured; results of another version are kept apart in the registry.
VERSION = "1"

RULE = "The strictest licence of what was merged; unknown when one is unknown or two strict ones differ."

# Later ones ask for more. Within the first, permissive, line the last one covers the others.
_PERMISSIVE = ("cc0-1.0", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0", "cc-by-4.0")
_STRICT = (
    ("mpl-2.0", "lgpl-2.1", "lgpl-3.0"),
    ("gpl-2.0", "gpl-3.0", "cc-by-sa-4.0"),
    ("agpl-3.0",),
    ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a new expert was made of, and how.

    Attributes:
        parent: id of the expert it descends from, None for merges of models without a common parent.
        sources: ids of everything it was made from, the parent included.
        method: of the lineage edges: merge:ties, fedavg, delta.
        relation: to what it was made from: merge or finetune.
        run: id of the run that made it.
    """

    parent: str | None
    sources: tuple[str, ...]
    method: str
    relation: str
    run: str
    name: str
    license: str
    modality: str
    datasets: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class MadeModel:
    """A model in a folder, and all that the registry is to hold of it.

    Attributes:
        folder: of the run; the model is in ``model/``.
        identity: that its run.json has.
        task: what it was measured on; None where it was not.
        run: with the result on that task; its child is filled in when the model is registered.
        n_test: how many items it was measured on.
    """

    folder: Path
    identity: Mapping[str, Any]
    origin: Origin
    task: Task | None = None
    run: Run | None = None
    n_test: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MadeModel:
        """Return what `as_dict` gave, even after it was JSON."""
        origin, task, run = values["origin"], values["task"], values["run"]
        tuples = {name: tuple(origin[name]) for name in ("sources", "datasets")}
        return cls(
            folder=Path(values["folder"]),
            identity=values["identity"],
            origin=Origin(**{**origin, **tuples}),
            task=None if task is None else Task(**{**task, "classes": tuple(task["classes"])}),
            run=None if run is None else Run(**run),
            n_test=values["n_test"],
        )


MADE_MODEL = "model"
"""Kind of the work that `finish_model` finishes."""


@contextmanager
def recording(context: Context, made: MadeModel) -> Iterator[Callable[[], Expert]]:
    """Give a function that registers a model once it is written; a killed process leaves it to others.

    What is to be recorded is noted before the first file is written.

    Raises:
        InvalidInputError: when the folder lies in a workspace; nothing is noted then.
    """
    check_no_workspace(made.folder)
    with context.store.pending(MADE_MODEL, made.origin.run, made.as_dict()):
        yield lambda: record_model(context, made)


def finish_model(context: Context, one: Pending) -> str:
    """Record a model whose process was killed after it had written the folder; see `recording`."""
    made = MadeModel.from_dict(one.detail)
    record = RunFolder(made.folder).record()
    if record is None or record.result is None or dict(record.identity) != dict(made.identity):
        return ""  # nothing was made yet: the command starts over
    expert = record_model(context, made)
    return f"finished what was begun: the model in {made.folder} is registered as {expert.short}"


def record_model(context: Context, made: MadeModel) -> Expert:
    """Register the model in ``folder/model`` with its lineage and result; doing it again changes nothing."""
    store, origin = context.store, made.origin
    options = SourceOptions(
        trust_code=context.trust_code,
        name=origin.name,
        license=origin.license,
        modality=origin.modality,
        tags=(origin.relation,) if origin.relation == "merge" else (origin.method,),
    )
    described = resolve(f"dir:{made.folder / 'model'}", options)
    expert = store.known_expert(described.id)
    # A delta may give back the very child it was made of: what is known of that stays.
    if expert is None:
        described = dataclasses.replace(described, base_model=origin.parent, datasets=origin.datasets)
        expert = register(store, context.prober.here(), described)
    with store.transaction():
        store.drop_run_edges(origin.run)
        known = {e.source for e in store.edges("lineage", expert.id) if e.target == expert.id and e.run}
        sources = [s for s in dict.fromkeys(origin.sources) if s != expert.id and s not in known]
        for source in sources:
            store.drop_declared_lineage(source, expert.id)
        store.put_edges(_lineage(origin, source, expert) for source in sources)
        if made.task is not None and made.run is not None:
            _put_result(store, made.task, dataclasses.replace(made.run, child=expert.id), n_test=made.n_test)
        store.drop_pending(MADE_MODEL, origin.run)
    return expert


def _lineage(origin: Origin, source: str, expert: Expert) -> Edge:
    return Edge(
        kind="lineage",
        source=source,
        target=expert.id,
        weight=1.0,
        method=origin.method,
        version=VERSION,
        seed=origin.seed,
        run=origin.run,
        meta={"relation": origin.relation},
    )


def _put_result(store: Store, task: Task, run: Run, *, n_test: int) -> None:
    """Record a run with the accuracy it reached on `task`, as a transfer edge from what it started from."""
    before = store.run(run.id)
    store.put_task(task)
    store.put_run(dataclasses.replace(run, started_at=before.started_at) if before else run)
    store.put_edges(
        [
            Edge(
                kind="transfer",
                source=run.expert,
                target=task.id,
                weight=float(run.result["accuracy"]),
                metric=str(run.result["metric"]),
                method=run.strategy,
                version=VERSION,
                seed=run.seed,
                n=n_test,
                seconds=float(run.result["seconds"]),
                run=run.id,
                meta=dict(run.result),
            )
        ]
    )


def datasets_of(experts: Sequence[Expert], *more: str) -> tuple[str, ...]:
    """Return the names of all data that went into the experts, each once."""
    return tuple(dict.fromkeys([*(name for e in experts for name in e.datasets), *more]))


def strictest(licences: Iterable[str]) -> str:
    """Return the licence that covers a mixture of works under `licences`, or "unknown".

    Example:
        >>> strictest(["mit", "apache-2.0"]), strictest(["mit", "llama3"]), strictest(["gpl-3.0", "mit"])
        ('apache-2.0', 'unknown', 'gpl-3.0')
    """
    named = {name.lower() for name in licences}
    if len(named) == 1:
        return named.pop()
    known = {*_PERMISSIVE, *(name for line in _STRICT for name in line)}
    if not named or named - known:
        return UNKNOWN
    strict = named - set(_PERMISSIVE)
    if not strict:
        return max(named, key=_PERMISSIVE.index)
    return strict.pop() if len(strict) == 1 else UNKNOWN
