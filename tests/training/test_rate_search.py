from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.rate_search import chosen_lr, next_lr
from expertise_graph.training.trainer import train
from tests import materials
from tests.program import invoke
from tests.training.material import CYRILLIC, letters
from tests.training.test_train import same_weights, untimed

AUTO = TrainConfig(epochs=3, batch_size=8, lr="auto")
NOTHING_MOVES = {"strategy": "full", "epochs": 4, "batch_size": 8}
"""A new head under few steps: at the default rate hardly anything is learnt."""


@pytest.fixture(scope="module")
def tiny():
    return letters(CYRILLIC[:5], 8)


def row(lr, *losses):
    return {"lr": lr, "losses": list(losses)}


GOOD, SAME, BAD, NAN = (0.1, 0.3, 0.2, 0.1), (0.2, 0.2, 0.1, 0.3), (1.1, 1.4, 1.2, 1.3), ()


@pytest.mark.parametrize(
    ("tried", "following", "chosen"),
    [
        # A rate that is worse by more than chance ends the way up.
        ([(1e-3, GOOD)], 3e-3, 1e-3),
        ([(1e-3, GOOD), (3e-3, BAD)], None, 1e-3),
        ([(1e-3, GOOD), (3e-3, NAN)], None, 1e-3),
        ([(1e-3, BAD), (3e-3, GOOD), (1e-2, BAD)], None, 3e-3),
        ([(1e-3, BAD), (3e-3, BAD), (1e-2, BAD), (3e-2, GOOD)], None, 3e-2),
        # A tie goes to the lowest.
        ([(1e-3, SAME), (3e-3, GOOD), (1e-2, BAD)], None, 1e-3),
        ([(1e-3, BAD), (3e-3, SAME), (1e-2, GOOD), (3e-2, BAD)], None, 3e-3),
        ([(1e-3, SAME), (3e-3, GOOD)], 1e-2, 1e-3),
        # A network that diverges at the default.
        ([(1e-3, NAN)], 3e-4, 1e-3),
        ([(1e-3, NAN), (3e-4, GOOD)], None, 3e-4),
        ([(1e-3, NAN), (3e-4, NAN), (1e-4, NAN)], None, 1e-4),
    ],
)
def test_the_way_through_the_rates(tried, following, chosen):
    rows = [row(lr, *losses) for lr, losses in tried]
    assert next_lr(rows) == following
    assert chosen_lr(rows) == chosen


def test_a_rate_is_found_where_the_default_is_far_too_low(latin, tiny, tmp_path):
    default = train(latin, tiny, out=tmp_path / "default", config=TrainConfig(**NOTHING_MOVES))
    searched = train(latin, tiny, out=tmp_path / "auto", config=TrainConfig(**NOTHING_MOVES, lr="auto"))
    losses = {found["lr"]: found["loss"] for found in searched.lr_search}
    assert searched.lr in (3e-3, 1e-2, 3e-2)
    assert losses[searched.lr] < losses[1e-3] - 0.1
    assert searched.accuracy >= default.accuracy + 0.1
    assert f"learning rate {searched.lr:g}, by the validation loss after" in searched.note
    assert max(found["lr"] for found in searched.history[1:]) <= searched.lr


@pytest.mark.parametrize("strategy", ["lp-ft", pytest.param("from-scratch", marks=pytest.mark.slow)])
def test_the_search_leaves_nothing_behind_but_the_rate(latin, tiny, tmp_path, strategy):
    config = dataclasses.replace(AUTO, strategy=strategy)
    searched = train(latin, tiny, out=tmp_path / "auto", config=config)
    fixed = train(latin, tiny, out=tmp_path / "fixed", config=dataclasses.replace(config, lr=searched.lr))
    assert same_weights(tmp_path / "auto", tmp_path / "fixed")
    assert dataclasses.replace(untimed(searched), lr_search=(), note=fixed.note) == untimed(fixed)
    assert fixed.lr == searched.lr
    assert fixed.lr_search == ()


