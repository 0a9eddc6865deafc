from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from expertise_graph.data.modalities import modalities
from expertise_graph.data.sampling import holdout
from expertise_graph.errors import InvalidInputError, SourceError
from expertise_graph.warmstart.distillation import check_distillation, distillation_loss, teacher_logits
from expertise_graph.warmstart.inputs import Inputs
from tests.warmstart.material import LATIN, letters


def logits(n: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 2.0), (0.3, 1.0), (0.5, 4.0), (1.0, 2.0)])
def test_the_loss_is_its_definition(weight, temperature):
    student, teacher, labels = logits(6, 4, 0), logits(6, 4, 1), torch.arange(6) % 4
    p, q = (functional.softmax(x.double() / temperature, dim=1) for x in (teacher, student))
    divergence = sum(
        float(p[i, j]) * (math.log(p[i, j]) - math.log(q[i, j])) for i in range(6) for j in range(4)
    )
    hard = -sum(math.log(functional.softmax(student[i].double(), 0)[labels[i]]) for i in range(6)) / 6
    expected = (1 - weight) * hard + weight * temperature**2 * divergence / 6
    found = distillation_loss(student, labels, teacher, weight=weight, temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_classes_act_on_the_labels_only():
    student, labels, weights = logits(6, 3, 0), torch.arange(6) % 3, torch.tensor([1.0, 2.0, 0.5])
    alone = distillation_loss(student, labels, student, weight=0.25, class_weights=weights)
    expected = 0.75 * functional.cross_entropy(student, labels, weight=weights)
    assert alone.item() == pytest.approx(expected.item(), rel=1e-6)


def test_gradients_shrink_to_nothing_at_the_teacher():
    teacher = logits(5, 4, 1)
    student = teacher.clone().requires_grad_(True)
    distillation_loss(student, torch.zeros(5, dtype=torch.int64), teacher, weight=1.0).backward()
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("weight", "temperature", "reason"),
    [
        (-0.1, 2.0, "distill-weight -0.1: give a share from 0"),
        (1.1, 2.0, "distill-weight 1.1"),
        (math.nan, 2.0, "distill-weight nan"),
        (0.5, 0.0, "distill-temperature 0: give a number above 0"),
        (0.5, math.inf, "distill-temperature inf"),
        (0.5, math.nan, "distill-temperature nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(weight, temperature, reason):
    check_distillation(0.5, 2.0)
    with pytest.raises(InvalidInputError, match=reason):
        check_distillation(weight, temperature)


def prepared(backbone, data):
    inputs = Inputs(data.items, decode=modalities["image"].decode, collate=backbone.collate)
    splits = holdout(data, seed=0)
    return inputs, {"train": splits.train, "validation": splits.validation}


def test_the_teacher_knows_the_letters_and_answers_training_items_only(latin):
    data = letters(LATIN[:6], 10)
    inputs, splits = prepared(latin, data)
    labels = torch.from_numpy(data.labels)
    found = teacher_logits(latin.module, inputs.batch, labels, splits=splits, classes=6)
    train = torch.from_numpy(splits["train"])
    assert found.shape == (60, 6)
    assert (found[train].argmax(1) == labels[train]).float().mean() > 0.9
    others = torch.ones(60, dtype=torch.bool).index_fill(0, train, value=False)
    assert bool(found[others].isnan().all())
    again = teacher_logits(latin.module, inputs.batch, labels, splits=splits, classes=6)
    assert torch.equal(again[train], found[train])


def test_a_teacher_that_gives_nan_is_refused(latin):
    data = letters(LATIN[:3], 6)
    inputs, splits = prepared(latin, data)
    with torch.no_grad():
        next(latin.module.parameters()).fill_(np.nan)
    with pytest.raises(SourceError, match="NaN or infinite: choose another expert"):
        teacher_logits(latin.module, inputs.batch, torch.from_numpy(data.labels), splits=splits, classes=3)
