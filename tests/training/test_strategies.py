from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core.errors import SourceError
from expertise_graph.data.reading import read_data
from expertise_graph.features import running
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import private_rng
from expertise_graph.training.optimizer import Anchor, parameter_groups
from expertise_graph.training.strategy import strategies, unfreeze
from expertise_graph.training.trainer import Trainer, new_classifier, train
from tests.program import ROOT
from tests.training.material import CYRILLIC, backbone, letters

EXPECTED = {
    "linear-probe": lambda name: False,
    "lp-ft": lambda name: True,
    "full": lambda name: True,
    "l2-sp": lambda name: True,
    "gradual": lambda name: True,
    "from-scratch": lambda name: True,
    "bitfit": lambda name: name.endswith("bias"),
    "norm-only": lambda name: "normalization" in name,
    "lora": lambda name: "convolution" in name,
}


@pytest.fixture(scope="module")
def tiny():
    return letters(CYRILLIC[:5], 10)


@pytest.fixture
def greek():
    expert = resolve("zoo:greek-letters", SourceOptions())
    return expert, load(expert)


def test_every_strategy_has_a_case():
    assert set(strategies) == set(EXPECTED)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in {"lp-ft", "lora"})) for n in sorted(EXPECTED)],
)
def test_a_strategy_changes_what_it_says_and_nothing_else(greek, tiny, tmp_path, name):
    expert, given = greek
    before = {n: t.clone() for n, t in given.module.state_dict().items()}
    config = TrainConfig(strategy=name, epochs=2, lr=3e-3, patience=9)
    with private_rng(0):
        trainer = Trainer.for_data(given, tiny, config)
        trainer.begin()
        for _ in range(3):
            trainer.model.training_mode()
            trainer.model.step(trainer.rows["train"], fraction=1.0, lr_scale=1.0)
    result = train(given, tiny, out=tmp_path / "run", config=config, expert=expert)
    child = load(resolve(f"dir:{tmp_path / 'run' / 'model'}", SourceOptions()))
    after = child.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], t) for n, t in given.module.state_dict().items())
    if result.kept_epoch:
        wanted = {n for n, _ in given.module.named_parameters() if EXPECTED[name](n)}
        changed = {n for n, _ in given.module.named_parameters() if not torch.equal(before[n], after[n])}
        assert changed <= wanted
        assert len(changed) > 0.9 * len(wanted)
    held = {n for n in before if "running" in n and not torch.equal(before[n], after[n])}
    assert bool(held) == (name == "from-scratch")
    assert (result.epochs, result.strategy) == (2 if strategies[name].fine_tunes else 0, name)


@pytest.mark.slow
def test_an_adapter_is_small_and_gives_what_was_trained(greek, tmp_path):
    expert, given = greek
    data = letters(CYRILLIC[:6], 14)
    config = TrainConfig(strategy="lora", rank=4, epochs=6, lr=3e-3, augment=False)
    result = train(given, data, out=tmp_path / "run", config=config, expert=expert)
    assert result.kept_epoch > 0
    files = {p.name: p.stat().st_size for p in (tmp_path / "run" / "model").iterdir()}
    assert files["adapter_model.safetensors"] < 0.25 * expert.bytes
    assert "model.safetensors" not in files
    child = resolve(f"dir:{tmp_path / 'run' / 'model'}", SourceOptions(name="child"))
    assert (child.base_model, child.source, child.dim) == (expert.id, "adapter", expert.dim)
    assert child.weights_sha != expert.weights_sha
    head = load_file(tmp_path / "run" / "head.safetensors")
    rows = result.n_test
    trainer = Trainer.for_data(load(child), data, dataclasses.replace(config, strategy="linear-probe"))
    features = trainer.model.predict(trainer.rows["test"], module=trainer.model.classifier.backbone)
    logits = features @ head["weight"].T + head["bias"]
    wanted = trainer.model.objective.targets[trainer.rows["test"]]
    assert len(wanted) == rows
    assert (logits.argmax(1) == wanted).double().mean().item() == pytest.approx(result.accuracy)


def test_an_adapter_of_another_parent_is_refused(greek, tiny, tmp_path):
    expert, given = greek
    train(given, tiny, out=tmp_path / "run", config=TrainConfig(strategy="lora", epochs=1), expert=expert)
    folder = tmp_path / "run" / "model"
    child = resolve(f"dir:{folder}", SourceOptions())
    other = resolve("zoo:emoji", SourceOptions())
    text = (folder / "parent.json").read_text()
    for name in ("id", "locator", "weights_sha"):
        text = text.replace(getattr(expert, name), getattr(other, name))
    (folder / "parent.json").write_text(text)
    with pytest.raises(SourceError, match="changed since it was registered"):
        load(child)
    with pytest.raises(SourceError, match="does not fit its parent"):
        load(resolve(f"dir:{folder}", SourceOptions()))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"lacks adapter_model\.safetensors"):
        resolve(f"dir:{folder}", SourceOptions())


