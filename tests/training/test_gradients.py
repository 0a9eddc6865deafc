"""A batch gives the same gradients in one piece, in parts and on several processes, whatever is random."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, ConvNextConfig, ConvNextModel

from expertise_graph.models.classifier import Classifier
from expertise_graph.training.batches import BatchLoader
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import private_rng
from expertise_graph.training.objective import objective_of
from expertise_graph.training.randomness import RandomByItem
from expertise_graph.training.trainable import TrainableModel
from expertise_graph.training.trainer import Trainer
from tests.program import ROOT
from tests.training.material import CYRILLIC, Pooled, backbone, letters

pytestmark = pytest.mark.slow

UNBALANCED = (30, 12, 6, 4, 3)


def digits(kind):
    """Unbalanced letters; as several labels or as a value they are the same pictures."""
    data = letters(CYRILLIC[: len(UNBALANCED)], UNBALANCED)
    if kind == "labels":
        marks = np.eye(len(UNBALANCED))[data.labels]
        marks[:, 1] = data.labels % 2
        return dataclasses.replace(data, kind="labels", names=data.classes, targets=marks)
    if kind == "value":
        values = data.labels[:, None].astype(float)
        return dataclasses.replace(data, kind="value", names=("much",), targets=values)
    return data


def gradients(data, **settings):
    """The gradients of a step on all training items, and its loss."""
    config = TrainConfig(strategy="full", batch_size=64, class_weights="balanced", **settings)
    with private_rng(0):
        trainer = Trainer.for_data(backbone(), data, config, teacher=backbone() if config.distill else None)
        model, rows = trainer.model, trainer.rows["train"]
        nn.init.normal_(model.classifier.head.weight, std=0.1)
        if config.distill:
            model.teacher_logits = torch.randn(len(data), len(data.classes))
        model.training_mode()
        model.new_draws()
        loss, _ = model._gradients(rows)
    found = [p.grad.flatten() for p in model.classifier.parameters() if p.grad is not None]
    return torch.cat(found), loss


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("class", {}),
        ("class", {"augment": False}),
        ("class", {"distill": 0.4}),
        ("labels", {}),
        ("value", {}),
    ],
)
def test_parts_have_the_gradients_of_the_whole(kind, settings):
    data = digits(kind)
    whole, loss = gradients(data, **settings)
    assert whole.norm() > 1e-2
    for parts in (4, 32):
        parted, same = gradients(data, accumulate=parts, **settings)
        assert same == pytest.approx(loss, rel=1e-5)
        assert (parted - whole).norm() < 1e-5 * whole.norm()


def test_a_mean_over_the_means_of_parts_would_be_another_gradient():
    """What the test above would find if the weights of the part divided: the fault it is there for."""
    data = digits("class")
    rows = np.arange(len(data))
    objective = objective_of(data, rows, rows, balanced=True)
    logits = torch.randn(len(data), 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    halves = [objective.loss(logits[half], half) * 0.5 for half in np.array_split(rows, 2)]
    wrong = torch.autograd.grad(sum(halves), logits)[0]
    right = torch.autograd.grad(objective.loss(logits, rows), logits)[0]
    assert (wrong - right).norm() > 0.1 * right.norm()


KINDS = ("class", "labels", "value")
WORKER = """
import sys
import torch
from tests.training.test_gradients import KINDS, digits, gradients
torch.set_num_threads(1)
found = {kind: gradients(digits(kind), precision="no") for kind in KINDS}
torch.save(found, f"{sys.argv[1]}.{torch.distributed.get_rank()}")
"""


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Gradients and loss of each kind in each of two processes, which take long to start."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(folder / "worker.py"), str(folder / "found.pt")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return [torch.load(f"{folder / 'found.pt'}.{i}") for i in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_gradients_of_one(kind, of_two):
    (both, first), (_, second) = (found[kind] for found in of_two)
    alone, loss = gradients(digits(kind), precision="no")
    assert (both - alone).norm() < 1e-5 * alone.norm()
    assert first + second == pytest.approx(loss, rel=1e-5)


class FirstToken(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, **batch):
        return self.inner(**batch).last_hidden_state[:, 0]


def bert(attention):
    config = BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    config._attn_implementation = attention
    return FirstToken(BertModel(config, add_pooling_layer=False))


def convnext():
    config = ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 2, 1], drop_path_rate=0.5, layer_scale_init_value=0.0
    )

    class Pooler(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ConvNextModel(config)

        def forward(self, pixel_values):
            return self.inner(pixel_values).pooler_output

    return Pooler()


def words(items):
    tokens = torch.tensor([[(7 * i + j) % 50 for j in range(9)] for i in items])
    return {"input_ids": tokens, "attention_mask": (torch.arange(9) < 6).expand(len(items), 9).long()}


def photos(items):
    generators = (torch.Generator().manual_seed(i) for i in items)
    return {"pixel_values": torch.stack([torch.randn(3, 32, 32, generator=g) for g in generators])}


@pytest.mark.parametrize(
    ("make", "width", "collate"),
    [
        (lambda: bert("eager"), 24, words),
        (lambda: bert("sdpa"), 24, words),
        (convnext, 16, photos),
        (lambda: nn.Sequential(Pooled(0), nn.Dropout(0.3)), 128, photos),
    ],
    ids=["dropout", "dropout of attention", "stochastic depth", "dropout of features"],
)
def test_dropout_belongs_to_the_item(make, width, collate):
    labels = np.arange(24) % 3
    data = dataclasses.replace(letters(CYRILLIC[:3], 8), items=tuple(range(24)), labels=labels)
    rows = np.random.default_rng(0).permutation(24)

    def step(parts, seed=0):
        with private_rng(1):
            network = make()
            if isinstance(network, nn.Sequential):
                network.forward = lambda pixel_values: network[1](network[0](pixel_values))
            model = TrainableModel(
                Classifier(network, nn.Linear(width, 3)),
                objective_of(data, rows, rows),
                BatchLoader(data.items, decode=lambda item: item, collate=collate),
                TrainConfig(strategy="full", accumulate=parts),
            )
            model.training_mode()
        with private_rng(seed):
            model.new_draws()
        model._gradients(rows)
        return torch.cat([p.grad.flatten() for p in model.classifier.parameters() if p.grad is not None])

    whole = step(1)
    assert (step(4) - whole).norm() < 1e-5 * whole.norm()
    assert (step(1, seed=1) - whole).norm() > 1e-2 * whole.norm(), "another epoch drops something else"


def test_items_are_dropped_at_the_rate_that_is_asked_for_and_each_its_own():
    with RandomByItem(5, range(400)) as random:
        kept = nn.functional.dropout(torch.ones(400, 50), 0.3)
        channels = nn.functional.dropout2d(torch.ones(400, 6, 4, 4), 0.5)
        held = nn.functional.dropout(torch.ones(400, 50), 0.3, training=False)
        weights = nn.functional.dropout(torch.ones(7, 50), 0.3)
    assert random.used
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert len(kept.unique(dim=0)) == 400
    assert torch.equal(channels.amin(dim=(2, 3)), channels.amax(dim=(2, 3)))
    assert torch.equal(held, torch.ones(400, 50))
    assert weights.shape == (7, 50), "what is no batch is left to torch"
    with RandomByItem(5, range(400)[::-1]):
        back = nn.functional.dropout(torch.ones(400, 50), 0.3)
    assert torch.equal(back.flip(0), kept)
    with RandomByItem(5, range(3)) as unused:
        nn.functional.relu(torch.ones(3))
    assert not unused.used


def test_attention_with_masks_is_that_of_torch_without_dropout():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 2, 5, 8, generator=generator) for _ in range(3))
    mask = torch.rand(3, 1, 5, 5, generator=generator) > 0.3
    mask[..., 0] = True
    for options in ({"attn_mask": mask}, {"is_causal": True}, {"scale": 0.5}, {"attn_mask": mask.float()}):
        with RandomByItem(0, range(3)):
            # At a rate of 1e-7 nothing is dropped here, and our formula is used.
            ours = nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=1e-7, **options)
        theirs = nn.functional.scaled_dot_product_attention(query, key, value, **options)
        assert torch.allclose(ours, theirs, atol=1e-5)
