"""What the raw input is worth without any expert: the same ridge classifier as on features, in numpy.

Asking for a stored answer needs this number, and should not wait for torch, which the estimators use.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Baseline, FloatArray, IntArray
from expertise_graph.data import known_modalities
from expertise_graph.retrieval.evidence import Sample
from expertise_graph.retrieval.reliability import RIDGE
from expertise_graph.store import Store
from expertise_graph.transferability import estimators

Array = NDArray[np.float64]

BASELINE = "ridge on raw input, no pretraining"
# As in transferability/methods/ridge.py.
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def raw_baseline(store: Store, sample: Sample) -> Baseline:
    """Return what a ridge classifier reaches on the raw input, leave one out; worked out once a sample."""
    key = f"baseline {RIDGE}@{estimators[RIDGE].version} {sample.inputs.sha256}"
    known = _fraction(store.state(key))
    if known is None:
        modality = known_modalities[sample.inputs.modality]
        # One at a time: decoded photographs take far more room than what is kept of them.
        raw = np.concatenate([modality.raw_features([modality.decode(i)]) for i in sample.inputs.items])
        known = ridge_accuracy(raw, sample.labels)
        if not store.read_only:
            store.set_state(key, repr(known))
    return Baseline(name=BASELINE, predicted=known)


def _fraction(kept: str | None) -> float | None:
    """Return the fraction that a text says, None for any other text."""
    try:
        value = float(kept or "nan")
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None


def ridge_accuracy(inputs: FloatArray, labels: IntArray) -> float:
    """Return the leave-one-out accuracy of a ridge classifier, as `transferability.ridge_accuracy` does.

    Args:
        inputs: (n, d), centred and scaled here.
        labels: (n,) int.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n, prior = len(index), counts / len(index)
    left, values = _left_singular(_centred(np.asarray(inputs, dtype=np.float64)))
    targets = np.eye(len(counts))[index] - prior
    projected = left.T @ targets
    return max(_hits(left, values / (values + p), targets, projected, prior, index) for p in _PENALTIES) / n


def _centred(inputs: Array) -> Array:
    """Return the rows minus their mean, in the unit in which their mean squared norm is one."""
    rows = inputs / (np.abs(inputs).max() or 1.0)
    # By the first row too, so that constant inputs leave exactly zero.
    rows = rows - rows[0]
    rows = rows - rows.mean(axis=0)
    return np.asarray(rows / (np.sqrt(np.square(rows).sum() / len(rows)) or 1.0))


def _left_singular(rows: Array) -> tuple[Array, Array]:
    """Return left singular vectors (n, k) and squared singular values (k,) above rounding."""
    n, d = rows.shape
    values, vectors = np.linalg.eigh(rows @ rows.T if n <= d else rows.T @ rows)
    keep = values > max(values[-1], 0.0) * max(n, d) * np.finfo(np.float64).eps
    values, vectors = values[keep], vectors[:, keep]
    return (vectors if n <= d else rows @ (vectors / np.sqrt(values))), values


def _hits(
    left: Array, shrink: Array, targets: Array, projected: Array, prior: Array, truth: NDArray[np.intp]
) -> int:
    """Return how many items are classified rightly by the others."""
    leverage = np.square(left) @ shrink + 1.0 / len(left)
    residual = targets - left @ (shrink[:, None] * projected)
    left_out = targets - residual / np.maximum(1.0 - leverage, 1e-9)[:, None]
    return int(((left_out + prior).argmax(axis=1) == truth).sum())
