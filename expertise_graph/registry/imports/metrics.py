"""What the name of a metric says: its unit, and which way is better."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from expertise_graph.core import InvalidInputError, did_you_mean, setting
from expertise_graph.registry.imports.options import AUTO, FRACTION, PERCENT, HistoryOptions
from expertise_graph.registry.imports.table import LeftOut

ACCURACY = "accuracy"

OF_CLASSES = (*(ACCURACY, "balanced_accuracy", "f1_macro", "macro_f1", "f1", "f1_weighted", "ap", "auc"),)
"""Metrics of classification, the plainest first; of several told of one thing the first one counts."""

# Words in the names of metrics; digits are left out, so that f1 is f, top-5 is top.
_FRACTIONS = frozenset(
    {"accuracy", "acc", "f", "auc", "auroc", "auprc", "precision", "recall", "sensitivity", "specificity"}
    | {"map", "ap", "iou", "miou", "dice", "em", "exact", "top", "hit", "hits", "ndcg", "mrr"}
)
_LOWER = frozenset(
    {"loss", "logloss", "entropy", "error", "errors", "err", "mse", "mae", "rmse", "mape", "perplexity"}
    | {"ppl", "wer", "cer", "eer", "fid", "nll", "bpc", "bpb", "ece", "brier", "regret"}
)

# How accuracy is called, without spaces; words for the items that it is of, and for the choice of an epoch.
_ACCURACY = frozenset({"acc", ACCURACY, "top1", "acc1", "accat1", "top1acc", "top1accuracy", "accuracytop1"})
_SPLITS = frozenset({"test", "predict", "eval", "validation", "valid", "val", "dev"})
_SELECTED = frozenset({"best", "final", "last"})

V = TypeVar("V", bound="Value")


@dataclass(slots=True, kw_only=True)
class Value:
    """A value of a metric, and where in the file it is."""

    where: str
    metric: str
    value: float
    percent: bool = False


def known_as(metric: str) -> str:
    """Return the name a metric is stored under; accuracy has one.

    Example:
        >>> known_as("Acc"), known_as("eval/top-1"), known_as("macro F1"), known_as("train_acc")
        ('accuracy', 'accuracy', 'macro F1', 'train_acc')
    """
    return ACCURACY if without_split(metric)[0] == ACCURACY else metric


def without_split(metric: str) -> tuple[str, str]:
    """Return a metric and the split that its name tells, both in lower case; accuracy has one name.

    Example:
        >>> without_split("eval/accuracy"), without_split("test_macro_f1"), without_split("Top-1 acc (%)")
        (('accuracy', 'eval'), ('macro_f1', 'test'), ('accuracy', ''))
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z]{2})([A-Z])", r"\1 \2", metric).lower())
    split = next((word for word in words if word in _SPLITS), "")
    rest = [word for word in words if word != split and word not in _SELECTED]
    return (ACCURACY if "".join(rest) in _ACCURACY else "_".join(rest)), split


def is_fraction(metric: str) -> bool:
    """Tell whether values of a metric lie between 0 and 1, or between 0 and 100 percent.

    Example:
        >>> is_fraction("eval_F1"), is_fraction("top-1 error"), is_fraction("pearson")
        (True, False, False)
    """
    return bool(_words(metric) & _FRACTIONS) and not is_lower(metric)


def is_lower(metric: str) -> bool:
    """Tell whether the name of a metric says that a lower value is better.

    Example:
        >>> is_lower("eval_loss"), is_lower("accuracy")
        (True, False)
    """
    return bool(_words(metric) & _LOWER)


def _words(metric: str) -> set[str]:
    apart = re.sub(r"([a-z]{2})([A-Z])", r"\1 \2", metric)
    return set(re.findall(r"[a-z]+", apart.lower()))


def lower_metrics(name: str, metrics: Iterable[str], options: HistoryOptions) -> set[str]:
    """Return the metrics of which a lower value is better, as declared.

    Raises:
        InvalidInputError: when a name suggests it and nothing is declared, or a declared one is not there.
    """
    present = sorted(set(metrics))
    lower, higher = ({known_as(m) for m in d} for d in (options.lower_is_better, options.higher_is_better))
    for metric in sorted(lower | higher):
        if metric not in present:
            hint = did_you_mean(metric, present)
            raise InvalidInputError(
                f"{name} has no metric {metric!r}; there are: {', '.join(present)}.{hint}"
            )
        if metric in lower & higher:
            raise InvalidInputError(f"{metric!r} is declared both lower and higher is better; choose one")
    for metric in present:
        if is_lower(metric) and metric not in lower | higher:
            raise InvalidInputError(
                f"{name}: of {metric!r} a lower value seems to be better; "
                f"say so with {setting('lower_is_better', metric)}, or {setting('higher_is_better', metric)}"
            )
    return lower


def to_fractions(values: Sequence[V], unit: str, left_out: LeftOut) -> tuple[list[V], list[str]]:
    """Return the values with accuracies and the like as fractions, and what was done to them.

    Values of other metrics stay as they are.

    Raises:
        InvalidInputError: for an accuracy that is none, or percent and fractions mixed.
    """
    units = {}
    for metric in dict.fromkeys(v.metric for v in values):
        if is_fraction(metric) or any(v.percent for v in values if v.metric == metric):
            units[metric] = _unit(metric, values, left_out.name) if unit == AUTO else unit
    kept = []
    for v in values:
        limit = {None: None, FRACTION: 1.0, PERCENT: 100.0}[units.get(v.metric)]
        if limit is None or 0 <= v.value <= limit:
            kept.append(v)
        else:
            what = f"{v.value:g} is no {v.metric} (0 to {limit:g}, by {setting('unit')} or the other values)"
            left_out.invalid(v.where, what, "out of range")
    for v in kept:
        v.value /= 100.0 if units.get(v.metric) == PERCENT else 1.0
    said = {PERCENT: "is in percent, divided by 100", FRACTION: "is in fractions of 1"}
    return kept, [f"{m} {said[u]}" for m, u in units.items()]


def _unit(metric: str, values: Sequence[Value], name: str) -> str:
    """Return the unit that all values of a metric can have; zeros can have both, percent signs tell."""
    within = [v for v in values if v.metric == metric and 0 < v.value <= 100]
    small = next((v for v in within if v.value <= 1 and not v.percent), None)
    large = next((v for v in within if v.value > 1 or v.percent), None)
    if small and large:
        columns = (
            f", or leave out columns that are no tasks with {setting('ignore')}"
            if "column" in large.where
            else ""
        )
        raise InvalidInputError(
            f"{name}: {metric} is {small.value:g} at {small.where} and {large.value:g} at {large.where}; "
            f"say which unit all have with {setting('unit', FRACTION)} or {setting('unit', PERCENT)}{columns}"
        )
    return PERCENT if large else FRACTION
