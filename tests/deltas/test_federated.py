"""Federated rounds: what travels, what the average is, and that three clients learn together."""

import dataclasses
import re
from functools import partial

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.data.reading import read_data
from expertise_graph.deltas.client import accuracy_of, blank_head, class_sums, prototype_head, train_locally
from expertise_graph.deltas.delta import make_delta
from expertise_graph.deltas.federated import federated_round
from expertise_graph.deltas.packing import Packing
from expertise_graph.features.running import extract
from expertise_graph.merging.loaded_model import open_model
from tests import materials
from tests.program import ROOT

pytestmark = pytest.mark.slow


def part(data, rows):
    items = tuple(data.items[i] for i in rows)
    return dataclasses.replace(data, items=items, labels=np.asarray(data.labels)[rows], splits={})


@pytest.fixture
def start(context):
    return open_model(context, "emoji")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read_data(
        materials.pictures(tmp_path_factory.mktemp("six") / "letters", 6, 8, splits=("train", "test"))
    )


@pytest.fixture
def clients(data):
    """Two clients with half of the classes each; the second has half of its items."""
    train = np.asarray(data.splits["train"])
    labels = np.asarray(data.labels)[train]
    return [part(data, train[labels < 3]), part(data, train[labels >= 3][::2])]


def test_a_round_is_the_mean_of_the_clients_weighted_by_items(start, data, clients, tmp_path):
    model = blank_head(start, data.classes)
    trained = [train_locally(model, own, epochs=1, seed=3) for own in clients]
    done = federated_round(model, [lambda _, m=m: m for m in trained], folder=tmp_path / "round")
    assert [len(own) for own in clients] == [24, 12]
    assert done.weights == (24 / 36, 12 / 36)
    assert done.model.items == 36
    assert done.errors == (0.0, 0.0)
    for name, tensor in done.model.weights.floating.items():
        one, two = (m.weights.floating[name] for m in trained)
        torch.testing.assert_close(tensor, one * 2 / 3 + two / 3, rtol=1e-5, atol=1e-6)
    heads = [m.head.weight for m in trained]
    torch.testing.assert_close(done.model.head.weight, heads[0] * 2 / 3 + heads[1] / 3, rtol=1e-5, atol=1e-6)
    assert done.bytes == tuple(
        (tmp_path / "round" / f"client-{n}.safetensors").stat().st_size for n in (0, 1)
    )


def test_clients_with_different_classes_learn_together(start, data, clients, tmp_path):
    test = part(data, np.asarray(data.splits["test"]))
    model = blank_head(start, data.classes)
    sizes = {}
    for packing in (Packing(), Packing(bits=8)):
        global_model = model
        for number in range(4):
            sent = [partial(train_locally, data=own, epochs=2, seed=number) for own in clients]
            folder = tmp_path / f"{packing.method}-{number}"
            done = federated_round(global_model, sent, folder=folder, packing=packing)
            global_model = done.model
        sizes[packing.method] = done.bytes
        alone = [accuracy_of(train_locally(model, own, epochs=8), test) for own in clients]
        together = accuracy_of(global_model, test)
        # A client alone cannot name a class that it has never seen.
        assert max(alone) <= 3 / 6
        assert together > max(alone)
    assert all(small < 0.28 * large for small, large in zip(sizes["8 bits"], sizes["plain"], strict=True))


def test_own_classes_leave_the_rows_of_others_alone(start, data, clients):
    model = blank_head(start, data.classes)
    model = train_locally(model, part(data, np.asarray(data.splits["train"])), epochs=1)
    kept = train_locally(model, clients[1], epochs=1)
    # Only weight decay moves the rows of absent classes.
    torch.testing.assert_close(kept.head.weight[:3], model.head.weight[:3], rtol=1e-3, atol=1e-6)
    assert not torch.allclose(kept.head.weight[3:], model.head.weight[3:], rtol=1e-3, atol=1e-6)
    moved = train_locally(model, clients[1], epochs=1, own_classes=False)
    assert bool((moved.head.bias[:3] < model.head.bias[:3]).all())


def test_training_depends_on_the_seed_alone_and_changes_nothing_given(start, data, clients):
    model = blank_head(start, data.classes)
    before = {k: t.clone() for k, t in model.backbone.module.state_dict().items()}
    torch.manual_seed(5)
    random = torch.random.get_rng_state()
    settings = {"epochs": 1, "batch_size": 4}
    one, two, other = (train_locally(model, clients[1], seed=s, **settings) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(t, before[k]) for k, t in model.backbone.module.state_dict().items())
    assert all(torch.equal(t, two.weights.all[k]) for k, t in one.weights.all.items())
    assert any(not torch.equal(t, other.weights.all[k]) for k, t in one.weights.all.items())
    delta, _ = make_delta(model, one)
    assert (delta.about.items, delta.about.child) == (12, "")


def test_the_head_of_class_means_is_that_of_the_pooled_data(start, data, clients):
    told = [class_sums(start, own) for own in clients]
    model = prototype_head(start, data.classes, told)
    features = np.concatenate([extract(start.backbone, own.items) for own in clients])
    labels = np.concatenate([own.labels for own in clients])
    centre = features.mean(axis=0)
    away = np.stack([features[labels == c].mean(axis=0) for c in range(6)]) - centre
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    weight = 10 / lengths.mean() * away / lengths
    np.testing.assert_allclose(model.head.weight, weight, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.head.bias, -weight @ centre, rtol=1e-3, atol=1e-3)
    assert [one.bytes for one in told] == [3 * 128 * 4 + 6 * 4] * 2
    test = part(data, np.asarray(data.splits["test"]))
    assert accuracy_of(model, test) > 0.5
    only = prototype_head(start, data.classes, told[:1])
    assert torch.equal(only.head.weight[3:], torch.zeros(3, 128))


def test_the_recipe_of_the_documentation_runs(data, clients, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (recipe,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "federated.md").read_text(), re.DOTALL)
    names = {"places": clients, "classes": data.classes}
    exec(recipe.replace("range(5)", "range(2)"), names)
    test = part(data, np.asarray(data.splits["test"]))
    assert accuracy_of(names["model"], test) > 4 / 6
    assert sorted(p.name for p in tmp_path.rglob("*.safetensors")) == [
        f"client-{n}.safetensors" for n in (0, 0, 1, 1)
    ]


def test_class_sums_that_do_not_fit_are_refused(start, data, clients):
    (told,) = [class_sums(start, clients[0])]
    empty = dataclasses.replace(told, counts=torch.zeros(6))
    for given, named in (
        ([dataclasses.replace(told, sums=told.sums[:, :3])], "do not fit"),
        ([dataclasses.replace(told, sums=told.sums * float("nan"))], "do not fit"),
        ([empty], "no class means"),
        ([], "no class means"),
    ):
        with pytest.raises(InvalidInputError, match=named):
            prototype_head(start, data.classes, given)


def test_what_cannot_be(start, data, clients, tmp_path):
    with pytest.raises(InvalidInputError, match="has no head for the classes"):
        train_locally(start, clients[0], epochs=1)
    with pytest.raises(InvalidInputError, match="has no head for the classes"):
        accuracy_of(start, clients[0])
    model = blank_head(start, data.classes)
    with pytest.raises(InvalidInputError, match="without clients"):
        federated_round(model, [], folder=tmp_path)
    with pytest.raises(InvalidInputError, match="there is no difference"):
        federated_round(model, [lambda given: given], folder=tmp_path)
    with pytest.raises(InvalidInputError, match=r"diverged .loss became NaN.*lower `lr`"):
        train_locally(model, clients[0], epochs=3, lr=1e30)
