"""The estimators of features and labels by name, open to other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expertise_graph.plugins import Registry
from expertise_graph.transferability.alignment import kernel_target_alignment
from expertise_graph.transferability.gbc import gbc
from expertise_graph.transferability.hscore import h_score
from expertise_graph.transferability.knn import knn_accuracy
from expertise_graph.transferability.logme import logme
from expertise_graph.transferability.nleep import nleep
from expertise_graph.transferability.parc import parc
from expertise_graph.transferability.probe import linear_probe_accuracy
from expertise_graph.transferability.ridge import ridge_accuracy
from expertise_graph.transferability.sfda import sfda
from expertise_graph.transferability.transrate import transrate

Estimator = Callable[[Any, Any], float]
"""`f(features (n, d), labels (n,)) -> float`; higher is better."""

_BUILT_IN: tuple[Estimator, ...] = (
    gbc,
    h_score,
    kernel_target_alignment,
    knn_accuracy,
    linear_probe_accuracy,
    logme,
    nleep,
    parc,
    ridge_accuracy,
    sfda,
    transrate,
)

estimators: Registry[Estimator] = Registry("estimator")
for _estimator in _BUILT_IN:
    estimators.register(_estimator.__name__, _estimator)


def takes_decomposition(estimator: Estimator) -> bool:
    """Tell whether an estimator takes what `decompose` returns in place of features."""
    return estimator in _BUILT_IN
