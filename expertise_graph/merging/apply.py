"""Adding deltas to the parent they were made from: one gives back the child, several their average."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expertise_graph.errors import InvalidInputError
from expertise_graph.merging.delta import DIFFERENCE, NO_HEAD, About, Delta
from expertise_graph.merging.deltafile import read_delta, tensor_shapes
from expertise_graph.merging.licences import RULE, strictest
from expertise_graph.merging.methods import normalised, sum_of
from expertise_graph.merging.models import Head, Model, license_of, open_model
from expertise_graph.merging.output import check_free, new_folder, read_record, write_card, write_model
from expertise_graph.merging.record import Origin, datasets_of, register_model
from expertise_graph.merging.states import State, put_into
from expertise_graph.probing import Prober
from expertise_graph.sources.weights import sha256_of
from expertise_graph.store import Store
from expertise_graph.warmstart.folder import write_json


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


def combine(
    parent: Model, deltas: Sequence[Delta], *, weights: Sequence[float] | None = None, scale: float = 1.0
) -> tuple[nn.Module, Head | None]:
    """Return the parent's network and head with the weighted mean of the deltas added.

    theta = theta_0 + scale * sum_i w_i d_i with sum_i w_i = 1; a tensor that a delta leaves out has
    not moved there. One plain delta at scale 1 gives back the child to float32 rounding: an entry c
    of the child that was p in the parent comes back as c, or differs by at most 2^-23 max(|p|, |c|).
    A head is the weighted mean of the heads that the deltas stand for; without one the parent's stays.
    A running variance never falls below zero.

    Args:
        parent: what the deltas were made from.
        deltas: checked ones.
        weights: one for each; None for the items their children were trained on.
        scale: of the average.

    Raises:
        InvalidInputError: when weights do not fit or are not known, or heads are for other classes.

    References:
        McMahan et al., arXiv:1602.05629, algorithm 1, w_i = n_i / n.
    """
    shares = shares_of(deltas, weights)
    moves = [delta.difference(_shapes(parent, delta.about)) for delta in deltas]
    state = parent.weights.all
    for name, tensor in parent.weights.floating.items():
        key = f"backbone.{name}"
        terms = [s * m[key].double() for s, m in zip(shares, moves, strict=True) if key in m]
        if terms:
            moved = (tensor.double() + scale * sum_of(terms)).float()
            state[name] = moved.clamp(min=0) if name.endswith("running_var") else moved
    head = _head(parent, deltas, moves, shares=shares, scale=scale)
    for name, tensor in {**state, **(head.state if head else {})}.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InvalidInputError(
                f"the deltas lead to NaN or infinite values in {name}: nothing was written"
            )
    return put_into(parent.backbone.module, state), head


def shares_of(deltas: Sequence[Delta], weights: Sequence[float] | None) -> list[float]:
    """Return the share of each delta: of the weights given, else of the items trained on.

    Raises:
        InvalidInputError: when a number of items is not known and no weights are given.
    """
    if weights is None and len(deltas) > 1:
        weights = [float(delta.about.items) for delta in deltas]
        if not all(weights):
            raise InvalidInputError(
                "a delta does not say how many items it was trained on: give --weights, one for each delta"
            )
    return normalised(weights, len(deltas))


def apply_deltas(
    store: Store,
    prober: Prober,
    parent: str,
    files: Sequence[Path],
    *,
    out: Path,
    settings: ApplySettings,
    trust_code: bool = False,
) -> Applied:
    """Add deltas to their parent, write the model into `out` and register it with its lineage.

    The same command again reads back what is done.

    Args:
        store: the registry.
        prober: runs the new expert on the probe set.
        parent: a registered expert or the folder of a run, with the weights the deltas belong to.
        files: delta files.
        out: folder to write, new or empty.
        settings: weights and the rest.
        trust_code: whether a network built by code of the user may be loaded.

    Raises:
        NotFoundError: for a parent or file that is not there.
        InvalidInputError: for a wrong, broken or malicious delta; nothing is written then.
    """
    if not files:
        raise InvalidInputError("no delta was given: name at least one file")
    start, out = open_model(store, parent, trust_code=trust_code), out.absolute()
    deltas = [read_delta(path, start, head=settings.head) for path in files]
    identity: dict[str, Any] = {
        "parent": start.expert.id,
        "deltas": [sha256_of([path]) for path in files],
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
    if read_record(out, identity) is None:
        check_free(out)
        with new_folder(out) as folder:
            write_applied(folder, start, (module, head), applied, deltas)
            write_json(folder / "run.json", {"identity": identity, "result": _result(applied)})
    if not settings.register:
        return applied
    expert = _registered(
        store, prober, start, deltas, identity=identity, applied=applied, trust_code=trust_code
    )
    return dataclasses.replace(applied, expert=expert)


def write_applied(
    folder: Path,
    parent: Model,
    made: tuple[nn.Module, Head | None],
    applied: Applied,
    deltas: Sequence[Delta],
) -> None:
    """Write model, head and card of what `combine` made."""
    module, head = made
    description = {
        "accuracy": None,
        "task": None,
        "expert": parent.expert.id,
        "strategy": _method(deltas),
        "trusted_code": parent.expert.trusted_code,
    }
    write_model(folder, parent.backbone, module, head=head, description=description)
    fields = {
        "license": applied.license,
        "base_model": parent.expert.id,
        "base_model_relation": "merge" if len(deltas) > 1 else "finetune",
        "tags": ["expertise-graph", _method(deltas)],
    }
    rows: dict[str, object] = {
        "parent": parent.name,
        "scale": applied.scale,
        "items trained on": applied.items,
    }
    for number, (delta, share) in enumerate(zip(deltas, applied.weights, strict=True), 1):
        child = delta.about.child or "not registered"
        rows[f"delta {number}"] = f"{delta.about.packing}, weight {share:.4f}, child {child}"
    prose = [f"The deltas were averaged and added to the parent; nothing was measured. Licence: {RULE}"]
    write_card(folder, f"{parent.expert.name} with {len(deltas)} deltas", fields, rows, prose)


def _shapes(parent: Model, about: About) -> dict[str, Any]:
    return tensor_shapes(parent, about)


def _head(
    parent: Model, deltas: Sequence[Delta], moves: Sequence[State], *, shares: Sequence[float], scale: float
) -> Head | None:
    with_head = [delta for delta in deltas if delta.about.head != NO_HEAD]
    if not with_head:
        return parent.head
    classes = with_head[0].about.classes
    if len(with_head) < len(deltas) or any(set(d.about.classes) != set(classes) for d in with_head):
        raise InvalidInputError(
            "the deltas have heads for different classes: leave them out with --no-head, or apply one alone"
        )
    heads = [_proposed(parent, d.about, m) for d, m in zip(deltas, moves, strict=True)]
    ordered = [head.ordered(classes).state for head in heads]
    mean = {
        name: sum_of([s * state[name].double() for s, state in zip(shares, ordered, strict=True)])
        for name in ("weight", "bias")
    }
    if parent.head is not None and parent.head.knows(classes):
        before = parent.head.ordered(classes).state
        mean = {name: before[name] + scale * (tensor - before[name]) for name, tensor in mean.items()}
    return Head(weight=mean["weight"].float(), bias=mean["bias"].float(), classes=classes)


def _proposed(parent: Model, about: About, moves: State) -> Head:
    """Return the head of the child that a delta stands for."""
    start = parent.head.ordered(about.classes).state if parent.head and about.head == DIFFERENCE else {}
    found = {}
    for name, shape in _shapes(parent, about).items():
        if name.startswith("head."):
            key = name.removeprefix("head.")
            moved = moves[name].double() if name in moves else None
            before = start[key].double() if key in start else None
            if moved is None and before is None:
                raise InvalidInputError(f"a delta with a head of shape {tuple(shape)} lacks its {key}")
            found[key] = sum_of([t for t in (before, moved) if t is not None])
    return Head(weight=found["weight"], bias=found["bias"], classes=about.classes)


def _method(deltas: Sequence[Delta]) -> str:
    return "fedavg" if len(deltas) > 1 else "delta"


def _result(applied: Applied) -> dict[str, Any]:
    return {**dataclasses.asdict(applied), "n_train": applied.items}


def _registered(
    store: Store,
    prober: Prober,
    parent: Model,
    deltas: Sequence[Delta],
    *,
    identity: dict[str, Any],
    applied: Applied,
    trust_code: bool,
) -> str:
    known = {e.id for e in store.experts(parent.expert.modality)}
    children = [d.about.child for d in deltas if d.about.child in known]
    text = json.dumps([identity, applied.path], sort_keys=True)
    origin = Origin(
        parent=parent.expert.id,
        sources=(parent.expert.id, *children),
        method=_method(deltas),
        relation="merge" if len(deltas) > 1 else "finetune",
        run=f"run:{hashlib.sha256(text.encode()).hexdigest()[:16]}",
        name=f"{parent.expert.name}-{_method(deltas)}",
        license=applied.license,
        modality=parent.expert.modality,
        datasets=datasets_of([parent.expert, *(store.expert(child) for child in children)]),
    )
    return register_model(store, prober, Path(applied.path), origin, trust_code=trust_code).id
