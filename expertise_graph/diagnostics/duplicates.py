"""Items that are the same or nearly so: copies, leakage between splits, conflicting labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from expertise_graph.core import FloatArray
from expertise_graph.diagnostics.collection import Collection
from expertise_graph.diagnostics.findings import Duplicates, Group

Pair = tuple[int, int, float]

SAME_FEATURES = 0.95


def confirm(pairs: Sequence[Pair], cosines: Mapping[tuple[int, int], float], *, certain: float) -> list[Pair]:
    """Return the pairs of items that are the same input.

    They are as similar as is `certain`, or the features of an expert, centred, have a cosine of .95.
    Features alone do not tell: an expert for letters hardly sees the typeface, and to another one the same
    picture compressed anew is far away.
    """
    return [p for p in pairs if p[2] >= certain or cosines.get(p[:2], -1.0) >= SAME_FEATURES]


def cosines(
    pairs: Sequence[Pair], rows: Mapping[int, int], features: FloatArray
) -> dict[tuple[int, int], float]:
    """Return the cosine of the centred features of the two items of each pair.

    Args:
        pairs: of item indices.
        rows: the row of `features` of an item.
        features: (n, d) float.
    """
    centred = features - features.mean(axis=0)
    centred = centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-12)
    known = [(a, b) for a, b, _ in pairs if a in rows and b in rows]
    return {(a, b): float(centred[rows[a]] @ centred[rows[b]]) for a, b in known}


def group(
    collection: Collection, hashes: Sequence[str | None], pairs: Sequence[Pair], *, confirmed_by: str
) -> Duplicates:
    """Put items of equal content, and near pairs, together.

    Args:
        collection: the items.
        hashes: of the content of each item.
        pairs: confirmed near-duplicates.
        confirmed_by: for the reader of the report.
    """
    parent = list(range(len(collection)))
    by_content: dict[str, list[int]] = defaultdict(list)
    for i, value in enumerate(hashes):
        if value is not None:
            by_content[value].append(i)
    for same in by_content.values():
        for other in same[1:]:
            _union(parent, same[0], other)
    for a, b, _ in pairs:
        _union(parent, a, b)
    together: dict[int, list[int]] = defaultdict(list)
    for i in range(len(collection)):
        together[_root(parent, i)].append(i)
    groups = [_describe(collection, hashes, items) for items in together.values() if len(items) > 1]
    groups.sort(key=lambda g: (not g.conflict, not g.leak, not g.exact, g.items))
    return Duplicates(
        groups=tuple(groups),
        exact_copies=sum(len(same) - 1 for same in by_content.values()),
        near_copies=sum(len({hashes[i] for i in g.items}) - 1 for g in groups),
        leaked=tuple(sorted(i for g in groups for i in _leaked(collection, g))),
        held_out=sum(split != "train" for split in collection.splits),
        confirmed_by=confirmed_by,
    )


def group_numbers(n: int, groups: Iterable[Group]) -> list[int]:
    """Return a number for each of n items that is the same within a group, for folds that keep it whole."""
    numbers = list(range(n))
    for found in groups:
        for i in found.items:
            numbers[i] = found.items[0]
    return numbers


def _describe(collection: Collection, hashes: Sequence[str | None], items: list[int]) -> Group:
    return Group(
        items=tuple(items),
        exact=len({hashes[i] for i in items}) == 1,
        leak=len({collection.splits[i] for i in items}) > 1,
        conflict=len({int(collection.labels[i]) for i in items}) > 1,
    )


def _leaked(collection: Collection, found: Group) -> list[int]:
    """Return the items of a group that are to be measured on although another split holds them, too."""
    if not found.leak:
        return []
    splits = {collection.splits[i] for i in found.items}
    learnt = "train" if "train" in splits else collection.splits[found.items[0]]
    return [i for i in found.items if collection.splits[i] != learnt]


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _union(parent: list[int], a: int, b: int) -> None:
    first, second = sorted((_root(parent, a), _root(parent, b)))
    parent[second] = first
