"""Adding deltas to the parent they were made from: one gives back the child, several their average."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from expertise_graph.core import InvalidInputError, count, sha256_of_file, sha256_of_json
from expertise_graph.data import CLASS
from expertise_graph.deltas.average import combine, shares_of
from expertise_graph.deltas.delta import Delta
from expertise_graph.deltas.delta_file import read_delta
from expertise_graph.features import Context
from expertise_graph.merging import (
    RULE,
    LoadedModel,
    MadeModel,
    Origin,
    datasets_of,
    license_of,
    open_model,
    recording,
    strictest,
)
from expertise_graph.models import (
    FinishedCard,
    Head,
    ModelDescription,
    RunFolder,
    write_learnt_items,
    write_model,
)


@dataclass(frozen=True, kw_only=True)
class ApplySettings:
    """The settings of `apply_deltas`.

    Attributes:
        weights: one for each delta; None for the numbers of items the children were trained on.
        scale: what the averaged difference is multiplied by.
        head: whether heads in the deltas are used.
        register: whether the result becomes an expert.
    """

    weights: tuple[float, ...] | None = None
    scale: float = 1.0
    head: bool = True
    register: bool = True

    def __post_init__(self) -> None:
        if not -1e6 < self.scale < 1e6:
            raise InvalidInputError(f"scale is {self.scale}: give a finite number such as 1 or 0.5")


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What came of deltas.

    Attributes:
        expert: id of the registered expert, None with ``register=False``.
        weights: the share of each delta, adding up to one.
        items: how many items all children were trained on together, 0 when that is not known.
    """

    expert: str | None
    parent: str
    path: str
    weights: tuple[float, ...]
    scale: float
    items: int
    classes: tuple[str, ...]
    license: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def apply_deltas(
    context: Context, parent: str, files: Sequence[Path], *, out: Path, settings: ApplySettings
) -> Applied:
    """Add deltas to their parent, write the model into `out` and register it with its lineage.

    The same command again reads back what is done.

    Args:
        context: registry, prober and what is trusted.
        parent: a registered expert or the folder of a run, with the weights the deltas belong to.
        files: delta files.
        out: folder to write, new or empty.
        settings: weights and the rest.

    Raises:
        NotFoundError: for a parent or file that is not there.
        InvalidInputError: for a wrong, broken or malicious delta; nothing is written then.
    """
    if not files:
        raise InvalidInputError("no delta was given: name at least one file")
    start, out = open_model(context, parent), out.absolute()
    deltas = [read_delta(path, start, head=settings.head) for path in files]
    identity: dict[str, Any] = {
        "parent": start.expert.id,
        "deltas": [sha256_of_file(path) for path in files],
        "config": dataclasses.asdict(settings) | {"register": None},
    }
    shares = shares_of(deltas, settings.weights)
    module, head = combine(start, deltas, weights=shares, scale=settings.scale)
    applied = Applied(
        expert=None,
        parent=start.expert.id,
        path=str(out),
        weights=tuple(shares),
        scale=settings.scale,
        items=sum(delta.about.items for delta in deltas) if all(d.about.items for d in deltas) else 0,
        classes=head.classes if head else (),
        license=strictest([license_of(start), *(delta.about.license for delta in deltas)]),
    )

    def write() -> None:
        if RunFolder(out).result_of(identity) is None:
            with RunFolder(out).written_whole() as folder:
                _write(folder, start, (module, head), applied, deltas)
                folder.finish(identity, _result(applied))

    if not settings.register:
        write()
        return applied
    made = MadeModel(
        folder=out,
        identity=identity,
        origin=_origin(context, start, deltas, identity=identity, applied=applied),
    )
    with recording(context, made) as record:
        write()
        expert = record()
    return dataclasses.replace(applied, expert=expert.id)


def _write(
    folder: RunFolder,
    parent: LoadedModel,
    made: tuple[nn.Module, Head | None],
    applied: Applied,
    deltas: Sequence[Delta],
) -> None:
    """Write model, head and card of what `combine` made."""
    module, head = made
    write_model(
        folder,
        parent.backbone,
        module,
        head=head,
        description=ModelDescription(
            classes=applied.classes,
            kind=head.kind if head else CLASS,
            trusted_code=parent.expert.trusted_code,
            modality=parent.backbone.modality,
            dim=parent.backbone.dim,
            expert=parent.expert.id,
            strategy=_method(deltas),
        ),
    )
    # Deltas do not say which items they were made with: that is their senders' own.
    write_learnt_items(folder, dataclasses.replace(parent.learnt, complete=False))
    rows: dict[str, object] = {
        "parent": parent.name,
        "scale": applied.scale,
        "items trained on": applied.items,
    }
    for number, (delta, share) in enumerate(zip(deltas, applied.weights, strict=True), 1):
        child = delta.about.child or "not registered"
        rows[f"delta {number}"] = f"{delta.about.packing}, weight {share:.4f}, child {child}"
    card = FinishedCard(
        title=f"{parent.expert.name} with {count(len(deltas), 'delta')}",
        license=applied.license,
        base_model=parent.expert.id,
        relation="merge" if len(deltas) > 1 else "finetune",
        tags=[_method(deltas)],
        rows=rows,
        prose=[f"The deltas were averaged and added to the parent; nothing was measured. Licence: {RULE}"],
    )
    folder.write_card(card.text)


def _method(deltas: Sequence[Delta]) -> str:
    return "fedavg" if len(deltas) > 1 else "delta"


def _result(applied: Applied) -> dict[str, Any]:
    return {**dataclasses.asdict(applied), "n_train": applied.items}


def _origin(
    context: Context,
    parent: LoadedModel,
    deltas: Sequence[Delta],
    *,
    identity: dict[str, Any],
    applied: Applied,
) -> Origin:
    store = context.store
    children = [c for c in (store.known_expert(d.about.child) for d in deltas) if c is not None]
    return Origin(
        parent=parent.expert.id,
        sources=(parent.expert.id, *(child.id for child in children)),
        method=_method(deltas),
        relation="merge" if len(deltas) > 1 else "finetune",
        run=f"run:{sha256_of_json([identity, applied.path])[:16]}",
        name=f"{parent.expert.name}-{_method(deltas)}",
        license=applied.license,
        modality=parent.expert.modality,
        datasets=datasets_of([parent.expert, *children]),
    )
