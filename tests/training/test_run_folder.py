from __future__ import annotations

import dataclasses
import json
import os
import pickletools
import struct

import numpy as np
import pytest
import torch
import yaml
from tensorboardX.proto.event_pb2 import Event
from torch import nn
from transformers import ResNetModel

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.sampling import holdout
from expertise_graph.models.classifier import Classifier, read_head
from expertise_graph.models.run_folder import RunFolder
from expertise_graph.training.batches import BatchLoader
from expertise_graph.training.checkpoints import Checkpoints, TrainingState, trained_tensors
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.output import model_card
from expertise_graph.training.trainer import train
from tests.training.material import CYRILLIC, Pooled, backbone, collate, expert, letters

CONFIG = TrainConfig(epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def tiny():
    return letters(CYRILLIC[:3], 8)


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "finished"
    return out, train(backbone(), tiny, out=out, config=CONFIG, expert=expert())


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_saved_model_gives_the_measured_accuracy(finished, tiny):
    out, result = finished
    module = Pooled(9)
    module.net.load_state_dict(ResNetModel.from_pretrained(out / "model").state_dict())
    head = read_head(RunFolder(out))
    assert head.classes == tiny.classes
    classifier = Classifier(module, head.linear()).eval()
    rows = holdout(tiny, seed=CONFIG.seed).test
    batch = BatchLoader(tiny.items, decode=known_modalities["image"].decode, collate=collate).batch(rows)
    with torch.inference_mode():
        predicted = classifier(**batch).argmax(dim=1).numpy()
    assert np.mean(predicted == tiny.labels[rows]) == pytest.approx(result.accuracy)


def test_the_card_carries_licence_base_and_result(finished, tiny):
    out, result = finished
    text = (out / "README.md").read_text()
    card = front_matter(text)
    assert card["license"] == "apache-2.0"
    assert card["base_model"] == "someone/latin"
    assert card["datasets"] == ["letters"]
    assert card["pipeline_tag"] == "image-classification"
    assert card["tags"] == ["expertise-graph"]
    [entry] = card["model-index"][0]["results"]
    assert entry["metrics"][0]["value"] == pytest.approx(result.accuracy, abs=1e-6)
    assert f"| {result.accuracy:.4f} ({result.n_test} items) |" in text
    assert torch.__version__.split("+")[0] in text


def test_hostile_names_stay_inside_their_place_in_the_card(finished, tiny):
    _, result = finished
    name = 'a: "b"\n---\nlicense: mit | `x` \x1b[31m'
    text = model_card(result, dataclasses.replace(tiny, name=name), expert(name="x\n# y", license="a\nb: c"))
    card = front_matter(text)
    assert card["datasets"] == [name]
    assert card["license"] == "a\nb: c"
    assert text.count("\n---\n") == 1
    assert "\x1b" not in text
    assert "\n# y" not in text


def test_a_card_without_an_expert_or_from_scratch_claims_no_base(finished, tiny):
    _, result = finished
    assert "base_model" not in front_matter(model_card(result, tiny, None))
    scratch = dataclasses.replace(result, strategy="from-scratch")
    assert "base_model" not in front_matter(model_card(scratch, tiny, expert()))
    assert front_matter(model_card(result, tiny, None))["license"] == "unknown"


def test_history_and_tensorboard_agree_with_the_result(finished):
    out, result = finished
    assert tuple(json.loads((out / "history.json").read_text())) == result.history
    assert [row["epoch"] for row in result.history] == [0, 1, 2]
    logged = {}
    for path in (out / "tensorboard").iterdir():
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            logged.update({(v.tag, event.step): v.simple_value for v in event.summary.value})
            place += length + 16
    for row in result.history:
        assert logged["validation_accuracy", row["step"]] == pytest.approx(row["validation_accuracy"])
    assert logged["loss", result.steps] == pytest.approx(result.history[-1]["loss"])


def test_no_file_of_a_run_is_a_pickle(finished):
    out, _ = finished
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) >= 8
    for path in files:
        assert path.suffix not in {".pt", ".bin", ".pkl", ".pth"}
        with pytest.raises((ValueError, UnicodeDecodeError, IndexError)):
            list(pickletools.genops(path.read_bytes()))


