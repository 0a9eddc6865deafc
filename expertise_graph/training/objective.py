"""The objective: loss and score for classes, for several labels an item and for values; distillation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expertise_graph.core import IntArray, InvalidInputError, metrics
from expertise_graph.data import CLASS, LABELS, VALUE, LabelledData

Tensor = torch.Tensor
Loss = Callable[[Tensor, Tensor], Tensor]

METRICS = {CLASS: "accuracy", LABELS: "average_precision", VALUE: "r2"}
"""The score of each kind of target; 1 is perfect."""

UNBALANCED = 1.5
"""Classes are weighted when the largest has more than this times the items of the smallest.

Below it weights would change little, and a stratified split of balanced data must not switch them on.
"""
LARGEST_RATIO = 10.0
"""No class weighs more than this times another, so that one odd item cannot steer the whole model."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Loss and score of one kind of target.

    Attributes:
        targets: (n,) int classes, or (n, k) float: 0 and 1 for labels, standardised for values.
        outputs: k, the width of the head.
        kind: of the target: class, labels or value.
        loss_of: (outputs, targets) to the mean loss, weighted by class where classes have weights.
        measure: the same without class weights.
        class_weights: (k,) of the classes; None where all count alike.
        score: (outputs, targets) to the score; higher is better.
        one_item: how much one validation item can change the score; a smaller difference is a tie.
        spread: mean (k,) and scale (k,) that turn standardised outputs into values; None for others.
        unseen: classes or labels without a training item.
    """

    targets: Tensor
    outputs: int
    kind: str
    loss_of: Loss
    measure: Loss
    score: Callable[[Tensor, Tensor], float]
    one_item: float
    class_weights: Tensor | None = None
    spread: tuple[Tensor, Tensor] | None = None
    unseen: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The name of `score`."""
        return METRICS[self.kind]

    def loss(self, logits: Tensor, rows: IntArray) -> Tensor:
        """Return the mean loss of logits (n, k) of the items at `rows`."""
        return self.loss_of(logits, self.targets[rows].to(logits.device))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss (n,) of each item, without class weights, given outputs (n, k)."""
        if self.kind == CLASS:
            return functional.cross_entropy(outputs, targets, reduction="none")
        if self.kind == VALUE:
            return (outputs - targets).square().mean(dim=1)
        loss = functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs), reduction="none")
        return loss.mean(dim=1)

    def weight(self, rows: IntArray) -> float:
        """Return what the items at `rows` count for together in a mean loss."""
        if self.class_weights is None:
            return float(len(rows))
        return float(self.class_weights[self.targets[rows]].sum())

    def rescale(self, head: nn.Linear) -> None:
        """Change a head for standardised values in place so that it gives values on the scale of the data."""
        if self.spread is not None:
            with torch.no_grad():
                weight, bias = self.rescaled(head.weight, head.bias)
                head.weight.copy_(weight)
                head.bias.copy_(bias)

    def rescaled(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight (k, d) and bias (k,) of a head for standardised values as those of one for values."""
        if self.spread is None:
            return weight, bias
        centre, scale = (part.to(weight) for part in self.spread)
        return weight * scale[:, None], bias * scale + centre

    def natural(self, outputs: Tensor) -> Tensor:
        """Return standardised values (n, k) on the scale of the data; other outputs as they are."""
        if self.spread is None:
            return outputs
        centre, scale = (part.to(outputs) for part in self.spread)
        return outputs * scale + centre

    def standardised(self, outputs: Tensor) -> Tensor:
        """Return values (n, k) on the scale of the targets; other outputs as they are."""
        if self.spread is None:
            return outputs
        centre, scale = (part.to(outputs) for part in self.spread)
        return (outputs - centre) / scale


def objective_of(
    data: LabelledData, train: IntArray, validation: IntArray, *, balanced: bool = False
) -> Objective:
    """Return the objective of a dataset.

    Args:
        data: its labels or values.
        train: items that scales and class weights are taken from.
        validation: items that decide which epoch is kept.
        balanced: whether classes are weighted against their frequencies, see `balanced_weights`.
    """
    if data.kind == VALUE:
        return _values(data, train)
    if data.kind == LABELS:
        return _labels(data, train, validation)
    return _classes(data, train, validation, balanced=balanced)