def cut(latin, tiny, out, config, place):
    """Begin a training, and interrupt it where `place` says so."""

    def interrupt(progress):
        if place(progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(latin, tiny, out=out, config=config, progress=interrupt)
    assert not (out / "head.json").exists()


@pytest.mark.parametrize("after", [10, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, -1))])
def test_a_search_that_was_interrupted_goes_on_and_ends_the_same(latin, tiny, tmp_path, after):
    cut(
        latin,
        tiny,
        tmp_path / "cut",
        AUTO,
        lambda p: (
            p.phase == "train" and p.step > 3 if after < 0 else p.phase == "learning rate" and p.step > after
        ),
    )
    steps = []
    resumed = train(
        latin,
        tiny,
        out=tmp_path / "cut",
        config=AUTO,
        progress=lambda p: steps.append(p.step) if p.phase == "learning rate" else None,
    )
    whole = train(latin, tiny, out=tmp_path / "whole", config=AUTO)
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
    assert untimed(resumed) == untimed(whole)
    # What was measured before is not measured again.
    each = whole.lr_search[0]["steps"]
    assert steps == [] if after < 0 else min(steps) >= after - after % each
    assert not (tmp_path / "cut" / "checkpoint").exists()


def test_a_short_time_leaves_the_default_and_says_so(latin, tiny, tmp_path):
    config = dataclasses.replace(AUTO, time_budget=1e-3)
    result = train(latin, tiny, out=tmp_path / "none", config=config)
    assert (result.lr, result.lr_search) == (1e-3, ())
    assert "there was no time to search for a learning rate: it is 0.001" in result.note


@pytest.mark.slow
def test_the_time_budget_covers_the_search(latin, tiny, tmp_path):
    begun = train(latin, tiny, out=tmp_path / "begun", config=TrainConfig(epochs=2, batch_size=8)).history
    # Ten steps of each rate, three epochs of this training, must fit into 8 % of the time.
    budget = max(10.0, 80 * (begun[2]["seconds"] - begun[1]["seconds"]))
    config = dataclasses.replace(AUTO, epochs=10_000, patience=10_000, time_budget=budget)
    result = train(latin, tiny, out=tmp_path / "run", config=config)
    assert len(result.lr_search) >= 2
    assert result.stopped == "time"
    assert result.seconds <= budget
    rates = [found["lr"] for found in result.history[1:]]
    assert rates[-1] < 0.1 * max(rates)
    assert max(rates) == pytest.approx(result.lr, rel=0.2)


def test_a_linear_probe_has_no_rate(latin, tiny, tmp_path):
    result = train(latin, tiny, out=tmp_path, config=dataclasses.replace(AUTO, strategy="linear-probe"))
    assert (result.lr, result.lr_search, result.epochs) == (None, (), 0)
    assert "learning rate" not in result.note


def test_what_is_no_rate_is_refused(workspace, tmp_path):
    with pytest.raises(InvalidInputError, match=r"^lr is 'fast': give a number above 0, or auto$"):
        TrainConfig(lr="fast")
    data = materials.pictures(tmp_path / "letters", 4, 8)
    found = invoke("warm-start", data, "--out", "out", "--lr", "fast")
    assert found.code == 2
    assert "Invalid value for '--lr': 'fast' is neither a number like 0.003 nor auto" in found.err
    assert not (workspace / "out").exists()


def test_settings_of_runs_before_are_known_by_the_same_digest():
    assert TrainConfig().digest().startswith("e7abd834386782402c54")
    assert TrainConfig(lr="auto").as_dict()["lr"] == "auto"
    assert TrainConfig(lr="auto").digest() != TrainConfig().digest()


def test_the_command_tells_which_rate_was_used_and_why(workspace, tmp_path):
    data = materials.pictures(tmp_path / "letters", 4, 8)
    given = ("--expert", "hebrew-letters", "--epochs", 2, "--batch-size", 8)
    result = invoke(
        "warm-start", data, "--out", "a", *given, "--lr", "auto", "--save-config", "run.yaml", "--json"
    )
    found = result.worked().json
    assert yaml.safe_load((workspace / "run.yaml").read_text())["lr"] == "auto"
    assert found["lr"] in {tried["lr"] for tried in found["lr_search"]}
    assert {name for tried in found["lr_search"] for name in tried} == {"lr", "steps", "loss"}
    assert f"learning rate {found['lr']:g}, by the validation loss" in found["note"]
    record = json.loads((workspace / "a" / "run.json").read_text())
    assert record["identity"]["config"]["lr"] == "auto"
    assert record["result"]["lr_search"] == found["lr_search"]
    assert f"| peak learning rate | {found['lr']:g} |" in (workspace / "a" / "README.md").read_text()
    # The same command, and one with the settings of the file, read it back; a fixed rate is another run.
    again = invoke("warm-start", data, "--out", "a", "--config", "run.yaml", "--json").worked().json
    assert again["lr_search"] == found["lr_search"]
    other = invoke("warm-start", data, "--out", "a", *given, "--lr", 1e-3)
    assert other.code == 1
    assert "lr" in other.err
