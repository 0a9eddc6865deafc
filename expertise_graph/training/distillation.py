"""Distillation: a network also learns from what the expert, as a classifier of the same task, answers."""

from __future__ import annotations

import torch
from torch.nn import functional

from expertise_graph.core import InvalidInputError
from expertise_graph.data import CLASS, LabelledData
from expertise_graph.models import Backbone


def teacher_for(data: LabelledData, teacher: Backbone | None) -> Backbone:
    """Return the expert that answers beside the labels.

    Raises:
        InvalidInputError: when there is none, or an item has no one class.
    """
    if teacher is None:
        raise InvalidInputError("distill needs a teacher: the expert that training starts from")
    if data.kind != CLASS:
        raise InvalidInputError(
            f"distill is possible where there is one class an item; {data.name} has {data.kind}"
        )
    return teacher


def distillation_loss(
    hard: torch.Tensor, logits: torch.Tensor, teacher: torch.Tensor, *, weight: float, temperature: float
) -> torch.Tensor:
    """Return (1 - weight) hard + weight temperature^2 KL(teacher || student).

    Args:
        hard: mean loss of the student on the labels.
        logits: (n, classes) of the student.
        teacher: (n, classes) logits.
        weight: share of the teacher, from 0 (labels only) to 1 (teacher only).
        temperature: divides both logits in the divergence; its square keeps the gradients as large
            as those of the labels.

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