def _classes(data: LabelledData, train: IntArray, validation: IntArray, *, balanced: bool) -> Objective:
    labels = torch.from_numpy(np.asarray(data.labels, dtype=np.int64))
    weights = balanced_weights(labels[train], len(data.classes)) if balanced else None

    def weighted(logits: Tensor, wanted: Tensor) -> Tensor:
        like = None if weights is None else weights.to(logits)
        return functional.cross_entropy(logits, wanted, weight=like)

    return Objective(
        targets=labels,
        outputs=len(data.classes),
        kind=CLASS,
        loss_of=weighted,
        measure=functional.cross_entropy,
        score=accuracy,
        one_item=1.0 / max(len(validation), 1),
        class_weights=weights,
        unseen=_without(data.classes, torch.bincount(labels[train], minlength=len(data.classes))),
    )


def _labels(data: LabelledData, train: IntArray, validation: IntArray) -> Objective:
    loss = functional.binary_cross_entropy_with_logits
    marks = torch.from_numpy(np.asarray(data.targets, dtype=np.float32))
    return Objective(
        targets=marks,
        outputs=len(data.outputs),
        kind=LABELS,
        loss_of=loss,
        measure=loss,
        score=average_precision,
        one_item=1.0 / max(len(validation), 1),
        unseen=_without(data.outputs, marks[train].sum(dim=0)),
    )


def _values(data: LabelledData, train: IntArray) -> Objective:
    values = torch.from_numpy(np.asarray(data.targets, dtype=np.float32))
    centre, scale = values[train].mean(dim=0), values[train].std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    return Objective(
        targets=(values - centre) / scale,
        outputs=len(data.outputs),
        kind=VALUE,
        loss_of=functional.mse_loss,
        measure=functional.mse_loss,
        score=r2,
        one_item=0.0,
        spread=(centre, scale),
    )


def balanced_weights(labels: Tensor, classes: int) -> Tensor | None:
    """Return weights (classes,) inverse to the class frequencies, or None when they are balanced.

    Args:
        labels: (n,) int, the training labels.
        classes: how many classes there are.

    Returns:
        None when the largest class has at most 1.5 times the items of the smallest. Otherwise
        weights whose mean over the items is one; no class weighs more than ten times another,
        so that one odd item cannot steer the whole model. Classes without items weigh nothing.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    present = counts[counts > 0]
    if present.max() <= UNBALANCED * present.min():
        return None
    weights = torch.where(counts > 0, 1.0 / counts.clamp(min=present.max() / LARGEST_RATIO), 0.0)
    return weights * (labels.numel() / (weights * counts).sum())


def _without(names: tuple[str, ...], counts: Tensor) -> tuple[str, ...]:
    return tuple(name for name, count in zip(names, counts.tolist(), strict=True) if not count)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of (n, classes) logits whose largest entry is at its label (n,)."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


def average_precision(logits: Tensor, marks: Tensor) -> float:
    """Return the mean over labels of the average precision of logits (n, k) for marks (n, k) of 0 and 1."""
    return metrics.mean_average_precision(logits.double().numpy(), (marks > 0.5).long().numpy())


def r2(predicted: Tensor, values: Tensor) -> float:
    """Return the share of the variance of values (n, k) that predictions (n, k) explain, mean over columns.

    Below zero for predictions worse than the mean; 0 where the values do not vary.
    """
    columns = zip(values.T.double().numpy(), predicted.T.double().numpy(), strict=True)
    shares = [metrics.r_squared(ours, theirs) or 0.0 for ours, theirs in columns]
    return sum(shares) / len(shares)


def check_distillation(data: LabelledData) -> None:
    """Raise InvalidInputError for data without one class an item, which distillation needs."""
    if data.kind != CLASS:
        raise InvalidInputError(f"distill needs one class an item; {data.name} has {data.kind}")


def distillation_loss(
    hard: Tensor, logits: Tensor, teacher: Tensor, *, weight: float, temperature: float
) -> Tensor:
    """Return (1 - weight) hard + weight temperature^2 KL(teacher || student).

    Args:
        hard: mean loss of the student on the labels.
        logits: (n, classes) of the student.
        teacher: (n, classes) logits.
        weight: of the distillation loss, from 0 (labels only) to 1 (teacher only).
        temperature: divides both logits in the divergence; its square keeps the size of the
            gradients independent of it.

    Returns:
        A scalar, the mean over the items.

    References:
        Hinton et al., arXiv:1503.02531, section 2.

    Example:
        >>> x = torch.tensor([[2.0, 0.0]])
        >>> distillation_loss(torch.tensor(3.0), x, x, weight=1.0, temperature=2.0).item()
        0.0
    """
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(teacher.to(logits) / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - weight) * hard + weight * temperature**2 * soft
