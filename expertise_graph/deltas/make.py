"""The delta of a registered child, written to a file that can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import InvalidInputError, NotFoundError, setting
from expertise_graph.deltas.delta import make_delta
from expertise_graph.deltas.delta_file import check_free, write_delta
from expertise_graph.deltas.packing import PLAIN, Packing
from expertise_graph.features import Context
from expertise_graph.merging import LoadedModel, open_model


@dataclass(frozen=True, kw_only=True)
class DeltaReport:
    """What a delta file is.

    Attributes:
        bytes: its size.
        ratio: that over the size of the child's weights.
        error: relative error of the differences that packing makes, 0 for a plain delta.
        tensors: how many are in it, of how many the child has.
        head: whole, difference or none.
        items: how many items the child was trained on, 0 when that is not known.
    """

    path: str
    parent: str
    child: str
    parent_sha256: str
    packing: str
    bytes: int
    ratio: float
    error: float
    tensors: int
    of: int
    head: str
    items: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def make_delta_file(
    context: Context,
    child: str,
    out: Path,
    *,
    parent: str | None = None,
    packing: Packing = PLAIN,
    head: bool = True,
    items: int | None = None,
) -> DeltaReport:
    """Write the difference of a child to its parent, see `make_delta`.

    Args:
        context: registry and what is trusted.
        child: a registered expert or the folder of a run.
        out: the file to write, which must not be there.
        parent: the same for the parent; by default the child's only one in the lineage.
        packing: how it is written.
        head: whether the child's head goes in.
        items: how many items the child was trained on, where its run does not say.

    Raises:
        NotFoundError: when child or parent is not there, or the parent is not known.
        InvalidInputError: when they do not belong together, or `out` is taken.
    """
    check_free(out)
    after = open_model(context, child)
    before = open_model(context, parent or _only_parent(after))
    delta, error = make_delta(before, after, packing=packing, head=head, items=items)
    size = write_delta(delta, out)
    return DeltaReport(
        path=str(out),
        parent=before.expert.id,
        child=after.expert.id,
        parent_sha256=before.expert.weights_sha,
        packing=delta.about.packing,
        bytes=size,
        ratio=size / max(1, after.expert.bytes),
        error=error,
        tensors=len(delta.parts),
        of=len(after.weights.floating) + (2 if after.head and head else 0),
        head=delta.about.head,
        items=delta.about.items,
    )


def _only_parent(child: LoadedModel) -> str:
    parents: Sequence[str] = child.parents
    if len(parents) == 1:
        return parents[0]
    if not parents:
        raise NotFoundError(f"no parent of {child.name} is known: name it as {setting('parent')}")
    raise InvalidInputError(
        f"{child.name} comes from {' and '.join(parents)}: choose one of them as {setting('parent')}"
    )
