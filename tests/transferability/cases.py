"""What each registered estimator is expected to be: its definition, its symmetries, its limits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from expertise_graph.transferability._classes import as_classes
from expertise_graph.transferability.decomposition import decompose
from expertise_graph.transferability.methods.alignment import kernel_target_alignment
from expertise_graph.transferability.methods.probe import _folds
from expertise_graph.transferability.registry import estimators
from tests.transferability import references
from tests.transferability.test_logme import fixed_point, greatest_evidence
from tests.transferability.test_ridge import refitted_accuracies


@dataclass(frozen=True, kw_only=True)
class Case:
    """One estimator; None for a value that is finite but not known beforehand.

    `constant` is the score of constant features for classes of 12, 5 and 3 items, `pair` that of
    two items of two classes, `singles` that of 1,000 classes of one item. `width` tells whether
    noise gains by being wider, `thin` whether the reference knows what to do with d = 1,
    `peak` is a slower reference that also knows maxima at infinity, `order_of_equals` that the
    order of exactly equal rows never matters.
    """

    estimator: Callable
    reference: Callable
    one_class: float | None
    constant: float | None
    pair: float | None
    singles: float | None
    width: bool
    rotation: bool = True
    scale: bool = True
    translation: bool = True
    thin: bool = True
    peak: Callable | None = None
    order_of_equals: bool = True
    least: int = 2


def logme(x, labels):
    return np.mean([fixed_point(x, (labels == c).astype(float)) for c in range(labels.max() + 1)])


def greatest(x, labels):
    return np.mean([greatest_evidence(x, (labels == c).astype(float)) for c in range(labels.max() + 1)])


def linear_probe_accuracy(x, labels):
    space = decompose(x)
    classes = as_classes(labels, len(x), space.features.device)
    folds = _folds(space, classes, count=min(5, len(x)), seed=0)
    return references.linear_probe_accuracy(x, labels, folds.numpy())


def debiased_alignment(x, labels):
    return kernel_target_alignment(x, labels, debiased=True)


SHARES = np.array([12, 5, 3]) / 20
NO_BETTER_THAN_THE_PRIOR = float((SHARES * np.log(SHARES)).sum())


def case(name, one_class, constant, pair, singles, *, reference=None, **flags):
    return Case(
        estimator=estimators[name].imported,
        reference=reference or getattr(references, name),
        one_class=one_class,
        constant=constant,
        pair=pair,
        singles=singles,
        **flags,
    )


CASES = {
    "gbc": case("gbc", 0.0, -6.0, 0.0, 0.0, width=True),
    "h_score": case("h_score", 0.0, 0.0, 1.0, None, width=True),
    "kernel_target_alignment": case("kernel_target_alignment", 0.0, 0.0, 1.0, None, width=True),
    "knn_accuracy": case("knn_accuracy", 1.0, 0.6, 0.0, 0.0, width=False, translation=False, thin=False),
    "linear_probe_accuracy": case(
        "linear_probe_accuracy",
        1.0,
        0.6,
        0.0,
        0.0,
        reference=linear_probe_accuracy,
        width=False,
        rotation=False,
        order_of_equals=False,
    ),
    "logme": case(
        "logme",
        None,
        None,
        None,
        None,
        reference=logme,
        peak=greatest,
        width=False,
        translation=False,
        thin=False,
    ),
    "nleep": case("nleep", 0.0, NO_BETTER_THAN_THE_PRIOR, 0.0, 0.0, width=False, order_of_equals=False),
    "parc": case("parc", 0.0, 0.0, 0.0, 0.0, width=False),
    "ridge_accuracy": case(
        "ridge_accuracy",
        1.0,
        0.6,
        0.0,
        0.0,
        reference=lambda x, y: max(refitted_accuracies(x, y)),
        width=False,
    ),
    "sfda": case("sfda", 0.0, NO_BETTER_THAN_THE_PRIOR, 0.0, 0.0, width=True, scale=False),
    "transrate": case("transrate", 0.0, 0.0, 0.0, None, width=True),
}

DEBIASED = Case(
    estimator=debiased_alignment,
    reference=references.debiased_alignment,
    one_class=0.0,
    constant=0.0,
    pair=None,
    singles=0.0,
    width=False,
    least=4,
)

ALL = {**CASES, "kernel_target_alignment, debiased": DEBIASED}


@dataclass(frozen=True, kw_only=True)
class Head:
    """An estimator of source answers; `draw` turns source classes (n,) into what it needs."""

    estimator: Callable
    reference: Callable
    draw: Callable
    one_class: float
    constant: float
    singles: float


def certain(source):
    return np.eye(source.max() + 1)[source]


HEADS = {
    "leep": Head(
        estimator=estimators["leep"].imported,
        reference=references.leep,
        draw=certain,
        one_class=0.0,
        constant=NO_BETTER_THAN_THE_PRIOR,
        singles=0.0,
    ),
    "nce": Head(
        estimator=estimators["nce"].imported,
        reference=references.nce,
        draw=lambda source: source,
        one_class=0.0,
        constant=NO_BETTER_THAN_THE_PRIOR,
        singles=0.0,
    ),
}