def test_another_run_in_the_folder_is_named(finished, tiny):
    out, _ = finished
    with pytest.raises(InvalidInputError, match=r"lr was 0.001, is 0.01.*another `out`.*`force`") as caught:
        train(backbone(), tiny, out=out, config=dataclasses.replace(CONFIG, lr=0.01), expert=expert())
    assert "seed" not in str(caught.value)
    assert "digest" not in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"expert was 'hf:someone/latin@a+', is None"):
        train(backbone(), tiny, out=out, config=CONFIG)
    with pytest.raises(InvalidInputError, match="data was"):
        train(backbone(), letters(CYRILLIC[:3], 9), out=out, config=CONFIG, expert=expert())


def test_discard_makes_room_and_touches_nothing_else(tmp_path, tiny):
    out = tmp_path / "run"
    train(backbone(), tiny, out=out, config=TrainConfig(strategy="linear-probe"))
    before = {path.name for path in out.iterdir()}
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match=r"did not write.*\(notes.txt\): nothing was removed"):
        RunFolder(out).discard()
    assert {path.name for path in out.iterdir()} == before | {"notes.txt"}
    (out / "notes.txt").unlink()
    RunFolder(out).discard()
    assert list(out.iterdir()) == []
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="not the folder of a run"):
        RunFolder(out).discard()
    RunFolder(tmp_path / "missing").discard()
    with pytest.raises(InvalidInputError, match=r"other files \(notes.txt\)"):
        RunFolder(out).claim({"config": {}})
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_or_read_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run").claim({"config": {}})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(InvalidInputError, match="not the record of a run"):
        RunFolder(tmp_path / "run").claim({"config": {}})


def stepped(seed):
    """Return a small model and its optimiser after one step."""
    torch.manual_seed(seed)
    model = Classifier(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2))
    model.backbone[0].bias.requires_grad_(False)
    adamw = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    model.head(model.backbone(torch.randn(6, 4))).square().sum().backward()
    adamw.step()
    return model, adamw


def test_a_checkpoint_brings_everything_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model, adamw = stepped(0)
    checkpoints.save(TrainingState(epoch=0, kept=0), model, adamw)
    best = {name: tensor.clone() for name, tensor in trained_tensors(model).items()}
    model.head(model.backbone(torch.randn(6, 4))).sum().backward()
    adamw.step()
    state = TrainingState(epoch=1, step=2, kept=0, history=[{"epoch": 0}], clock={"seconds": 1.5})
    checkpoints.save(state, model, adamw)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["epoch-00001"]

    other, other_adamw = stepped(1)
    found, found_best = checkpoints.load(other, other_adamw)
    assert found == state
    assert all(torch.equal(best[name], found_best[name]) for name in best)
    now = trained_tensors(model)
    assert all(torch.equal(now[name], tensor) for name, tensor in trained_tensors(other).items())
    assert "backbone.0.bias" not in now
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        moments, loaded = adamw.state.get(a, {}), other_adamw.state.get(b, {})
        assert moments.keys() == loaded.keys()
        assert all(torch.equal(moments[key], loaded[key]) for key in moments)


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model, adamw = stepped(0)
    checkpoints.save(TrainingState(epoch=3, kept=3, history=[{}] * 4), model, adamw)
    half = checkpoints.folder / ".half"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"cut")
    found, _ = checkpoints.load(*stepped(1))
    assert found.epoch == 3
    assert not half.exists()
    assert Checkpoints(tmp_path / "other").load(model, adamw) is None


def test_checkpoints_work_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    model, adamw = stepped(0)
    Checkpoints(tmp_path).save(TrainingState(epoch=0, kept=0, history=[{}]), model, adamw)
    _, best = Checkpoints(tmp_path).load(*stepped(1))
    assert all(torch.equal(best[name], tensor) for name, tensor in trained_tensors(model).items())


def test_a_head_that_does_not_fit_is_refused(finished, tmp_path):
    out, _ = finished
    assert read_head(RunFolder(tmp_path)) is None
    (tmp_path / "head.json").write_text('{"classes": ["a", "b"]}')
    with pytest.raises(NotFoundError, match=r"head\.safetensors is missing"):
        read_head(RunFolder(tmp_path))
    (tmp_path / "head.safetensors").write_bytes((out / "head.safetensors").read_bytes())
    with pytest.raises(InvalidInputError, match="3 classes and names 2"):
        read_head(RunFolder(tmp_path))
