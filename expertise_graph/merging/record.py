"""What a merge leaves in the registry: the new expert, its lineage, the measured result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import Edge, Expert, Run, Task
from expertise_graph.features import Prober
from expertise_graph.models import SourceOptions, resolve
from expertise_graph.registry import register
from expertise_graph.store import Store

VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a new expert was made of, and how.

    Attributes:
        parent: id of the expert it descends from, None for merges of strangers.
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


def register_model(
    store: Store, prober: Prober, folder: Path, origin: Origin, *, trust_code: bool = False
) -> Expert:
    """Register the model in ``folder/model`` with its lineage; doing it again changes nothing."""
    options = SourceOptions(
        trust_code=trust_code,
        name=origin.name,
        license=origin.license,
        modality=origin.modality,
        tags=(origin.relation,) if origin.relation == "merge" else (origin.method,),
    )
    found = resolve(f"dir:{folder / 'model'}", options)
    if found.id in {e.id for e in store.experts(found.modality)}:
        # A delta that gives back the very child it was made of: what is known of that stays.
        expert = store.expert(found.id)
    else:
        described = dataclasses.replace(found, base_model=origin.parent, datasets=origin.datasets)
        expert = register(store, prober, described)
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