@pytest.mark.parametrize(
    ("name", "others"), [("bitfit", "from-scratch"), ("norm-only", "bitfit"), ("lora", "bitfit")]
)
def test_a_strategy_that_is_not_possible_names_those_that_are(name, others):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3)) if name != "bitfit" else None
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(SourceError, match=f"strategy {name} has nothing to train") as caught:
        unfreeze(Scale(), name, rank=2)
    assert others in str(caught.value).rsplit("in this architecture: give ", 1)[1]
    assert name not in str(caught.value).rsplit("in this architecture: give ", 1)[1]


def test_stages_join_one_after_the_other(greek, tiny):
    _, given = greek
    config = TrainConfig(strategy="gradual", lr=1.0)
    groups = parameter_groups(new_classifier(given, 5, config), config)
    opens = sorted({g["opens"] for g in groups})
    assert opens == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5])
    trainer = Trainer.for_data(given, tiny, config)
    start = {n: p.detach().clone() for n, p in trainer.model.classifier.named_parameters()}
    trainer.model.training_mode()
    trainer.model.step(trainer.rows["train"], fraction=0.3, lr_scale=1e-3)
    moved = {n for n, p in trainer.model.classifier.named_parameters() if not torch.equal(p, start[n])}
    stages = {n.split("stages.")[1][0] for n in moved if "stages." in n}
    assert stages == {"1", "2", "3"}
    assert not any("embedder" in n for n in moved)


def test_the_anchor_pulls_along_the_way_gone(greek):
    _, given = greek
    model = new_classifier(given, 3, TrainConfig(strategy="l2-sp"))
    anchor = Anchor(model, 0.5)
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.add_(0.2)
    penalty = sum(0.25 * 0.2**2 * p.numel() for p in model.backbone.parameters())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    anchor.pull()
    assert all(
        torch.allclose(p.grad, torch.full_like(p, 0.1), atol=1e-6) for p in model.backbone.parameters()
    )
    assert torch.allclose(model.head.weight.grad, 0.5 * model.head.weight)
    assert torch.equal(model.head.bias.grad, torch.zeros(3))
    along = sum((p.grad * 0.2).sum().item() for p in model.backbone.parameters())
    assert along == pytest.approx(2 * penalty, rel=1e-4)


@pytest.mark.slow
def test_a_strong_prior_stays_nearer_to_the_expert(tiny, tmp_path):
    def way(prior):
        config = TrainConfig(strategy="l2-sp", prior=prior, epochs=4, lr=3e-3, augment=False)
        trainer = Trainer.for_data(backbone(), tiny, config)
        start = [p.detach().clone() for p in trainer.model.classifier.backbone.parameters()]
        trainer.model.training_mode()
        for _ in range(12):
            trainer.model.step(trainer.rows["train"], fraction=0.5, lr_scale=1.0)
        moved = zip(trainer.model.classifier.backbone.parameters(), start, strict=True)
        return sum((p.detach() - s).square().sum().item() for p, s in moved) ** 0.5

    assert way(10.0) < 0.8 * way(0.0)


def gradients(data, **settings):
    """The gradients of one step, and into how many forward passes it was cut."""
    trainer = Trainer.for_data(backbone(), data, TrainConfig(augment=False, **settings))
    with torch.no_grad():
        trainer.model.classifier.head.weight.fill_(0.01)
        trainer.model.classifier.head.bias.zero_()
    trainer.model.training_mode()
    passes = []
    trainer.model.classifier.register_forward_pre_hook(lambda *_: passes.append(1))
    trainer.model._gradients(trainer.rows["train"])
    found = [p.grad.flatten() for p in trainer.model.classifier.parameters() if p.grad is not None]
    return torch.cat(found), len(passes)


def test_parts_give_the_gradients_of_the_whole(tiny):
    whole, passes = gradients(tiny, strategy="full")
    assert whole.abs().max() > 1e-4
    parted, more = gradients(tiny, strategy="full", accumulate=4)
    assert (passes, more) == (1, 4)
    assert torch.allclose(whole, parted, atol=1e-6)


def test_large_images_are_computed_in_parts_unless_the_statistics_of_the_batch_count(tiny, monkeypatch):
    whole, _ = gradients(tiny, strategy="full")
    monkeypatch.setattr(running, "AT_ONCE_NUMBERS", 2 * 3 * 64 * 64)
    parted, passes = gradients(tiny, strategy="full")
    assert passes > 1
    assert torch.allclose(whole, parted, atol=1e-6)
    assert gradients(tiny, strategy="from-scratch")[1] == 1


@pytest.mark.slow
def test_letters_are_not_mirrored_and_things_are(greek, latin):
    with private_rng(0):
        trainer = Trainer.for_data(latin, letters(CYRILLIC, 12), TrainConfig())
        trainer.begin()
    assert trainer.model.augment
    assert not trainer.model.mirror
    emoji = load(resolve("zoo:emoji", SourceOptions()))
    with private_rng(0):
        trainer = Trainer.for_data(emoji, read_data(ROOT / "examples" / "emoji-redrawn"), TrainConfig())
        trainer.begin()
    assert trainer.model.mirror
