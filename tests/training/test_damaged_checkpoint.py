"""A damaged checkpoint costs the time of its epochs, and nothing else."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import train
from tests.training.material import CYRILLIC, backbone, letters
from tests.training.test_train import same_weights, untimed

CONFIG = TrainConfig(epochs=3, batch_size=8, lr=1e-3)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_tensors(path):
    save_file({"x": torch.zeros(2)}, path)


def other_shapes(path):
    save_file({name: tensor.reshape(-1)[:1].clone() for name, tensor in load_file(path).items()}, path)


def without_history(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "history": []}))


DAMAGE = {
    "model cut": ("model.safetensors", cut),
    "model of another": ("model.safetensors", other_tensors),
    "shapes of another": ("best.safetensors", other_shapes),
    "best gone": ("best.safetensors", lambda path: path.unlink()),
    "optimizer of another": ("optimizer.safetensors", other_tensors),
    "state cut": ("state.json", cut),
    "state of another": ("state.json", lambda path: path.write_text('{"a": 1}')),
    "state no object": ("state.json", lambda path: path.write_text("[]")),
    "state without history": ("state.json", without_history),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(backbone(), letters(CYRILLIC[:3], 8), out=folder, config=CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_training_starts_over_and_ends_as_if_nothing_had_been(whole, tmp_path, name, capsys):
    def interrupt(progress):
        if progress.phase == "test":
            raise KeyboardInterrupt

    data, out = letters(CYRILLIC[:3], 8), tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(backbone(), data, out=out, config=CONFIG, progress=interrupt)
    (checkpoint,) = out.glob("checkpoint/epoch-*")
    file, damage = DAMAGE[name]
    # Files of two checkpoints are one on the disk: another takes the place of it.
    content = (checkpoint / file).read_bytes()
    (checkpoint / file).unlink()
    (checkpoint / file).write_bytes(content)
    damage(checkpoint / file)
    capsys.readouterr()
    resumed = train(backbone(), data, out=out, config=CONFIG)
    said = capsys.readouterr().err
    assert f"{checkpoint} is damaged" in said
    assert "training starts over" in said
    assert same_weights(out, whole[0])
    results = [dataclasses.replace(untimed(one), peak_memory=0) for one in (resumed, whole[1])]
    assert results[0] == results[1]
    assert not (out / "checkpoint").exists()
