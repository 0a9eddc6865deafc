from __future__ import annotations

import dataclasses
import resource
import sys
import tempfile
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.models.classifier import Classifier
from expertise_graph.training.batches import BatchLoader, even_batches, training_order
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.linear_probe import fit_linear_head, fit_regularised
from expertise_graph.training.objective import balanced_weights
from expertise_graph.training.optimizer import depths, parameter_groups
from expertise_graph.training.strategy import unfreeze
from expertise_graph.training.time_budget import SLOW, OutOfTime, TimeBudget
from tests.training.material import Pooled


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"epochs": 0}, "epochs is 0: give a whole number of at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5: give a whole number of at least 1"),
        ({"batch_size": True}, "batch_size is True: give a whole number of at least 1"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
        ({"lr": 0}, "lr is 0: give a number above 0"),
        ({"lr": float("nan")}, "lr is nan: give a number above 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1: give a number of at least 0"),
        ({"time_budget": float("inf")}, "time_budget is inf: give a number above 0"),
        ({"strategy": "lora", "rank": 0}, "rank is 0: give a whole number of at least 1"),
        ({"prior": -1}, "prior is -1: give a number of at least 0"),
        ({"prior": 1e39}, "prior is 1e+39: give a number of at most 1e+30"),
        ({"seed": 2**32}, "seed is 4294967296: give a whole number of at most 4294967295"),
        (
            {"strategy": "lora", "into": "shrink:0.5"},
            "strategy lora trains an adapter of the expert, and `into` replaces the expert",
        ),
        ({"accumulate": 40}, "accumulate is 40: give at most batch_size, which is 32"),
        ({"precision": "fp8"}, "precision is 'fp8': give one of auto, no, bf16, fp16"),
        ({"strategy": "lp-tf"}, "no strategy called 'lp-tf'; there are: bitfit, from-scratch, full, gradual"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, problem):
    with pytest.raises(InvalidInputError) as caught:
        TrainConfig(**changes)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


def test_the_digest_depends_on_every_setting():
    other = {
        "epochs": 3,
        "time_budget": 9.0,
        "batch_size": 4,
        "lr": 0.5,
        "weight_decay": 0.5,
        "seed": 7,
        "patience": 2,
        "strategy": "lora",
        "accumulate": 2,
        "prior": 1.0,
        "rank": 2,
        "head": "native",
        "into": "shrink:0.5",
        "distill": 0.5,
        "distill_temperature": 4.0,
        "augment": False,
        "class_weights": "balanced",
        "precision": "no",
    }
    assert set(other) == {field.name for field in dataclasses.fields(TrainConfig)}
    digests = {TrainConfig(**{name: value}).digest() for name, value in other.items()}
    assert len(digests | {TrainConfig().digest()}) == len(other) + 1
    assert TrainConfig().digest() == TrainConfig(epochs=20).digest()


def test_balanced_weights():
    assert balanced_weights(torch.tensor([0, 0, 0, 1, 1]), 2) is None
    weights = balanced_weights(torch.tensor([0] * 6 + [1] * 2), 3)
    assert torch.allclose(weights, torch.tensor([2 / 3, 2.0, 0.0], dtype=torch.float64))
    capped = balanced_weights(torch.tensor([0] * 100 + [1]), 2)
    assert capped[1] / capped[0] == pytest.approx(10)
    assert (100 * capped[0] + capped[1]).item() == pytest.approx(101)


def test_weights_raise_the_recall_of_a_rare_class():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 300 + [1] * 30)
    features = torch.randn(330, 3, generator=generator, dtype=torch.float64) + labels[:, None]
    start, weights = torch.zeros(2, 4, dtype=torch.float64), balanced_weights(labels, 2)
    plain = fit_regularised(features, labels, strength=0.01, start=start)
    balanced = partial(functional.cross_entropy, weight=weights)
    weighted = fit_regularised(features, labels, strength=0.01, start=start, loss_of=balanced)
    rare = features[300:]

    def recall(w):
        return (functional.linear(rare, w[:, :-1], w[:, -1]).argmax(1) == 1).double().mean()

    assert recall(weighted) > recall(plain) + 0.2


def test_logistic_regression_is_at_the_minimum():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 6, generator=generator, dtype=torch.float64), torch.arange(40) % 3
    w = fit_regularised(x, y, strength=0.1, start=torch.zeros(3, 7, dtype=torch.float64))
    probabilities = torch.softmax(functional.linear(x, w[:, :-1], w[:, -1]), dim=1)
    residual = (probabilities - functional.one_hot(y, 3)) / len(x)
    assert torch.allclose(residual.T @ x + 0.1 * w[:, :-1], torch.zeros(3, 6, dtype=x.dtype), atol=1e-5)
    assert torch.allclose(residual.sum(0), torch.zeros(3, dtype=x.dtype), atol=1e-5)


