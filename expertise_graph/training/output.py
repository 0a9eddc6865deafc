"""What a finished run leaves: backbone, head, history and a model card."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, NotFoundError
from expertise_graph.data import CLASS, VALUE, LabelledData
from expertise_graph.models import Backbone, write_native
from expertise_graph.training.checkpoints import write_tensors
from expertise_graph.training.optimizer import Classifier
from expertise_graph.training.result import TrainResult
from expertise_graph.training.run_folder import remove, sync, write_json, write_text
from expertise_graph.training.strategy import Strategy, strategies

TESTED = "test.safetensors"
"""Logits of the test items, in the order of the split."""


def write_outputs(
    out: Path,
    backbone: Backbone,
    classifier: Classifier,
    *,
    result: TrainResult,
    tested: torch.Tensor,
    data: LabelledData,
    expert: Expert | None,
) -> None:
    """Write ``model/``, the head, what it says on the test items, ``history.json`` and ``README.md``."""
    remove(out / "model")
    native = save_backbone(out / "model", backbone, classifier, result=result, data=data, expert=expert)
    for path in (out / "model").rglob("*"):
        sync(path)
    write_tensors(out / "head.safetensors", classifier.head.state_dict())
    write_tensors(out / TESTED, {"logits": tested})
    head = {
        "classes": list(data.outputs),
        "kind": data.kind,
        "temperature": result.temperature,
        "trusted_code": bool(expert and expert.trusted_code),
        "modality": data.modality,
        "dim": backbone.dim,
        "metric": result.metric,
        "accuracy": result.accuracy,
        "seen": result.seen,
        "task": data.task.id,
        "expert": expert.id if expert else None,
        "strategy": result.strategy,
    }
    write_json(out / "head.json", head)
    write_json(out / "history.json", [dict(row) for row in result.history])
    write_text(out / "README.md", model_card(result, data, expert, note=native))


def check_outputs(out: Path) -> None:
    """Raise NotFoundError when a file of a finished model is missing or empty."""
    for path in (out / "head.safetensors", out / "head.json"):
        if not path.is_file() or not path.stat().st_size:
            raise NotFoundError(f"{path} is missing or empty: train it again, with --force")
    check_backbone(out)


def check_backbone(out: Path) -> None:
    """Raise NotFoundError when the folder of a run has no ``model/``, or nothing in it."""
    if not (out / "model").is_dir() or not any((out / "model").iterdir()):
        raise NotFoundError(f"{out} holds no model/: train it again, with --force")


def save_backbone(
    folder: Path,
    backbone: Backbone,
    classifier: Classifier,
    *,
    result: TrainResult,
    data: LabelledData,
    expert: Expert | None,
) -> str:
    """Write what was trained: the whole backbone, or what the strategy puts beside the expert's weights.

    Returns:
        A sentence that says how the model is loaded without this package, or why it is not.
    """
    save, module = strategies[result.strategy].save, classifier.backbone.eval().cpu()
    if save is not None and expert is not None:
        save(module, expert, folder)
        return f"It is an adapter: it is loaded beside the weights of its parent, {plain(expert.name)}."
    backbone.save(module, folder)
    form = write_native(module, classifier.head, folder, classes=data.outputs, kind=data.kind)
    return f"{form.note[:1].upper()}{form.note[1:]}."


def load_model(module: nn.Module, head: Path) -> tuple[Classifier, tuple[str, ...]]:
    """Return the classifier of a finished run and the names of its classes.

    Args:
        module: the backbone, as read back from ``model/``.
        head: the folder that holds ``head.safetensors`` and ``head.json``.

    Raises:
        NotFoundError: when there is no head in the folder.
        InvalidInputError: when the files do not belong together.
    """
    weights, description = head / "head.safetensors", head / "head.json"
    for path in (weights, description):
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist: give the --out folder of a finished warm start")
    tensors = load_file(weights)
    classes = tuple(json.loads(description.read_text(encoding="utf-8"))["classes"])
    if set(tensors) != {"weight", "bias"} or tensors["weight"].shape[:1] != tensors["bias"].shape:
        raise InvalidInputError(f"{weights} is not a linear head with weight and bias")
    if len(classes) != len(tensors["bias"]):
        raise InvalidInputError(
            f"{head} has a head for {len(tensors['bias'])} classes and names {len(classes)}: train it again"
        )
    linear = nn.Linear(tensors["weight"].shape[1], len(classes))
    with torch.no_grad():
        linear.weight.copy_(tensors["weight"])
        linear.bias.copy_(tensors["bias"])
    return Classifier(module, linear).eval(), classes


def model_card(result: TrainResult, data: LabelledData, expert: Expert | None, *, note: str = "") -> str:
    """Return a model card in the format of the Hugging Face Hub: YAML front matter, then prose.

    Args:
        result: what training reached.
        data: what it was trained on.
        expert: what it was trained from.
        note: a sentence on how to load it.
    """
    title = f"{expert.name if expert else 'model'} for {data.name}"
    front = _front_matter(title, result, data, expert)
    prose = _prose(title, result, data, expert)
    return "\n".join(["---", *front, "---", "", *prose, note, ""])


def with_remark(card: str, remark: str) -> str:
    """Return a model card with a paragraph below its title, in place of an earlier one."""
    before, title, after = card.partition("\n# ")
    name, _, rest = after.partition("\n")
    table = max(rest.find("| | |"), 0)
    return f"{before}{title}{name}\n\n{remark}\n\n{rest[table:].lstrip()}"


def _front_matter(title: str, result: TrainResult, data: LabelledData, expert: Expert | None) -> list[str]:
    task = f"{data.modality}-{'regression' if data.kind == VALUE else 'classification'}"
    name = result.metric
    metric = {"type": name, "name": f"{_words(name)} on held-out items", "value": round(result.accuracy, 6)}
    entry = {
        "task": {"type": task},
        "dataset": {"name": data.name, "type": data.name},
        "metrics": [metric],
    }
    way = strategies[result.strategy]
    fields: dict[str, Any] = {
        "license": expert.license if expert else UNKNOWN,
        "base_model": _base_model(expert) if way.pretrained else None,
        "base_model_relation": (_relation(way) if expert and way.pretrained else None),
        "datasets": [data.name],
        "metrics": [result.metric],
        "pipeline_tag": task,
        "tags": ["expertise-graph"],
        "model-index": [{"name": title, "results": [entry]}],
    }
    # JSON is YAML: names with colons, quotes or line breaks stay what they are.
    return [f"{key}: {json.dumps(value)}" for key, value in fields.items() if value is not None]


def _prose(title: str, result: TrainResult, data: LabelledData, expert: Expert | None) -> list[str]:
    origin = f"`{plain(expert.id)}`" if expert else "no registered expert"
    name = _words(result.metric)
    rows: Mapping[str, object] = {
        f"{name} on the test split": f"{result.accuracy:.4f} ({result.n_test} items)",
        f"{name} on the validation split": f"{result.validation_accuracy:.4f} ({result.n_validation} items)",
        "items trained on": result.n_train,
        "classes" if data.kind == CLASS else data.kind: len(data.outputs),
        "strategy": f"{result.strategy} ({strategies[result.strategy].summary})",
        "augmentation": result.augmentation,
        "temperature": f"{result.temperature:.3f}",
        "architecture from": origin,
        "epochs run, epoch kept": f"{result.epochs}, {result.kept_epoch}",
        "stopped by": result.stopped,
        "steps": result.steps,
        "seconds": f"{result.seconds:.1f}",
        "peak memory": f"{result.peak_memory / 1e6:.0f} MB",
        "seed": result.seed,
        "data": f"`{data.sha256}`",
        "versions": ", ".join(f"{name} {found}" for name, found in _versions().items()),
    }
    return [
        f"# {plain(title)}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        *([f"{plain(result.note)}.", ""] if result.note else []),
        "The test split took no part in this training or in the choice of its epoch. `model/` holds the",
        "backbone, `head.safetensors` the linear classifier on it, `head.json` the names of the classes.",
    ]


def _relation(way: Strategy) -> str:
    return "finetune" if way.save is None else "adapter"


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _base_model(expert: Expert | None) -> str | None:
    if expert is None:
        return None
    scheme, _, rest = expert.id.partition(":")
    return rest.split("@")[0] if scheme == "hf" else expert.id


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{n: version(n) for n in ("torch", "accelerate")}}


def plain(text: str) -> str:
    """Keep a name from breaking out of its line or its table cell."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.replace("|", "/").replace("`", "'").split())
