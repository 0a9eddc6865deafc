"""What was made of several models, in the registry: the expert, its licence, its lineage, its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import UNKNOWN, Edge, Expert, Run, Task
from expertise_graph.features import Context
from expertise_graph.models import SourceOptions, resolve
from expertise_graph.registry import register
from expertise_graph.store import Store

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


def register_model(context: Context, folder: Path, origin: Origin) -> Expert:
    """Register the model in ``folder/model`` with its lineage; doing it again changes nothing."""
    store = context.store
    options = SourceOptions(
        trust_code=context.trust_code,
        name=origin.name,
        license=origin.license,
        modality=origin.modality,
        tags=(origin.relation,) if origin.relation == "merge" else (origin.method,),
    )
    described = resolve(f"dir:{folder / 'model'}", options)
    expert = store.known_expert(described.id)
    # A delta may give back the very child it was made of: what is known of that stays.
    if expert is None:
        described = dataclasses.replace(described, base_model=origin.parent, datasets=origin.datasets)
        expert = register(store, context.prober, described)
    with store.transaction():
        store.drop_run_edges(origin.run)
        known = {e.source for e in store.edges("lineage", expert.id) if e.target == expert.id and e.run}
        sources = [s for s in dict.fromkeys(origin.sources) if s != expert.id and s not in known]
        for source in sources:
            store.drop_declared_lineage(source, expert.id)
        store.put_edges(_lineage(origin, source, expert) for source in sources)
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


def put_result(store: Store, task: Task, run: Run, *, n_test: int, start: str) -> None:
    """Record a run with the accuracy it reached on `task`, as a transfer edge from `start`."""
    with store.transaction():
        store.put_task(task)
        store.put_run(run)
        store.put_edges(
            [
                Edge(
                    kind="transfer",
                    source=start,
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
