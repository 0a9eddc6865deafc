from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from expertise_graph.data.dataset import LABELS, VALUE
from expertise_graph.data.sampling import holdout
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.objective import average_precision, objective_of, r2
from expertise_graph.training.trainer import Trainer, train
from tests.training.material import CYRILLIC, LATIN, letters


def direct_average_precision(scores, marks):
    """Mean over labels of the mean, over its items, of the precision among items ranked as high."""
    found = []
    for s, m in zip(scores.T, marks.T, strict=True):
        if m.any():
            at = [np.mean(m[s >= s[i]]) for i in np.flatnonzero(m)]
            found.append(np.mean(at))
    return np.mean(found)


def test_average_precision_and_r2_are_their_definitions():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, size=(40, 6)).astype(float)
    marks = rng.random((40, 6)) < 0.3
    marks[:, 5] = False
    found = average_precision(torch.tensor(scores), torch.tensor(marks, dtype=torch.float32))
    assert found == pytest.approx(direct_average_precision(scores, marks))
    assert average_precision(torch.tensor(marks * 1.0), torch.tensor(marks * 1.0)) == 1.0
    assert average_precision(torch.zeros(3, 2), torch.zeros(3, 2)) == 0.0
    values, predicted = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    expected = [
        1 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2)
        for y, p in zip(values.T, predicted.T, strict=True)
    ]
    assert r2(torch.tensor(predicted), torch.tensor(values)) == pytest.approx(np.mean(expected))
    assert r2(torch.tensor(values), torch.tensor(values)) == 1.0
    assert r2(torch.ones(4, 1), torch.ones(4, 1)) == 0.0


@pytest.fixture(scope="module")
def strokes():
    """Letters with what a person would mark about them, and how dark they are drawn."""
    data = letters(CYRILLIC[:6], 16)
    features = {"a": "БГДЖ", "b": "ГЖЗ", "c": "Д"}
    marks = np.array(
        [[data.classes[i] in has for has in features.values()] for i in data.labels], dtype=float
    )
    values = 100.0 + 5.0 * np.asarray(data.labels, dtype=float)[:, None]
    several = dataclasses.replace(data, kind=LABELS, names=tuple(features), targets=marks)
    return several, dataclasses.replace(data, kind=VALUE, names=("height",), targets=values)


@pytest.mark.slow
def test_several_labels_an_item_are_learned(latin, strokes, tmp_path):
    result = train(latin, strokes[0], out=tmp_path / "run", config=TrainConfig(epochs=4, augment=False))
    assert result.metric == "average_precision"
    assert result.accuracy > 0.8
    head = json.loads((tmp_path / "run" / "head.json").read_text())
    assert (head["kind"], head["classes"]) == (LABELS, ["a", "b", "c"])
    assert load_file(tmp_path / "run" / "head.safetensors")["weight"].shape == (3, 128)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| average precision on the test split |" in card
    assert "| labels | 3 |" in card


@pytest.mark.slow
def test_values_are_learned_and_the_head_gives_them_in_their_unit(latin, strokes, tmp_path):
    data = strokes[1]
    result = train(latin, data, out=tmp_path / "run", config=TrainConfig(epochs=4, augment=False))
    assert result.metric == "r2"
    assert result.accuracy > 0.4
    assert result.temperature == 1.0
    trainer = Trainer.for_data(latin, data, TrainConfig(strategy="linear-probe"))
    head = load_file(tmp_path / "run" / "head.safetensors")
    child = latin.module
    child.net.load_state_dict(load_file(tmp_path / "run" / "model" / "model.safetensors"))
    rows = holdout(data, seed=0).test
    features = trainer.model.predict(rows, module=child)
    found = features @ head["weight"].T + head["bias"]
    assert r2(found, torch.tensor(data.targets[rows])) == pytest.approx(result.accuracy, abs=1e-4)
    assert abs(found.mean().item() - 112) < 4


def test_values_are_standardised_by_the_items_to_train_on(strokes):
    data = strokes[1]
    splits = holdout(data, seed=0)
    objective = objective_of(data, splits.train, splits.validation)
    found = objective.targets[splits.train]
    assert found.mean().item() == pytest.approx(0, abs=1e-6)
    assert found.std(correction=0).item() == pytest.approx(1)
    head = torch.nn.Linear(4, 1)
    features = torch.randn(5, 4)
    before = head(features)
    objective.rescale(head)
    train = torch.tensor(data.targets[splits.train])
    expected = before * train.std(correction=0).float() + train.mean().float()
    assert torch.allclose(head(features), expected, atol=1e-4)


def test_a_perfect_score_needs_all_labels():
    data = letters(LATIN[:3], 4)
    splits = holdout(data, seed=0)
    objective = objective_of(data, splits.train, splits.validation)
    assert objective.metric == "accuracy"
    logits = torch.eye(3)[torch.from_numpy(np.asarray(data.labels))]
    assert objective.score(logits, objective.targets) == 1.0
    assert objective.loss(logits, np.arange(12)).item() == pytest.approx(
        objective.measure(logits, objective.targets).item()
    )
