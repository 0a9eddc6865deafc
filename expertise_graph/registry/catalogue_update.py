"""The catalogue from its public origins: descriptions from the Hub, results from the repository of MTEB."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph import models
from expertise_graph.core import UNKNOWN, ExpertiseError, NotFoundError, Progress, silent
from expertise_graph.models import HubState
from expertise_graph.registry.catalogue import (
    Catalogue,
    catalogue_rows,
    install_catalogue,
    write_catalogue,
)
from expertise_graph.registry.imports.mteb import REPOSITORY, MtebResult, best_revision, read_mteb
from expertise_graph.store import GONE, Store, now

# Digits of a commit that say where a number is from.
_SHOWN = 12
_PREFIX = "mteb/"
_METHOD = "mteb-linear-probe"

Row = dict[str, Any]
Rows = Mapping[str, list[Row]]


@dataclass(frozen=True, kw_only=True)
class CatalogueUpdate:
    """What an update of the catalogue brought.

    Attributes:
        before: the catalogue before it.
        after: the one that is in use now.
        origin: where it is from, with the commit.
        changes: how many rows are new, changed, unchanged, gone, or were not asked about.
    """

    before: Catalogue | None
    after: Catalogue
    origin: str
    changes: Mapping[str, int]


def update_from_hub(
    store: Store, folder: Path, before: Catalogue, *, progress: Progress = silent
) -> CatalogueUpdate:
    """Take over what the Hub says of each model of a catalogue, at its commit; one without is pinned to main.

    What the Hub does not say (feature width, text length, training data) stays. Models that are gone stay as
    well, for their results; the registry remembers that they cannot be had.

    Args:
        store: of the workspace.
        folder: of the catalogue in use.
        before: that catalogue.
        progress: called for each model that was asked about.

    Raises:
        OfflineError: when the Hub cannot be reached; nothing changes then.
    """
    rows, day, changes = catalogue_rows(folder), now()[:10], Counter[str]()
    asked = {row["model"]: (_repository(row["model"]), row["revision"]) for row in rows["models"]}
    said = models.ask_hub(asked.values(), at_pin=True, progress=progress)
    gone = set()
    updated = []
    for row in rows["models"]:
        state = said[asked[row["model"]]]
        if isinstance(state, ExpertiseError):
            changes["not asked"] += 1
            updated.append(row)
        elif state.node is None:
            changes["gone"] += 1
            gone.add(row["model"])
            updated.append(row)
        else:
            new = _described(row, state, day)
            plain = {name: value for name, value in new.items() if name != "source"}
            same = plain == {name: value for name, value in row.items() if name != "source"}
            changes["unchanged" if same else "changed"] += 1
            updated.append(new)
    after = _install({**rows, "models": updated}, store.folder, day)
    for model in gone:
        store.put_unavailable(model, GONE, "deleted or private now", revision=asked[model][1])
    return CatalogueUpdate(before=before, after=after, origin=f"the Hub, {day}", changes=changes)


def _repository(model: str) -> str:
    scheme, _, locator = model.partition(":")
    return f"timm/{locator}" if scheme == "timm" else locator


def _described(row: Row, state: HubState, day: str) -> Row:
    """Return a row with what the Hub says; what it does not say stays."""
    node = state.node
    if node is None:
        return row
    known = {
        "params": node.params or None,
        "bytes": node.bytes or None,
        "license": None if node.license == UNKNOWN else node.license,
        "revision": state.commit,
        "base_model": node.base_model,
        "released": node.meta.get("released"),
    }
    return {
        **row,
        **{name: value for name, value in known.items() if value is not None},
        "gated": state.gated,
        "remote_code": bool(node.meta.get("remote_code")),
        "safetensors": state.safetensors,
        "source": f"the Hub at {state.commit[:_SHOWN]}, {day}; {_without_hub(row['source'])}",
    }


def _without_hub(source: str) -> str:
    return source.partition("; ")[2] if source.startswith("the Hub at ") else source


def update_from_mteb(
    store: Store, folder: Path, before: Catalogue, *, revision: str = "main", progress: Progress = silent
) -> CatalogueUpdate:
    """Take over the results on known models and tasks from a commit of the repository of MTEB.

    Results that it does not have stay as they are.

    Args:
        store: of the workspace.
        folder: of the catalogue in use.
        before: that catalogue.
        revision: branch, tag or commit of the repository.
        progress: called with how many files were read.

    Raises:
        NotFoundError, OfflineError, DatasetError: see `read_mteb`; nothing changes then.
    """
    rows = catalogue_rows(folder)
    pins = {(row["model"], row["modality"]): row["revision"] for row in rows["models"]}
    tasks = _tasks(rows["results"])
    names = {model.removeprefix("hf:") for model, _ in pins}
    commit, read = read_mteb(
        lambda model, task: model in names and _PREFIX + task in tasks, revision=revision, progress=progress
    )
    origin = f"{REPOSITORY}, CC0, {commit[:_SHOWN]}"
    found = _best(read, pins, tasks)
    if not found:
        raise NotFoundError(f"{REPOSITORY} at {commit[:_SHOWN]} has no result on a known model and task")
    results, changes = [], Counter[str]()
    for row in rows["results"]:
        key = row["model"], row["modality"], row["task"], row["metric"]
        value = found.pop(key, None)
        changes["not there" if value is None else "unchanged" if value == row["value"] else "changed"] += 1
        results.append(row if value is None else {**row, "value": value, "source": origin})
    changes["new"] = len(found)
    for (model, modality, task, metric), value in sorted(found.items()):
        about = {"model": model, "modality": modality, "task": task, "metric": metric}
        results.append({**about, "value": value, "method": _METHOD, "source": origin})
    after = _install({**rows, "results": results}, store.folder, now()[:10])
    return CatalogueUpdate(before=before, after=after, origin=origin, changes=changes)


def _tasks(results: list[Row]) -> dict[str, tuple[str, str]]:
    """Return modality and metric of each task of MTEB; one of several modalities cannot be told apart."""
    kinds: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in results:
        if row["task"].startswith(_PREFIX):
            kinds[row["task"]].add((row["modality"], row["metric"]))
    return {task: next(iter(of)) for task, of in kinds.items() if len(of) == 1}


def _best(
    read: list[MtebResult], pins: Mapping[tuple[str, str], str | None], tasks: Mapping[str, tuple[str, str]]
) -> dict[tuple[str, str, str, str], float]:
    """Return a value for each model, modality, task and metric: at the commit that is known, if any."""
    values: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    for one in read:
        model, task = f"hf:{one.model}", _PREFIX + one.task
        modality, metric = tasks[task]
        value = one.value(metric)
        if value is not None and (model, modality) in pins:
            # As many digits as tables have; the last ones of a mean depend on the order of adding.
            values[model, modality, task, metric][one.revision] = round(value, 6)
    return {key: of[best_revision(of, pins[key[:2]])] for key, of in values.items()}


def _install(rows: Rows, workspace: Path, version: str) -> Catalogue:
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".catalogue.") as folder:
        made = Path(folder) / "made"
        write_catalogue(
            made,
            models=rows["models"],
            results=rows["results"],
            tasks=rows["tasks"],
            version=version,
            networks=rows.get("networks", ()),
        )
        return install_catalogue(made, workspace)
