"""Stratified samples and splits that depend on the seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from expertise_graph.core import DatasetError, IntArray, InvalidInputError
from expertise_graph.data.dataset import LabelledData

DRAW_VERSION = "2"
"""Changes when the same data and seed give other items: what was kept of those is not taken for theirs."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Sorted indices of the items to train on, to stop by and to measure on."""

    train: IntArray
    validation: IntArray
    test: IntArray


def stratified_sample(labels: IntArray, n: int, *, seed: int) -> IntArray:
    """Draw `n` items so that the classes keep their proportions.

    Each class gives at least two items (or the one it has) where `n` allows, else at least one.

    Args:
        labels: (N,) int.
        n: how many; all items when it is N or more.
        seed: of the draw.

    Returns:
        (min(n, N),) int, sorted indices.

    Example:
        >>> stratified_sample(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0).shape
        (3,)
    """
    labels = np.asarray(labels)
    if n < 0:
        raise InvalidInputError(f"a sample cannot have {n} items; give zero or more")
    if n >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quota = _quota(counts, n, rng=rng)
    drawn = [rng.permutation(np.flatnonzero(codes == code))[:take] for code, take in enumerate(quota)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def holdout(data: LabelledData, *, seed: int, test: float = 0.2, validation: float = 0.2) -> Splits:
    """Split a dataset into items to train on, to stop by and to measure on.

    Splits that the data declares are kept, provided that it declares the one to train on; those it
    does not declare are drawn from the items to train on, class by class. What is drawn depends on their
    content: the same items are held out under other file names and in other rows, and exact copies in a
    class stay on one side, counted as one item, unless there is nothing else. A class with one item
    stays in train, one with two leaves validation out, so validation may be empty for very small data.

    Args:
        data: the labelled items.
        seed: of the draw.
        test: fraction of each class to measure on, where no test split is declared.
        validation: fraction of each class to stop by, where no validation split is declared.

    Raises:
        InvalidInputError: when the fractions leave nothing to train on.
        DatasetError: when no class has an item to spare for the test.
    """
    if min(test, validation) < 0 or test + validation >= 1:
        raise InvalidInputError(
            f"test={test} and validation={validation} must not be negative and must add up to less than one"
        )
    declared = dict(data.splits) if "train" in data.splits else {}
    pool = data.by_content
    if "train" in declared:
        pool = pool[np.isin(pool, declared["train"])]
    fractions = {
        "test": 0.0 if "test" in declared else test,
        "validation": 0.0 if "validation" in declared else validation,
    }
    drawn = _draw(data, pool, fractions=fractions, seed=seed, together=True)
    if fractions["test"] > 0 and not len(drawn["test"]):
        drawn = _draw(data, pool, fractions=fractions, seed=seed, together=False)
    splits = {**drawn, **{name: declared[name] for name in declared if name != "train"}}
    if test > 0 and not len(splits["test"]):
        raise DatasetError(f"{data.name} has one item per class, so none is left to test on; add items")
    return Splits(**{name: np.sort(indices).astype(np.int64) for name, indices in splits.items()})


def _quota(counts: IntArray, n: int, *, rng: np.random.Generator) -> IntArray:
    """Return how many items each class gives: `n` in all, as near to proportional as the floors allow."""
    floor = np.minimum(counts, 2)
    if floor.sum() > n:
        floor = np.minimum(counts, 1)
    if floor.sum() > n:
        chosen = np.zeros_like(counts)
        chosen[rng.permutation(len(counts))[:n]] = 1
        return chosen
    target = n * counts / counts.sum()
    quota: IntArray = np.maximum(floor, np.floor(target).astype(counts.dtype))
    while quota.sum() < n:
        quota[np.argmax(np.where(quota < counts, target - quota, -np.inf))] += 1
    while quota.sum() > n:
        quota[np.argmax(np.where(quota > floor, quota - target, -np.inf))] -= 1
    return quota


def _draw(
    data: LabelledData, pool: IntArray, *, fractions: dict[str, float], seed: int, together: bool
) -> dict[str, IntArray]:
    """Return the items of each split, copies on one side if they are to stay `together`."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    labels = data.labels[pool]
    for label in np.unique(labels):
        items = rng.permutation(pool[labels == label])
        members = _copies_together(data, items) if together else items[:, None].tolist()
        n_test, n_validation = _class_counts(len(members), **fractions)
        parts["test"] += chain.from_iterable(members[:n_test])
        parts["validation"] += chain.from_iterable(members[n_test : n_test + n_validation])
        parts["train"] += chain.from_iterable(members[n_test + n_validation :])
    return {name: np.array(items, dtype=np.int64) for name, items in parts.items()}


def _copies_together(data: LabelledData, items: IntArray) -> list[list[int]]:
    """Return the items in their order, those of the same content in one list."""
    found: dict[object, list[int]] = {}
    for i in items.tolist():
        found.setdefault(data.digests[i] if data.digests else i, []).append(i)
    return list(found.values())


def _class_counts(size: int, *, test: float, validation: float) -> tuple[int, int]:
    """Return how many items of a class go to test and validation, at least one staying in train."""
    n_test = max(1, round(size * test)) if test > 0 else 0
    n_validation = max(1, round(size * validation)) if validation > 0 else 0
    while n_test + n_validation >= size and n_test + n_validation > 0:
        if n_validation >= n_test:
            n_validation -= 1
        else:
            n_test -= 1
    return n_test, n_validation