def test_the_head_does_not_depend_on_the_scale_of_features():
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=generator, dtype=torch.float64) + labels[:, None]
    features[:, 4] = 7.0
    scale = torch.tensor([1e-3, 10.0, 1.0, 500.0, 1.0], dtype=torch.float64)
    rows = {"train": torch.arange(40), "validation": torch.arange(40, 60), "outputs": 3}
    one = fit_linear_head(features, labels, **rows)
    other = fit_linear_head(features * scale + 3.0, labels, **rows)
    assert one.strength == other.strength
    shifted = (features * scale + 3.0).float()
    assert torch.allclose(one.logits(features.float()), other.logits(shifted), atol=1e-2)
    assert torch.equal(one.weight[:, 4], torch.zeros(3))


def test_batches_are_even_and_a_function_of_seed_and_epoch():
    rows = np.arange(100, 133)
    batches = list(even_batches(rows, 32))
    assert [len(batch) for batch in batches] == [17, 16]
    assert np.array_equal(np.concatenate(batches), rows)
    order = training_order(rows, seed=3, epoch=2)
    assert sorted(order) == list(rows)
    assert np.array_equal(order, training_order(rows, seed=3, epoch=2))
    assert not np.array_equal(order, training_order(rows, seed=3, epoch=3))
    assert not np.array_equal(order, training_order(rows, seed=2, epoch=2))


def pad(texts):
    width = max(len(text) for text in texts)
    return {"ids": torch.tensor([[ord(c) for c in text.ljust(width)] for text in texts])}


def read(items, **changes):
    return BatchLoader(items, decode=str.lower, collate=pad, **changes)


def test_inputs_of_one_shape_are_kept_in_memory_and_others_padded_by_batch():
    same = read(["AB", "CD", "EF"] * 20)
    assert same.cached
    assert same.batch(np.array([2, 0]))["ids"].tolist() == [[101, 102], [97, 98]]
    large = read(["AB", "CD", "EF"] * 20, cache_bytes=100)
    assert not large.cached
    assert torch.equal(large.batch(np.array([4, 1]))["ids"], same.batch(np.array([4, 1]))["ids"])
    for texts in (["A", "BCD"], ["A"] * 50 + ["BCD"]):
        ragged = read(texts)
        assert not ragged.cached
        assert ragged.batch(np.array([0]))["ids"].tolist() == [[97]]


def test_what_is_too_large_for_memory_is_decoded_once_and_read_from_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    decoded = []

    def decode(text):
        decoded.append(text)
        return text.lower()

    texts = [f"{a}{b}" for a in "ABCDEFGH" for b in "XYZ"]
    large = BatchLoader(texts, decode=decode, collate=pad, cache_bytes=100)
    assert (large.cached, large.cached_on_disk) == (False, True)
    assert not list(tmp_path.iterdir())  # the file has no name
    decoded.clear()
    same = read(texts)
    for rows in ([5, 0, 5], [0, 1, 2, 3], list(range(24)), [23, 4]):
        found = large.batch(np.array(rows))["ids"]
        assert torch.equal(found, same.batch(np.array(rows))["ids"])
        assert found.dtype == torch.int64
    assert sorted(decoded) == sorted(texts)
    # Enough of one shape to begin with, then one that is longer.
    ragged = BatchLoader([*["AB"] * 20, "ABC"], decode=str.lower, collate=pad, cache_bytes=100)
    assert ragged.batch(np.array([0, 20]))["ids"].tolist() == [[97, 98, 32], [97, 98, 99]]
    assert not ragged.cached_on_disk
    assert ragged.batch(np.array([0]))["ids"].tolist() == [[97, 98]]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_a_disk_that_is_full_costs_time_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    texts = [f"{a}{b}" for a in "ABCDEFGH" for b in "XYZ"]
    large = BatchLoader(texts, decode=str.lower, collate=pad, cache_bytes=100)
    large.batch(np.arange(6))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128, hard))
    try:
        assert large.batch(np.array([23]))["ids"].tolist() == [[104, 122]]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not large.cached_on_disk
    assert torch.equal(large.batch(np.arange(24))["ids"], read(texts).batch(np.arange(24))["ids"])


