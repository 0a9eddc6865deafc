"""What the registry knows of a finished model: where it is, and which items it has learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from expertise_graph.core import BoolArray, Expert, NotFoundError, Run, did_you_mean
from expertise_graph.models import RunFolder
from expertise_graph.registry import learnt_from
from expertise_graph.store import Store

if TYPE_CHECKING:
    # A name is looked up before torch is loaded.
    from expertise_graph.data import LabelledData
    from expertise_graph.inference.model import Model


def find_model(store: Store, text: str) -> Path:
    """Return the folder of the finished model that `text` names in the registry.

    Args:
        store: the registry.
        text: the id of a run or the beginning of it, or an expert that a warm start left.

    Raises:
        NotFoundError: when nothing or several are called so, or the expert has no head.
    """
    run = store.run(text) or store.run(f"run:{text}")
    named = [run] if run is not None and run.status == "done" else []
    if not named and text.startswith("run:"):
        named = [run for run in store.runs(status="done") if run.id.startswith(text)]
    if len(named) == 1:
        return Path(named[0].path)
    if named:
        several = ", ".join(run.id for run in named[:5])
        raise NotFoundError(f"{text!r} names {len(named)} runs: {several}; give the whole id")
    try:
        expert = store.find_expert(text)
    except NotFoundError as error:
        if " names " in str(error):
            raise
        children = [e.name for e in store.experts(where={"tags": "warm-start"})]
        raise NotFoundError(
            f"{text!r} is neither a folder nor a run or the child of one in the registry."
            f"{did_you_mean(text, children)}"
        ) from error
    return _folder_of(expert, store.runs(child=expert.id, status="done"))


def _folder_of(expert: Expert, runs: list[Run]) -> Path:
    made = [Path(run.path) for run in runs]
    beside = [Path(expert.locator).parent] if expert.source == "dir" else []
    for folder in (*reversed(made), *beside):
        if RunFolder(folder).has_model:
            return folder
    raise NotFoundError(
        f"{expert.short} has no classification head: fine-tune it, and use the folder of that run"
    )


def learnt_in_registry(store: Store, model: Model, data: LabelledData) -> BoolArray:
    """Return which of n items a model, or what it was made from, has learnt from by the registry: (n,) bool.

    Args:
        store: the registry.
        model: known there by its folder, or by the expert that it was trained from.
        data: with digests.
    """
    folders = {network.folder.absolute() for network in model.networks}
    runs = [run for folder in folders for run in store.runs(path=str(folder), status="done")]
    placed = store.experts(where={"locator": [str(RunFolder(folder).model) for folder in folders]})
    begun_from = [network.identity.get("expert") for network in model.networks]
    ids = {run.child for run in runs} | {expert.id for expert in placed} | {*begun_from}
    return learnt_from(store, [one for one in ids if isinstance(one, str)], data.digests)
