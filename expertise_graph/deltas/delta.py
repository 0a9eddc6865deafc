"""What a child learnt, as the difference to its parent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.data import CLASS, KINDS
from expertise_graph.deltas.packing import PLAIN, Packing, pack, relative_error, unpack
from expertise_graph.merging import LoadedModel, State, first_difference, license_of
from expertise_graph.models import Head

FORMAT, VERSION = "expertise-graph-delta", "1"
WHOLE, DIFFERENCE, NO_HEAD = "whole", "difference", "none"
# A file that claims more items than any dataset has would outweigh all others in an average.
MOST_ITEMS = 10**12


@dataclass(frozen=True, kw_only=True)
class About:
    """What a delta file says of itself.

    Attributes:
        parent_sha256: hash of the file with the parent's weights, what `show` calls weights_sha.
        parent: id of the parent, for people.
        child: id of the child, empty when it is not registered.
        packing: how the tensors are written.
        items: how many items the child was trained on; 0 when that is not known.
        head: "whole" where the parent has no such head, "difference" to the parent's, or "none".
        parent_head_sha256: of the head that a difference belongs to.
        classes: of the head.
        kind: of its target.
        license: of the child.
    """

    parent_sha256: str
    parent: str
    child: str
    packing: str
    items: int
    head: str
    parent_head_sha256: str
    classes: tuple[str, ...]
    license: str
    kind: str = CLASS
    format: str = FORMAT
    version: str = VERSION

    def as_metadata(self) -> dict[str, str]:
        """Return texts, which is all that the header of a safetensors file can hold."""
        values = {name: str(value) for name, value in asdict(self).items()}
        return {**values, "classes": json.dumps(list(self.classes), ensure_ascii=False)}

    @classmethod
    def from_metadata(cls, values: Mapping[str, str]) -> About:
        """Return what `as_metadata` gave.

        Raises:
            InvalidInputError: when something is missing or not what it should be.
        """
        values = {"kind": CLASS, **values}
        missing = [field.name for field in fields(cls) if not isinstance(values.get(field.name), str)]
        if values.get("format") != FORMAT or missing:
            raise InvalidInputError("it is not a delta file")
        if values["version"] != VERSION:
            raise InvalidInputError(
                f"it has version {values['version'][:20]!r} of the format, {VERSION} is read"
            )
        try:
            classes, items = json.loads(values["classes"]), int(values["items"])
        except (ValueError, RecursionError) as error:
            raise InvalidInputError("its classes or items cannot be read") from error
        named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        if not named or len(set(classes)) != len(classes) or not 0 <= items <= MOST_ITEMS:
            raise InvalidInputError("its classes or items are not possible")
        if values["kind"] not in KINDS:
            raise InvalidInputError("it does not say what its head gives")
        if values["head"] not in (WHOLE, DIFFERENCE, NO_HEAD):
            raise InvalidInputError("it does not say what head it has")
        texts = {field.name: values[field.name] for field in fields(cls)}
        given: dict[str, Any] = {**texts, "classes": tuple(classes), "items": items}
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A difference in memory: packed parts by tensor, and what is said of it.

    Attributes:
        parts: for each tensor that changed the parts of `packing.pack`; names begin with
            ``backbone.`` or ``head.``.
    """

    about: About
    parts: Mapping[str, State]

    def difference(self, shapes: Mapping[str, torch.Size]) -> State:
        """Return the float32 differences, of the shapes that the parent's tensors have."""
        return {name: unpack(parts, shapes[name]) for name, parts in self.parts.items()}


def make_delta(
    parent: LoadedModel,
    child: LoadedModel,
    *,
    packing: Packing = PLAIN,
    head: bool = True,
    items: int | None = None,
) -> tuple[Delta, float]:
    """Return the difference of two models and what packing it loses, as a relative error.

    Tensors that did not change are left out. A child's head for classes of which the parent has
    none goes in whole.

    Args:
        parent: what the child was made from.
        child: the changed model.
        packing: low rank, 8 bits, both or neither.
        head: whether the child's head goes in.
        items: how many items the child was trained on, where its run does not say.

    Raises:
        InvalidInputError: when their tensors differ in name or shape, or nothing has changed, or
            the child has NaN or infinite weights.
    """
    before, after = parent.weights, child.weights
    difference = first_difference(before.all, after.all)
    if difference:
        raise InvalidInputError(f"{child.name} is no child of {parent.name}: {difference}")
    _check_fixed(parent, child)
    kind = _head_kind(parent, child) if head else NO_HEAD
    changed = {
        f"backbone.{name}": tensor - before.floating[name]
        for name, tensor in after.floating.items()
        if not torch.equal(tensor, before.floating[name])
    } | _head_difference(parent, child, kind)
    if not changed:
        raise InvalidInputError(f"{child.name} has the weights of {parent.name}: there is no difference")
    broken = next((name for name, tensor in changed.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise InvalidInputError(f"{child.name} has NaN or infinite values in {broken}")
    parts = {name: pack(tensor, packing) for name, tensor in changed.items()}
    unpacked = {name: unpack(parts[name], tensor.shape) for name, tensor in changed.items()}
    about = About(
        parent_sha256=parent.expert.weights_sha,
        parent=parent.expert.id,
        child="" if child.expert.id == parent.expert.id else child.expert.id,
        packing=packing.method,
        items=items or child.items or 0,
        head=kind,
        parent_head_sha256=head_sha256(parent.head) if kind == DIFFERENCE and parent.head else "",
        classes=child.head.classes if child.head and kind != NO_HEAD else (),
        license=license_of(child),
        kind=child.head.kind if child.head and kind != NO_HEAD else CLASS,
    )
    return Delta(about=about, parts=parts), relative_error(changed, unpacked)


def head_sha256(head: Head) -> str:
    """Return a hash of a head: its classes in order, their kind, weight and bias."""
    names = list(head.classes) if head.kind == CLASS else [head.kind, list(head.classes)]
    digest = hashlib.sha256(json.dumps(names).encode())
    for tensor in (head.weight, head.bias):
        digest.update(tensor.contiguous().float().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _check_fixed(parent: LoadedModel, child: LoadedModel) -> None:
    for name, tensor in child.weights.fixed.items():
        if not name.endswith("num_batches_tracked") and not torch.equal(tensor, parent.weights.fixed[name]):
            raise InvalidInputError(
                f"{name} holds whole numbers that differ between {parent.name} and {child.name}"
            )


def _head_kind(parent: LoadedModel, child: LoadedModel) -> str:
    if child.head is None:
        return NO_HEAD
    return DIFFERENCE if parent.head_for(child.head.classes, child.head.kind) else WHOLE


def _head_difference(parent: LoadedModel, child: LoadedModel, kind: str) -> State:
    if kind == NO_HEAD or child.head is None:
        return {}
    whole = {f"head.{name}": tensor for name, tensor in child.head.state.items()}
    if kind == WHOLE or parent.head is None:
        return whole
    before = parent.head.ordered(child.head.classes).state
    moved = {name: tensor - before[name.removeprefix("head.")] for name, tensor in whole.items()}
    return {name: tensor for name, tensor in moved.items() if bool((tensor != 0).any())}
