from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core.errors import DatasetError, InvalidInputError, NotFoundError, SourceError
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.linear_probe import SHORTENED
from expertise_graph.training.result import last_improvement, worth_keeping
from expertise_graph.training.spec import RunSpec, train_by_spec
from expertise_graph.training.time_budget import OutOfTime
from expertise_graph.training.trainer import Trainer, train
from tests import materials
from tests.training.material import CYRILLIC, backbone, expert, letters

SMALL = TrainConfig(epochs=3, batch_size=8)


@pytest.fixture(scope="module")
def tiny():
    return letters(CYRILLIC[:5], 8)


def same_weights(a, b):
    found, expected = (
        load_file(a / "model" / "model.safetensors"),
        load_file(b / "model" / "model.safetensors"),
    )
    head, expected_head = load_file(a / "head.safetensors"), load_file(b / "head.safetensors")
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in found) and all(
        torch.equal(head[name], expected_head[name]) for name in head
    )


@pytest.mark.slow
def test_a_related_expert_beats_training_from_scratch(latin, tmp_path):
    data = letters(CYRILLIC, 5, test=8)
    config = TrainConfig(epochs=8)
    before = {name: value.clone() for name, value in latin.module.state_dict().items()}
    spec = RunSpec(expert=expert(), config=config, out=tmp_path / "run", compare_cold=True)
    pair = train_by_spec(latin, data, spec)
    assert pair.warm.accuracy > 0.5
    assert pair.transfer_gain == pair.warm.accuracy - pair.cold.accuracy
    assert pair.transfer_gain > 0.15
    assert (pair.warm.n_train, pair.warm.n_validation, pair.warm.n_test) == (64, 16, 128)
    assert (pair.warm.strategy, pair.cold.strategy) == ("lp-ft", "from-scratch")
    assert all(torch.equal(before[name], value) for name, value in latin.module.state_dict().items())
    assert json.loads((tmp_path / "run" / "cold" / "head.json").read_text())["strategy"] == "from-scratch"


def test_freeze_trains_the_head_only(latin, tiny, tmp_path):
    result = train(latin, tiny, out=tmp_path / "run", config=TrainConfig(strategy="linear-probe"))
    kept = load_file(tmp_path / "run" / "model" / "model.safetensors")
    original = latin.module.net.state_dict()
    assert all(torch.equal(kept[name], original[name]) for name in kept)
    assert (result.epochs, result.steps, result.stopped, result.kept_epoch) == (0, 0, "epochs", 0)
    assert result.accuracy > 0.5


def test_fine_tuning_moves_every_stage(latin, tiny, tmp_path):
    data = dataclasses.replace(tiny, labels=np.roll(tiny.labels, 3))
    train(latin, data, out=tmp_path / "run", config=SMALL)
    kept, original = load_file(tmp_path / "run/model/model.safetensors"), latin.module.net.state_dict()
    best = json.loads((tmp_path / "run" / "run.json").read_text())["result"]["kept_epoch"]
    convolutions = [name for name in kept if name.endswith("convolution.weight")]
    moved = [not torch.equal(kept[name], original[name]) for name in convolutions]
    assert all(moved) if best else not any(moved)
    statistics = [name for name in kept if name.endswith(("running_mean", "running_var"))]
    assert all(torch.equal(kept[name], original[name]) for name in statistics)


