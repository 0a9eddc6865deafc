"""The temperature: known ones are found, and few items do not make a model certain."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.training.calibration import fit_temperature


def drawn(n, classes, temperature, seed=0):
    """Logits, and labels drawn from their probabilities at the temperature."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(scale=3.0, size=(n, classes)))
    probabilities = (logits / temperature).softmax(dim=1).numpy()
    labels = [rng.choice(classes, p=row) for row in probabilities]
    return logits, torch.tensor(labels)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    logits, labels = drawn(8000, 5, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


def test_it_is_where_the_likelihood_with_its_prior_is_highest():
    logits, labels = drawn(60, 4, 3.0)
    found = fit_temperature(logits.float(), labels)
    costs = {
        t: functional.cross_entropy(logits / t, labels, reduction="sum").item() + math.log(t) ** 2 / 2
        for t in np.geomspace(0.05, 20, 4001)
    }
    assert found == pytest.approx(min(costs, key=costs.get), rel=2e-3)


def test_several_labels_an_item_have_one_temperature_too():
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(scale=4.0, size=(4000, 3)))
    labels = torch.from_numpy((rng.random((4000, 3)) < (logits / 3.0).sigmoid().numpy()).astype(np.int64))
    assert fit_temperature(logits, labels) == pytest.approx(3.0, rel=0.06)


def test_separable_items_give_a_bounded_temperature_that_falls_with_their_number():
    single = torch.tensor([[4.0, 0.0, 0.0]])
    found = [
        fit_temperature(single.repeat(n, 1), torch.zeros(n, dtype=torch.int64))
        for n in (1, 10, 1000, 100_000)
    ]
    assert found == sorted(found, reverse=True)
    assert 0.9 < found[0] < 1
    assert 0.05 <= found[-1] < 0.5


def test_one_item_that_is_wrong_says_less_than_many():
    logits = torch.tensor([[4.0, 0.0, 0.0]])
    one, many = (fit_temperature(logits.repeat(n, 1), torch.ones(n, dtype=torch.int64)) for n in (1, 1000))
    assert 1 < one < many <= 20
    assert many > 19


def test_no_items_leave_the_logits_as_they_are():
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == pytest.approx(
        1.0, abs=1e-6
    )


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(3, 2), torch.zeros(3, 4)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64)),
        (torch.tensor([[float("nan"), 0.0]]), torch.zeros(1, dtype=torch.int64)),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels):
    with pytest.raises(InvalidInputError):
        fit_temperature(logits, labels)
