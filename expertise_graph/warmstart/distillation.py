"""Distillation: a network also learns from what the expert, as a classifier of the same task, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from expertise_graph.errors import InvalidInputError, SourceError
from expertise_graph.types import IntArray
from expertise_graph.warmstart.inputs import even_batches
from expertise_graph.warmstart.linear import LinearHead, fit_linear_head

WEIGHT = 0.5
TEMPERATURE = 2.0
BATCH = 64


def distillation_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    *,
    weight: float = WEIGHT,
    temperature: float = TEMPERATURE,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return (1 - weight) cross-entropy + weight temperature^2 KL(teacher || student).

    Args:
        logits: (n, classes) of the student.
        labels: (n,) int.
        teacher: (n, classes) logits.
        weight: share of the teacher, from 0 (labels only) to 1 (teacher only).
        temperature: divides both logits in the divergence; its square keeps the gradients as large
            as those of the labels.
        class_weights: (classes,) of the cross-entropy, or None.

    Returns:
        A scalar, the mean over the items.

    References:
        Hinton et al., arXiv:1503.02531, section 2.

    Example:
        >>> x = torch.tensor([[2.0, 0.0]])
        >>> distillation_loss(x, torch.tensor([0]), x, weight=1.0).item()
        0.0
    """
    hard = functional.cross_entropy(logits, labels, weight=class_weights)
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(teacher.to(logits) / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - weight) * hard + weight * temperature**2 * soft


def check_distillation(weight: float, temperature: float) -> None:
    """Refuse settings that mean nothing.

    Raises:
        InvalidInputError: for a weight outside 0 to 1, or a temperature that is not positive.
    """
    if not 0 <= weight <= 1:
        raise InvalidInputError(f"distill-weight {weight:g}: give a share from 0 (labels) to 1 (teacher)")
    if not 0 < temperature < float("inf"):
        raise InvalidInputError(f"distill-temperature {temperature:g}: give a number above 0")


def teacher_logits(
    teacher: nn.Module,
    batch: Callable[[IntArray], Mapping[str, torch.Tensor]],
    labels: torch.Tensor,
    *,
    splits: Mapping[str, IntArray],
    classes: int,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return what an expert with a linear probe of the task answers to the training items.

    The items are seen once, as they are. Labels of an item have a part in what the teacher says
    about it, so the probe is regularised by its loss on the validation split.

    Args:
        teacher: `teacher(**batch)` gives features (n, d); it is not changed.
        batch: from indices of items to a batch, such as `Inputs.batch` with the expert's collate.
        labels: (N,) int, of all items of the data.
        splits: indices of the items, at least "train" and "validation".
        classes: how many there are.
        class_weights: (classes,) of the probe's loss, or None.

    Returns:
        (N, classes) float32, by index of the item; NaN for items that are not in train.

    Raises:
        SourceError: when the features are not finite.
    """
    train, validation = splits["train"], splits["validation"]
    parts = {name: _features(teacher, batch, rows) for name, rows in (("t", train), ("v", validation))}
    features = torch.cat([parts["t"], parts["v"]])
    if not bool(torch.isfinite(features).all()):
        raise SourceError("the expert gives features that are NaN or infinite: choose another expert")
    n, rows = len(train), torch.cat([torch.as_tensor(train), torch.as_tensor(validation)])
    head: LinearHead = fit_linear_head(
        features,
        labels[rows],
        train=torch.arange(n),
        validation=torch.arange(n, len(rows)),
        classes=classes,
        weights=class_weights,
    )
    found = torch.full((len(labels), classes), torch.nan)
    found[torch.as_tensor(train)] = head.logits(parts["t"]).float()
    return found


def _features(
    teacher: nn.Module, batch: Callable[[IntArray], Mapping[str, torch.Tensor]], rows: IntArray
) -> torch.Tensor:
    teacher.eval()
    with torch.no_grad():
        return torch.cat([teacher(**batch(part)).float().cpu() for part in even_batches(rows, BATCH)])
