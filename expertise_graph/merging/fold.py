"""Folding an adapter into the weights beside it: a model of the usual form that gives the same answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import InvalidInputError, sha256_of_json
from expertise_graph.features import Context
from expertise_graph.merging.loaded_model import LoadedModel, license_of, open_model
from expertise_graph.merging.registration import MadeModel, Origin, recording
from expertise_graph.models import FinishedCard, ModelDescription, RunFolder, write_learnt_items, write_model

_METHOD = "fold"


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What came of an adapter: the registered expert, the adapter it was, and its folder."""

    expert: str
    adapter: str
    path: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def fold_adapter(context: Context, adapter: str, *, out: Path) -> Folded:
    """Write a model whose adapter is part of its weights, and register it with the adapter as its parent.

    The same command again reads back what is done.

    Args:
        context: registry, prober and what is trusted.
        adapter: a registered expert, or the folder of a run with the strategy lora.
        out: folder to write, new or empty.

    Raises:
        NotFoundError: when there is neither.
        InvalidInputError: for a model that is no adapter, or when `out` is taken.
    """
    model, folder = open_model(context, adapter), RunFolder(out.absolute())
    if not model.is_adapter:
        raise InvalidInputError(f"{model.name} is no adapter: its weights are whole already")
    identity = {"folded": model.expert.id}
    origin = Origin(
        parent=model.expert.id,
        sources=(model.expert.id,),
        method=_METHOD,
        relation="finetune",
        run=f"run:{sha256_of_json([identity, str(folder.path)])[:16]}",
        name=f"{model.expert.name}-folded",
        license=license_of(model),
        modality=model.expert.modality,
        datasets=model.expert.datasets,
    )
    made = MadeModel(folder=folder.path, identity=identity, origin=origin)
    with recording(context, made) as record:
        if folder.result_of(identity) is None:
            _write(folder, model, identity)
        expert = record()
    return Folded(expert=expert.id, adapter=model.expert.id, path=str(folder.path))


def _write(folder: RunFolder, model: LoadedModel, identity: dict[str, Any]) -> None:
    with folder.written_whole() as new:
        description = _described(model)
        write_model(new, model.backbone, model.backbone.module, head=model.head, description=description)
        write_learnt_items(new, model.learnt)
        new.write_card(_card(model).text)
        new.finish(identity, {"n_train": model.items or 0})


def _described(model: LoadedModel) -> ModelDescription:
    """Return the description of the run, which holds for the folded model too."""
    found = RunFolder(model.folder).description() if model.folder else None
    return found or ModelDescription(
        classes=(),
        trusted_code=model.expert.trusted_code,
        modality=model.backbone.modality,
        dim=model.backbone.dim,
        expert=model.expert.id,
        strategy=_METHOD,
    )


def _card(model: LoadedModel) -> FinishedCard:
    return FinishedCard(
        title=f"{model.expert.name}, folded",
        license=license_of(model),
        base_model=model.expert.base_model or model.expert.id,
        relation="finetune",
        tags=[_METHOD],
        datasets=model.expert.datasets,
        rows={"adapter": model.name, "items trained on": model.items or "unknown"},
        prose=["The low-rank adapter was added to the weights beside it; the model gives the same answers."],
    )
