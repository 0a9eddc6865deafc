"""Real files for the tests: checkpoints that transformers wrote, pictures and texts of the examples."""

from __future__ import annotations

import csv
import functools
import json
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, ResNetConfig, ResNetModel

from expertise_graph.starter.contents import shipped
from tests.program import ROOT

LETTERS = ROOT / "examples" / "armenian-letters"
GLOSSES = ROOT / "examples" / "glosses"
TABLES = ("experts", "tasks", "probe_sets", "embeddings", "neighbours", "edges", "runs", "scores")


def starter(name: str, folder: Path) -> Path:
    """Copy a shipped expert into `folder` / `name`."""
    return Path(shutil.copytree(shipped()[name], folder / name))


def resnet(folder: Path, seed: int, *, noise: float = 0.0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a small ResNet: one of seed 0, moved by `noise` times another of `seed`."""
    model = _random_resnet(0 if noise else seed)
    if noise:
        other = dict(_random_resnet(seed).named_parameters())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.add_(other[name], alpha=noise)
    model.to(dtype).save_pretrained(folder)
    shutil.copy(shipped()["emoji"] / "preprocessor_config.json", folder)
    return folder


def _random_resnet(seed: int) -> ResNetModel:
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNetModel(config)


def bert(folder: Path, seed: int, *, positions: int = 128) -> Path:
    """Write a small BERT with the tokenizer of a shipped expert."""
    config = BertConfig(
        vocab_size=3200,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped()["languages"] / name, folder)
    return folder


def pictures(root: Path, classes: int, per_class: int, *, splits: Sequence[str] = ("train",)) -> Path:
    """Copy pictures of the first letters: root/letter/n.png, or root/split/letter/n.png for splits."""
    for split in splits:
        for letter in sorted((LETTERS / split).iterdir())[:classes]:
            target = root / letter.name if len(splits) == 1 else root / split / letter.name
            target.mkdir(parents=True)
            for picture in sorted(letter.iterdir())[:per_class]:
                shutil.copy(picture, target)
    return root


@functools.cache
def pace() -> float:
    """Return by what to multiply seconds on a machine that has other things to do: 1 to 4, found out once."""
    started, work = time.perf_counter(), time.process_time() + 0.3
    while time.process_time() < work:
        pass
    return round(min((time.perf_counter() - started) / 0.3, 4.0), 1)


def gloss_rows(n: int, fields: int = 4) -> list[tuple[str, str]]:
    """Return (text, field) rows of the first fields, `n` of each."""
    with (GLOSSES / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    wanted = sorted({label for _, label in rows})[:fields]
    return [row for name in wanted for row in [r for r in rows if r[1] == name][:n]]


def glosses(path: Path, n: int, fields: int = 4) -> Path:
    """Write a table with the columns text and label."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *gloss_rows(n, fields)])
    return path


def counts(workspace: Path) -> dict[str, int]:
    """Return the number of rows of each table of a workspace."""
    db = sqlite3.connect(workspace / "registry.db")
    try:
        return {t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in TABLES}
    finally:
        db.close()


def change_json(path: Path, **changes: object) -> None:
    """Replace keys of a JSON object in a file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