def test_equal_seeds_give_equal_weights_and_leave_the_random_state_alone(latin, tiny, tmp_path):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = train(latin, tiny, out=tmp_path / "a", config=SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.rand(3)
    second = train(latin, tiny, out=tmp_path / "b", config=SMALL)
    train(latin, tiny, out=tmp_path / "c", config=dataclasses.replace(SMALL, seed=1))
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")
    assert untimed(first) == untimed(second)


def untimed(result):
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    return dataclasses.replace(result, seconds=0.0, history=tuple(rows))


@pytest.mark.parametrize("changes", [{}, pytest.param({"strategy": "from-scratch"}, marks=pytest.mark.slow)])
@pytest.mark.parametrize("after", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 8)), 9])
def test_an_interrupted_run_ends_as_the_uninterrupted_one(latin, tiny, tmp_path, changes, after):
    config = dataclasses.replace(SMALL, **changes)

    def interrupt(progress):
        if progress.step > after or progress.phase == "test":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(latin, tiny, out=tmp_path / "cut", config=config, progress=interrupt)
    assert not (tmp_path / "cut" / "head.json").exists()
    steps = []
    resumed = train(latin, tiny, out=tmp_path / "cut", config=config, progress=lambda p: steps.append(p.step))
    whole = train(latin, tiny, out=tmp_path / "whole", config=config)
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
    assert untimed(resumed) == untimed(whole)
    assert min(steps) >= after - after % 3
    assert not (tmp_path / "cut" / "checkpoint").exists()


