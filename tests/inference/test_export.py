"""Files for other programs: the same logits, or no file."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from expertise_graph.core.errors import InvalidInputError, NotFoundError, SourceError
from expertise_graph.inference.export import TorchFormat, compare, export_model, formats
from expertise_graph.inference.opening import open_model
from tests.materials import gloss_rows
from tests.program import environment, invoke

TEXTS = [text for text, _ in gloss_rows(2, 2)]


def session(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_an_image_model_in_onnx_fed_as_its_description_says(image_run, letters, tmp_path):
    pytest.importorskip("onnxscript")
    target = tmp_path / "letters.onnx"
    done = invoke("export", image_run, "--format", "onnx", "--out", target).worked()
    assert "logits on 12 real inputs differ by at most" in done.err
    about = json.loads((tmp_path / "letters.onnx.json").read_text())
    assert (about["classes"], about["temperature"]) == (list(open_model(image_run).classes), 1.0)
    assert about["inputs"] == [{"name": "pixel_values", "shape": ["batch", 3, 64, 64], "dtype": "float32"}]
    how, files = about["preprocessing"], sorted(letters.rglob("*.png"))[:5]
    size = (how["width"], how["height"])
    shown = [Image.open(f).convert("RGB").resize(size, Image.Resampling.BILINEAR) for f in files]
    pixels = np.stack([np.asarray(s, dtype=np.float32) / 255 for s in shown])
    pixels = ((pixels - how["mean"]) / how["std"]).transpose(0, 3, 1, 2).astype(np.float32)
    (found,) = session(target).run(["logits"], {"pixel_values": pixels})
    np.testing.assert_allclose(found, open_model(image_run).logits(files), rtol=2e-3, atol=2e-3)
    assert {p.name for p in tmp_path.iterdir()} == {"letters.onnx", "letters.onnx.json"}


@pytest.mark.slow
def test_a_text_model_in_onnx_takes_any_number_of_texts_and_tokens(text_run, tmp_path):
    pytest.importorskip("onnxscript")
    export_model(open_model(text_run), tmp_path / "t.onnx", kind="onnx")
    about = json.loads((tmp_path / "t.onnx.json").read_text())
    assert [i["name"] for i in about["inputs"]] == ["input_ids", "attention_mask"]
    assert [i["shape"] for i in about["inputs"]] == [["batch", "tokens"]] * 2
    opened = session(tmp_path / "t.onnx")
    assert opened.get_inputs()[0].shape == ["batch", "tokens"]
    tokenizer = AutoTokenizer.from_pretrained(about["preprocessing"]["tokenizer"])
    most = about["preprocessing"]["max_tokens"]
    for texts in (TEXTS[:1], TEXTS, ["word " * 500, "x"]):
        fed = tokenizer(texts, padding=True, truncation=True, max_length=most, return_tensors="np")
        (found,) = opened.run(["logits"], {n: fed[n] for n in ("input_ids", "attention_mask")})
        np.testing.assert_allclose(found, open_model(text_run).logits(texts), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "text"])
def test_torch_export_reads_back(kind, image_run, text_run, letters, tmp_path):
    run, items = (image_run, sorted(letters.rglob("*.png"))[:3]) if kind == "image" else (text_run, TEXTS)
    model, target = open_model(run), tmp_path / "m.pt2"
    done = export_model(model, target, kind="torch-export")
    assert done.relative <= 1e-3
    program = torch.export.load(target).module()
    names = [i["name"] for i in json.loads(done.description.read_text())["inputs"]]
    opened = [Image.open(i).convert("RGB") for i in items] if kind == "image" else items
    for n in (1, len(items)):
        batch = model.backbone.collate(opened[:n])
        with torch.inference_mode():
            found = program(*(batch[name] for name in names)).numpy()
        np.testing.assert_allclose(found, model.logits(items[:n]), rtol=1e-3, atol=1e-4)


class Disturbed(TorchFormat):
    """Writes weights that are not the model's."""

    def __init__(self, by: float) -> None:
        self.by = by

    def write(self, traced, path):
        name = next(name for name in traced.program.state_dict if name.endswith("head.bias"))
        traced.program.state_dict[name] = torch.nn.Parameter(traced.program.state_dict[name] + self.by)
        super().write(traced, path)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "refused"), [(1.0, True), (1e-6, False), (float("nan"), True)])
def test_a_file_that_computes_something_else_is_not_left(by, refused, image_run, tmp_path, monkeypatch):
    monkeypatch.setitem(formats._entries, "disturbed", Disturbed(by))
    target = tmp_path / "m.pt2"
    if refused:
        with pytest.raises(SourceError, match="gives other logits"):
            export_model(open_model(image_run), target, kind="disturbed")
        assert list(tmp_path.iterdir()) == []
    else:
        assert export_model(open_model(image_run), target, kind="disturbed").difference > 0
        assert target.is_file()


def test_compare():
    a, b = [np.array([[1.0, -4.0]], dtype=np.float32)], [np.array([[1.5, -4.0]], dtype=np.float32)]
    assert compare(a, b) == (0.5, 0.125)
    assert compare(a, [np.zeros((2, 2), dtype=np.float32)]) == (float("inf"), float("inf"))


@pytest.mark.slow
def test_paths_that_cannot_be_written(image_run, tmp_path):
    model = open_model(image_run)
    with pytest.raises(InvalidInputError, match=r"must end in \.pt2"):
        export_model(model, tmp_path / "m.onnx", kind="torch-export")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        export_model(model, tmp_path / "no" / "m.pt2", kind="torch-export")
    with pytest.raises(NotFoundError, match="onnx, torch-export"):
        export_model(model, tmp_path / "m.tflite", kind="tflite")
    (tmp_path / "m.pt2").write_text("mine")
    arguments = ("export", image_run, "--format", "torch-export", "--out", tmp_path / "m.pt2")
    invoke(*arguments).failed("exists already", "--force")
    assert (tmp_path / "m.pt2").read_text() == "mine"
    invoke(*arguments, "--force").worked()
    assert (tmp_path / "m.pt2").stat().st_size > 10_000


def test_options_that_do_not_go_together(image_run, tmp_path):
    assert invoke("export", image_run, "--format", "onnx").code == 2
    assert invoke("export", "g.json", "--format", "json", "--out", "x").code == 2


@pytest.mark.slow
def test_without_onnxruntime_the_extra_is_named(image_run, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not here')\n")
    more = {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment(tmp_path)["PYTHONPATH"]])}
    command = [
        sys.executable,
        "-m",
        "expertise_graph",
        "export",
        str(image_run),
        "--format",
        "onnx",
        "--out",
        "m.onnx",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path, more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'expertise-graph[onnx]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.onnx").exists()
