"""Tasks of the same data, measured in another way or with other experts: a prior of how a task goes.

Fine-tunes of one base model and of another are other experts, and zero-shot and linear-probe accuracies other
results; but what the data asks for may be the same. So how two tasks go together is first expected to be how
the same two data went together elsewhere. How much of that holds is told by the tasks themselves: much
between two bases, nothing between zero-shot and fine-tuned networks of images (LOG.md).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.data import plural_of

Array = NDArray[np.float64]

# Correlations, or loadings, without any relation beside those of the same data elsewhere. .2 to 1 differ by
# .03 of weighted tau on prompts and less on model-recycling.
_IMAGINARY = 0.5
# Ridge of the slope of loadings on those of the same data: among few tasks nothing is learnt by chance.
_SLOPE_RIDGE = 0.1
# A pair has no correlation elsewhere below this weight: what subtracting its own leaves of rounding.
_LEAST_WEIGHT = 1e-9
# Names that say nothing of the data: of folders, splits and files.
_SAY_NOTHING = frozenset(
    {
        "all",
        "clips",
        "data",
        "dataset",
        "default",
        "dev",
        "eval",
        "files",
        "input",
        "inputs",
        "items",
        "labels",
    }
    | {"main", "raw", "samples", "test", "testing", "tmp", "train", "training", "val", "valid", "validation"}
)


def data_name(task: str) -> str:
    """Return what the name of a task says of its data: without owner, way of measuring, case and punctuation.

    Empty for a name that says nothing, as ``data`` or ``train``.

    >>> data_name("mteb/CIFAR100"), data_name("cifar-100@zero-shot"), data_name("./data")
    ('cifar100', 'cifar100', '')
    """
    name = re.sub(r"[^a-z0-9]", "", task.rpartition("/")[2].partition("@")[0].casefold())
    return "" if name in _SAY_NOTHING or name.isdigit() else name


def data_names(names: Sequence[str], modalities: Sequence[str]) -> tuple[str, ...] | None:
    """Return the data of T tasks, empty where no other task has the same; None where that is nowhere.

    Args:
        names: (T,) of the tasks.
        modalities: (T,) of the tasks: data of two modalities are not the same.
    """
    both = [(data_name(n), m) for n, m in zip(names, modalities, strict=True)]
    count = Counter(both)
    found = tuple(
        name if name not in ("", m, plural_of(m)) and count[name, m] > 1 else "" for name, m in both
    )
    return found if any(found) else None


def likeness_elsewhere(left: Array, weight: Array, data: Sequence[str]) -> tuple[Array, ...]:
    """Return how tasks go together where their data were measured otherwise, and which have the same.

    Of a pair of tasks that is the mean of what a common factor leaves of the correlations of all other pairs
    of the same two data, shrunk towards nothing.

    Args:
        left: (T, T) correlations less those of the common factor.
        weight: (T, T) of each, zero where unknown, as for a task whose results are hidden.
        data: (T,) name of the data of each task, empty where unknown.

    Returns:
        Two arrays (T, T), NaN where nothing is known; on the diagonal the largest of each row.
    """
    _, code = np.unique([name or f"#{i}" for i, name in enumerate(data)], return_inverse=True)
    of = np.eye(code.max() + 1)[code]
    same = code[:, None] == code[None, :]
    at = np.ix_(code, code)
    # A pair of tasks is no evidence of itself; two of the same data are counted in both orders.
    twice = 1.0 + same
    total = (of.T @ (weight * left) @ of)[at] - twice * weight * left
    counted = (of.T @ weight @ of)[at] - twice * weight
    known = counted > _LEAST_WEIGHT
    alike = np.where(known, total / (np.where(known, counted, 0.0) + _IMAGINARY), np.nan)
    np.fill_diagonal(alike, 0.0)
    np.fill_diagonal(alike, np.abs(np.nan_to_num(alike)).max(axis=1))
    return alike, same * np.array([[float(bool(name))] for name in data])


def loading_by_data(loadings: Array, common: float, data: Sequence[str], target: int) -> float:
    """Return the loading that is expected of one more task by those of the same data.

    Args:
        loadings: (T - 1,) of the other tasks.
        common: that is expected of any task.
        data: (T,) name of the data of each task, empty where unknown.
        target: the place of the task among the T.
    """
    others = np.delete(np.array(data), target)
    twins = (others[:, None] == others[None, :]) & (others != "") & ~np.eye(len(others), dtype=bool)
    away = loadings - loadings.mean()
    elsewhere = twins @ away / (twins.sum(axis=1) + _IMAGINARY)
    known = twins.any(axis=1)
    slope = float(elsewhere[known] @ away[known]) / (float(np.square(elsewhere[known]).sum()) + _SLOPE_RIDGE)
    here = (others == data[target]) & (data[target] != "")
    return common + min(max(slope, 0.0), 1.0) * float(away[here].sum()) / (float(here.sum()) + _IMAGINARY)
