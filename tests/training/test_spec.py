"""The specification of a run, what other loops make of the trainer, and what its modules import."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.data.dataset import Columns
from expertise_graph.training.checkpoints import trained_tensors
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.launcher import launch
from expertise_graph.training.spec import RunSpec
from expertise_graph.training.trainer import Trainer, train
from tests.training.material import CYRILLIC, expert, letters

SMALL = TrainConfig(epochs=3, batch_size=8)


@pytest.fixture(scope="module")
def tiny():
    return letters(CYRILLIC[:5], 8)


def test_a_specification_is_the_same_after_json(tmp_path):
    spec = RunSpec(
        expert=expert(tags=("a", "b"), meta={"input": {"size": 64}}),
        config=TrainConfig(strategy="lora", rank=4, time_budget=9.5),
        out=tmp_path,
        architecture=expert(id="hf:someone/small@" + "b" * 40),
        compare_cold=True,
        tracker="mlflow",
        columns=Columns(target="kind", separator="|"),
    )
    assert RunSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    plain = RunSpec(expert=expert(), config=SMALL, out=tmp_path)
    assert RunSpec.from_dict(json.loads(json.dumps(plain.as_dict()))) == plain
    launched = dataclasses.replace(plain, launcher=("--multi_gpu",))
    assert RunSpec.from_dict(launched.as_dict()) == plain


def test_the_id_of_a_run_follows_from_what_is_trained_from_what_and_where(tiny, tmp_path):
    spec = RunSpec(expert=expert(), config=SMALL, out=tmp_path)
    assert spec.run_id(tiny) == dataclasses.replace(spec, compare_cold=True, tracker="wandb").run_id(tiny)
    others = (
        dataclasses.replace(spec, out=tmp_path / "other"),
        dataclasses.replace(spec, config=dataclasses.replace(SMALL, seed=1)),
        dataclasses.replace(spec, expert=expert(id="dir:" + "c" * 64)),
    )
    assert len({spec.run_id(tiny), *(other.run_id(tiny) for other in others)}) == 4


@pytest.mark.parametrize(
    "arguments", [("--cpu",), ("--cpu", "--num_processes"), ("--cpu", "--num_processes", "two")]
)
def test_processes_on_cpus_need_a_number(tiny, tmp_path, arguments):
    spec = RunSpec(expert=expert(), config=SMALL, out=tmp_path, launcher=arguments)
    with pytest.raises(InvalidInputError, match="add --num_processes 2"):
        launch(spec, tiny, seen=0, trust_code=False)


def test_a_callback_stops_a_training_after_an_epoch(latin, tiny, tmp_path):
    trainer, seen = Trainer.for_data(latin, tiny, SMALL), []

    def stop(state):
        seen.append((state.epoch, len(state.history)))
        return state.epoch == 2

    trainer.begin()
    trainer.run_epochs(after_epoch=stop)
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.step) == ("pruned", 2, 6)
    assert seen == [(1, 2), (2, 3)]
    whole = train(latin, tiny, out=tmp_path, config=SMALL)
    keys = ("epoch", "step", "loss", "train_accuracy", "validation_accuracy", "validation_loss", "lr")
    rows = [[{key: row[key] for key in keys} for row in h] for h in (trainer.state.history, whole.history)]
    # The seed of a run covers its fresh head, which the linear probe replaces here.
    assert rows[0] == rows[1][:3]


def test_without_validation_items_all_epochs_are_run_and_the_last_one_counts(latin, tiny):
    trainer = Trainer.for_data(latin, tiny, SMALL)
    trainer.rows = {**trainer.rows, "validation": np.arange(0)}
    before = {name: tensor.clone() for name, tensor in trained_tensors(trainer.model.classifier).items()}
    trainer.run_epochs()
    assert (trainer.state.stopped, trainer.state.epoch) == ("epochs", 3)
    assert (trainer.state.history, trainer.best) == ([], {})
    after = trained_tensors(trainer.model.classifier)
    assert not torch.equal(after["head.weight"], before["head.weight"])


IMPORTS = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(f"expertise_graph.training.{name}")
print(sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("light", [True, False])
def test_modules_of_training_import_no_library_that_only_some_runs_need(light):
    folder = Path(sys.modules[Trainer.__module__].__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    with_accelerate = {"trainable", "preparation", "trackers", "trainer", "spec", "launcher", "runs", "race"}
    chosen = sorted(modules - with_accelerate if light else modules)
    unwanted = "peft transformers timm datasets optuna" + (" accelerate" if light else "")
    found = subprocess.run(
        [sys.executable, "-c", IMPORTS, unwanted, *chosen], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