def test_learning_rates_rise_with_depth_up_to_the_head():
    model = Classifier(Pooled(0), nn.Linear(128, 3))
    depth = depths(model.backbone)
    stages = [depth[f"net.encoder.stages.{i}.layers.0.layer.0.convolution.weight"] for i in range(4)]
    assert stages == [0.25, 0.5, 0.75, 1.0]
    assert depth["net.embedder.embedder.convolution.weight"] == 0.0
    groups = parameter_groups(model, TrainConfig(lr=1.0))
    peaks = sorted({group["peak"] for group in groups})
    assert peaks == pytest.approx([0.3 * 0.3**d for d in (1, 0.75, 0.5, 0.25, 0)] + [1.0])
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in model.parameters())
    assert all(p.ndim > 1 for g in groups if g["weight_decay"] for p in g["params"])
    assert {g["peak"] for g in parameter_groups(model, TrainConfig(lr=1.0, strategy="from-scratch"))} == {6.0}


def test_a_transformer_has_depth_frozen_tokens_and_small_steps_from_scratch():
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    bert = BertModel(BertConfig(vocab_size=20, max_position_embeddings=8, **sizes))
    depth = depths(bert)
    assert depth["embeddings.LayerNorm.weight"] == 0.0
    assert depth["encoder.layer.0.output.dense.weight"] == 0.5
    assert depth["encoder.layer.1.output.dense.weight"] == depth["pooler.dense.weight"] == 1.0
    model = Classifier(bert, nn.Linear(8, 2))
    assert {g["peak"] for g in parameter_groups(model, TrainConfig(lr=1.0, strategy="from-scratch"))} == {0.5}
    unfreeze(bert, "lp-ft", rank=1)
    assert not bert.embeddings.word_embeddings.weight.requires_grad
    trained = {id(p) for g in parameter_groups(model, TrainConfig()) for p in g["params"]}
    assert id(bert.embeddings.word_embeddings.weight) not in trained
    assert id(bert.embeddings.LayerNorm.weight) in trained


def test_the_clock_foresees_a_step_and_remembers_earlier_sittings():
    clock = TimeBudget(100.0)
    clock.sizes = {"train": 10, "validation": 2, "test": 3, "batch": 5}
    clock.measured(forward=2.0)
    assert clock.room_for_step()
    clock.resume({"seconds": 50.0, "forward": 2.0, "longest": 0.0, "saving": 1.0, "since": 20.0})
    assert 50.0 <= clock.seconds < 51.0
    # A step as long as 3 x 5 passes, then twice validation, the test and two checkpoints.
    assert clock.room_for_step() == (clock.seconds + 1.1 * 46 <= 100)
    # Of 80 seconds 17.6 are kept for what comes after the last step: the rate has cooled by then.
    assert clock.fraction() == pytest.approx(30 / 62.4, abs=0.02)
    clock.measured(step=1.0)
    assert clock.room_for_step()
    clock.measured(step=30.0)
    assert not clock.room_for_step()
    clock.measured(step=1.0)
    assert clock.step == pytest.approx(SLOW * 30)
    clock.check()
    clock.budget = 49.0
    assert clock.fraction() == 1.0
    with pytest.raises(OutOfTime, match="there was no time for its linear probe"):
        clock.check()
    free = TimeBudget(None)
    free.check()
    assert free.fraction() == 0.0


def test_counts_are_weighed_by_how_rare_they_are_and_fitted_as_scikit_learn_does():
    """Against logistic regression on the same TF-IDF in the unit of its mean length; C is 1 / strength."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, 50))
    counts = rng.poisson(0.05, (50, 200)) + 2.0 * (
        rng.random((50, 200)) < 0.02 * (1 + labels.numpy()[:, None])
    )
    x, train = torch.from_numpy(counts).float(), torch.arange(40)
    head = fit_linear_head(x, labels, train=train, validation=train, outputs=3, strengths=(0.1,), counts=True)
    idf = np.log(41 / (1 + (counts[:40] > 0).sum(0))) + 1
    scaled = counts * idf
    lengths = np.square(scaled[:40] - scaled[:40].mean(0)).sum(1)
    scaled /= np.sqrt(lengths.mean())
    reference = LogisticRegression(C=10, tol=1e-8, max_iter=10_000).fit(scaled[:40], labels[:40])
    ours, theirs = head.logits(x).softmax(1).numpy(), reference.predict_proba(scaled)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    # As many items as features: the span is all there is, and the head is the same kind.
    wide = fit_linear_head(
        x[:, :30], labels, train=train, validation=train, outputs=3, strengths=(0.1,), counts=True
    )
    assert wide.weight.shape == (3, 30)
