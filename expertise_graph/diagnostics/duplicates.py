"""Items that are the same or nearly so: copies, leakage between splits, conflicting labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy

from expertise_graph.core import FloatArray
from expertise_graph.diagnostics.findings import DuplicateGroup, Duplicates
from expertise_graph.diagnostics.items import CheckedItems

Pair = tuple[int, int, float]

# Centred cosine of the features. Alone it says little: with latin-letters 188 pairs of different typefaces
# are above it.
SAME_FEATURES = 0.95


def confirm(pairs: Sequence[Pair], cosines: Mapping[tuple[int, int], float], *, certain: float) -> list[Pair]:
    """Return the pairs of items that are the same input.

    They are as similar as is `certain`, or the features of an expert, centred, have a cosine of .95.
    Features alone do not tell: an expert for letters hardly sees the typeface, and to another one the same
    picture compressed again is far away.
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


def group_duplicates(
    checked: CheckedItems, hashes: Sequence[str | None], pairs: Sequence[Pair], *, confirmed_by: str
) -> Duplicates:
    """Put items of equal content, and near pairs, together.

    Args:
        checked: the items.
        hashes: of the content of each item.
        pairs: confirmed near-duplicates.
        confirmed_by: for the reader of the report.
    """
    by_content: dict[str, list[int]] = defaultdict(list)
    for i, value in enumerate(hashes):
        if value is not None:
            by_content[value].append(i)
    same = [(items[0], other) for items in by_content.values() for other in items[1:]]
    together = _connected(len(checked), [*same, *((a, b) for a, b, _ in pairs)])
    groups = [_describe(checked, hashes, items) for items in together]
    groups.sort(key=lambda g: (not g.conflict, not g.leak, not g.exact, g.items))
    return Duplicates(
        groups=tuple(groups),
        exact_copies=len(same),
        near_copies=sum(len({hashes[i] for i in g.items}) - 1 for g in groups),
        leaked=tuple(sorted(i for g in groups for i in _leaked(checked, g))),
        held_out=sum(split != "train" for split in checked.splits),
        confirmed_by=confirmed_by,
    )


def group_numbers(n: int, groups: Iterable[DuplicateGroup]) -> list[int]:
    """Return a number for each of n items that is the same within a group, for folds that keep it whole."""
    numbers = list(range(n))
    for found in groups:
        for i in found.items:
            numbers[i] = found.items[0]
    return numbers


def _describe(checked: CheckedItems, hashes: Sequence[str | None], items: list[int]) -> DuplicateGroup:
    return DuplicateGroup(
        items=tuple(items),
        exact=len({hashes[i] for i in items}) == 1,
        leak=len({checked.splits[i] for i in items}) > 1,
        conflict=len({int(checked.labels[i]) for i in items}) > 1,
    )


def _leaked(checked: CheckedItems, found: DuplicateGroup) -> list[int]:
    """Return the items of a group that are to be measured on although another split holds them, too."""
    if not found.leak:
        return []
    splits = {checked.splits[i] for i in found.items}
    learnt = "train" if "train" in splits else checked.splits[found.items[0]]
    return [i for i in found.items if checked.splits[i] != learnt]


def _connected(n: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the groups of two and more of n items that edges connect, each in rising order."""
    if not edges:
        return []
    a, b = np.array(edges).T
    graph = scipy.sparse.coo_array((np.ones(len(edges)), (a, b)), shape=(n, n))
    _, component = scipy.sparse.csgraph.connected_components(graph, directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for i in sorted({*a.tolist(), *b.tolist()}):
        members[component[i]].append(i)
    return list(members.values())