def test_a_finished_run_is_read_back_without_training(latin, tiny, tmp_path):
    first = train(latin, tiny, out=tmp_path, config=SMALL)
    written = (tmp_path / "head.safetensors").stat().st_mtime_ns
    seen = []
    assert train(latin, tiny, out=tmp_path, config=SMALL, progress=seen.append) == first
    assert seen == []
    assert (tmp_path / "head.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow
def test_early_stopping_ends_a_run_that_does_not_improve(latin, tmp_path):
    data = letters(CYRILLIC[:4], 15)
    noisy = dataclasses.replace(data, labels=np.random.default_rng(0).permutation(data.labels))
    result = train(latin, noisy, out=tmp_path, config=TrainConfig(epochs=30, patience=2))
    assert result.stopped == "early"
    assert result.epochs == last_improvement(result.history) + 2 == len(result.history) - 1
    assert result.validation_accuracy == result.history[result.kept_epoch]["validation_accuracy"]


def epochs(*pairs):
    return [
        {"epoch": i, "validation_accuracy": accuracy, "validation_loss": loss}
        for i, (accuracy, loss) in enumerate(pairs)
    ]


def test_one_item_of_accuracy_is_a_tie_that_goes_to_the_later_epoch():
    assert worth_keeping(epochs((0.8, 1.0)), 0.1)
    assert worth_keeping(epochs((0.8, 1.0), (0.7, 1.2)), 0.1)
    assert not worth_keeping(epochs((0.8, 1.0), (0.7, 1.2), (0.6, 1.2)), 0.1)
    assert not worth_keeping(epochs((0.8, 1.0), (0.7, 1.2)), 0.05)


def test_an_improvement_is_a_higher_accuracy_or_a_lower_loss():
    assert last_improvement(epochs((0.5, 1.0), (0.5, 0.9), (0.5, 0.95))) == 1
    assert last_improvement(epochs((0.5, 1.0), (0.6, 1.2), (0.6, 1.1))) == 1
    assert last_improvement(epochs((0.5, 1.0), (0.5, 1.0))) == 0


class Failing(nn.Module):
    """Gives NaN in training from the given step on, as a diverging network does."""

    def __init__(self, module, after):
        super().__init__()
        self.module, self.left = module, after

    def forward(self, pixel_values):
        features = self.module(pixel_values)
        self.left -= self.training
        fails = self.left < 0 and (self.training or self.left < -100)
        return features * float("nan") if fails else features


def test_nan_stops_and_keeps_the_last_good_epoch(latin, tiny, tmp_path):
    reached = dataclasses.replace(latin, module=Failing(latin.module, 5), save=lambda m, f: f.mkdir())
    result = train(reached, tiny, out=tmp_path, config=SMALL)
    assert (result.stopped, result.epochs) == ("nan", 1)
    assert result.note == f"loss became NaN at step 6 in epoch 2; epoch {result.kept_epoch} was kept"
    assert result.accuracy > 0.5
    assert result.note in (tmp_path / "README.md").read_text()


def test_an_expert_with_nan_features_is_refused(latin, tiny, tmp_path):
    broken = dataclasses.replace(latin, module=Failing(latin.module, -1000))
    with pytest.raises(SourceError, match="NaN or infinite"):
        train(broken, tiny, out=tmp_path, config=SMALL)


def test_no_time_at_all_still_leaves_the_linear_probe(latin, tiny, tmp_path):
    result = train(latin, tiny, out=tmp_path, config=TrainConfig(time_budget=1e-3))
    assert (result.stopped, result.epochs, result.kept_epoch) == ("time", 0, 0)
    assert result.accuracy > 0.5
    assert (tmp_path / "head.safetensors").is_file()
    assert re.fullmatch(
        "the time budget ended before the first epoch: this is a linear probe on the expert's features; "
        r"an epoch takes about [\d.]+ \w+",
        result.note,
    )


def test_a_probe_that_no_epoch_beat_is_said_to_be_one(latin, tiny, tmp_path):
    result = train(latin, tiny, out=tmp_path, config=dataclasses.replace(SMALL, lr=1e30))
    assert result.kept_epoch == 0
    assert "no epoch was better than the linear probe, which was kept" in result.note


@pytest.mark.parametrize("lost", ["head.safetensors", "head.json", "model"])
def test_a_finished_run_whose_model_is_gone_is_not_read_back(latin, tiny, tmp_path, lost):
    config = TrainConfig(strategy="linear-probe")
    first = train(latin, tiny, out=tmp_path, config=config)
    assert train(latin, tiny, out=tmp_path, config=config) == first
    if lost == "model":
        shutil.rmtree(tmp_path / lost)
    else:
        (tmp_path / lost).write_bytes(b"")
    with pytest.raises(NotFoundError, match=f"{lost}.*train it again, with `force`"):
        train(latin, tiny, out=tmp_path, config=config)


@pytest.mark.slow
def test_a_new_head_that_was_never_trained_becomes_a_linear_probe(latin, tiny, tmp_path):
    config = TrainConfig(strategy="full", time_budget=1e-3)
    result = train(latin, tiny, out=tmp_path / "full", config=config)
    assert result.note == "no epoch was kept: the model is a linear probe on the expert's features"
    probe = train(latin, tiny, out=tmp_path / "probe", config=TrainConfig(strategy="linear-probe"))
    assert same_weights(tmp_path / "full", tmp_path / "probe")
    assert (result.accuracy, result.validation_accuracy) == (probe.accuracy, probe.validation_accuracy)
    wild = train(
        latin, tiny, out=tmp_path / "wild", config=dataclasses.replace(SMALL, strategy="full", lr=1e30)
    )
    assert wild.accuracy == probe.accuracy
    cold = TrainConfig(strategy="from-scratch", time_budget=1e-3)
    assert "the weights are random" in train(latin, tiny, out=tmp_path / "cold", config=cold).note


@pytest.mark.slow
def test_only_a_probe_that_is_sure_of_items_that_stay_the_same_begins_short(latin, tiny):
    def length(data, **given):
        trainer = Trainer.for_data(latin, data, TrainConfig(**given))
        trainer.begin()
        return trainer.state.head_scale

    shuffled = dataclasses.replace(tiny, labels=np.random.default_rng(0).permutation(tiny.labels))
    assert length(tiny, augment=False) == SHORTENED
    assert length(tiny) == 1.0
    assert length(shuffled, augment=False) == 1.0
    assert length(tiny, augment=False, strategy="linear-probe") == 1.0


def test_a_probe_that_is_kept_has_its_own_length(latin, tiny, tmp_path):
    for strategy in ("lp-ft", "linear-probe"):
        config = TrainConfig(strategy=strategy, augment=False, time_budget=1e-3)
        assert train(latin, tiny, out=tmp_path / strategy, config=config).kept_epoch == 0
    found, probe = (load_file(tmp_path / name / "head.safetensors") for name in ("lp-ft", "linear-probe"))
    assert all(torch.allclose(found[name], probe[name]) for name in probe)


def test_a_probe_that_is_kept_of_an_interrupted_run_has_its_own_length_too(latin, tiny, tmp_path):
    config = TrainConfig(augment=False, batch_size=8, lr=1e30)

    def interrupt(progress):
        if progress.step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(latin, tiny, out=tmp_path / "cut", config=config, progress=interrupt)
    assert train(latin, tiny, out=tmp_path / "cut", config=config).kept_epoch == 0
    assert train(latin, tiny, out=tmp_path / "whole", config=config).stopped == "nan"
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_the_time_budget_is_used_and_kept(latin, tiny, tmp_path):
    budget = 2.5 * materials.pace()
    result = train(
        latin, tiny, out=tmp_path, config=TrainConfig(epochs=10_000, patience=10_000, time_budget=budget)
    )
    assert result.stopped == "time"
    assert result.epochs >= 2
    assert result.seconds <= budget
    rates = [row["lr"] for row in result.history[1:]]
    assert rates[-1] < 0.1 * max(rates)
    # The epoch in which time ended counts as far as it went.
    assert result.history[-1]["step"] == result.steps


def test_time_that_passed_before_counts(latin, tiny, tmp_path):
    config, started = TrainConfig(epochs=10_000, patience=10_000, time_budget=3.0), time.perf_counter() - 2.9
    result = train(latin, tiny, out=tmp_path, config=config, started=started)
    assert (result.stopped, result.kept_epoch) == ("time", 0)
    assert result.seconds < 2.0


def test_features_that_are_known_are_not_made_again(latin, tiny):
    def refuse():
        raise OutOfTime("no batch may be run")

    model = Trainer.for_data(latin, tiny, TrainConfig(augment=False)).model
    rows = np.arange(6)
    model.known = {3: torch.full((latin.dim,), 7.0)}
    made = model.features(latin.module, rows)
    assert torch.equal(made[3], torch.full((latin.dim,), 7.0))
    assert sorted(model.known) == rows.tolist()
    model.check = refuse
    assert torch.equal(model.features(latin.module, rows[::-1].copy())[rows], made[rows])
    with pytest.raises(OutOfTime):
        model.features(latin.module, np.arange(8))


def test_a_class_of_one_item_is_learned_from(latin, tmp_path):
    data = letters(CYRILLIC[:4], [12, 12, 12, 1])
    result = train(latin, data, out=tmp_path, config=SMALL)
    assert (result.n_train, result.n_test) == (25, 6)
    assert len(json.loads((tmp_path / "head.json").read_text())["classes"]) == 4


@pytest.mark.parametrize(
    ("counts", "problem"), [([2, 2], "none for the validation split"), ([1, 1], "one item")]
)
def test_too_little_data_is_refused(latin, tmp_path, counts, problem):
    with pytest.raises(DatasetError, match=problem):
        train(latin, letters(CYRILLIC[:2], counts), out=tmp_path, config=SMALL)


def test_a_text_expert_cannot_learn_images(latin, tiny, tmp_path):
    with pytest.raises(InvalidInputError, match="choose an expert for image"):
        train(dataclasses.replace(latin, modality="text"), tiny, out=tmp_path, config=SMALL)


def test_a_cold_start_is_not_compared_with_itself(tiny, tmp_path):
    config = TrainConfig(strategy="from-scratch")
    spec = RunSpec(expert=expert(), config=config, out=tmp_path, compare_cold=True)
    with pytest.raises(InvalidInputError, match="cold start itself"):
        train_by_spec(backbone(), tiny, spec)


def test_progress_counts_every_step_once(latin, tiny, tmp_path):
    seen = []
    result = train(latin, tiny, out=tmp_path, config=SMALL, progress=seen.append)
    steps = [p.step for p in seen if p.loss is not None]
    assert steps == list(range(1, result.steps + 1))
    assert {p.steps for p in seen} == {9}
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(seen))
    assert seen[-1].phase == "test"


def test_a_single_step_changes_the_weights(latin, tiny, tmp_path):
    config = TrainConfig(strategy="full", epochs=1, batch_size=len(tiny), augment=False)
    result = train(latin, tiny, out=tmp_path, config=config)
    assert result.history[-1]["lr"] > 0.1 * config.lr
