from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import private_rng
from expertise_graph.training.objective import distillation_loss
from expertise_graph.training.trainer import Trainer, train
from tests.training.material import CYRILLIC, LATIN, backbone, letters


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
    plain = functional.cross_entropy(student, labels)
    found = distillation_loss(plain, student, teacher, weight=weight, temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_gradients_shrink_to_nothing_at_the_teacher():
    teacher = logits(5, 4, 1)
    student = teacher.clone().requires_grad_(True)
    hard = functional.cross_entropy(student, torch.zeros(5, dtype=torch.int64))
    distillation_loss(hard, student, teacher, weight=1.0, temperature=2.0).backward()
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"distill": -0.1}, "distill is -0.1: give a weight from 0"),
        ({"distill": 1.1}, "distill is 1.1"),
        ({"distill": math.nan}, "distill is nan"),
        ({"distill_temperature": 0.0}, "distill_temperature is 0.0: give a number above 0"),
        ({"distill_temperature": math.inf}, "distill_temperature is inf"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, reason):
    with pytest.raises(InvalidInputError, match=reason):
        TrainConfig(**changes)


def test_the_teacher_knows_the_letters_and_answers_training_items_only(latin):
    data = letters(LATIN[:6], 10)
    trainer = Trainer.for_data(backbone(1), data, TrainConfig(distill=0.5, augment=False), teacher=latin)
    trainer.begin()
    train_rows, wanted = trainer.rows["train"], trainer.model.objective.targets[trainer.rows["train"]]
    answers = trainer.model.teacher_logits[train_rows]
    assert trainer.model.teacher_logits.shape == (60, 6)
    assert (answers.argmax(1) == wanted).double().mean() > 0.9
    assert torch.isnan(trainer.model.teacher_logits[trainer.rows["test"]]).all()
    assert torch.isnan(trainer.model.teacher_logits[trainer.rows["validation"]]).all()


@pytest.mark.slow
def test_a_student_learns_what_the_teacher_says_by_its_share(latin):
    data = letters(CYRILLIC[:5], 12)

    def learnt(distill):
        config = TrainConfig(strategy="full", distill=distill, augment=False)
        with private_rng(0):
            trainer = Trainer.for_data(backbone(1), data, config, teacher=latin)
            trainer.begin()
            wrong = (trainer.model.objective.targets[trainer.rows["train"]] + 1) % 5
            trainer.model.teacher_logits[trainer.rows["train"]] = 8.0 * functional.one_hot(wrong, 5).float()
            for _ in range(60):
                trainer.model.training_mode()
                trainer.model.step(trainer.rows["train"], fraction=0.5, lr_scale=3.0)
        return (trainer.model.predict(trainer.rows["train"]).argmax(1) == wrong).double().mean().item()

    assert learnt(1.0) > 0.9
    assert learnt(0.05) < 0.1


def test_what_distillation_needs(latin, tmp_path):
    data = letters(CYRILLIC[:5], 8)
    config = TrainConfig(distill=0.5, epochs=1)
    with pytest.raises(InvalidInputError, match="distill needs a teacher"):
        train(latin, data, out=tmp_path / "a", config=config)
    values = dataclasses.replace(data, kind="value", names=("v",), targets=data.labels[:, None].astype(float))
    with pytest.raises(InvalidInputError, match="one class an item"):
        train(latin, values, out=tmp_path / "b", config=config, teacher=latin)
    assert train(latin, data, out=tmp_path / "c", config=config, teacher=latin).accuracy > 0.3
