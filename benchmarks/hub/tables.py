"""Published results as histories: experts x tasks, on the scale that the engine works on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from published import published

Array = NDArray[np.float64]

FEWEST = 8
"""Results that a task needs to be held out, and an expert two to be in the table."""

ZERO_SHOT_NAMES: Mapping[str, str] = {
    "siglip-base-patch16-224": "ViT-B-16-SigLIP|webli",
    "siglip-base-patch16-256": "ViT-B-16-SigLIP-256|webli",
    "siglip-base-patch16-256-multilingual": "ViT-B-16-SigLIP-i18n-256|webli",
    "siglip-base-patch16-384": "ViT-B-16-SigLIP-384|webli",
    "siglip-base-patch16-512": "ViT-B-16-SigLIP-512|webli",
    "siglip-large-patch16-256": "ViT-L-16-SigLIP-256|webli",
    "siglip-large-patch16-384": "ViT-L-16-SigLIP-384|webli",
    "siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384|webli",
    "CLIP-ViT-B-16-DataComp.XL-s13B-b90K": "ViT-B-16|datacomp_xl_s13b_b90k",
    "CLIP-ViT-B-32-DataComp.XL-s13B-b90K": "ViT-B-32|datacomp_xl_s13b_b90k",
    "CLIP-ViT-B-32-laion2B-s34B-b79K": "ViT-B-32|laion2b_s34b_b79k",
    "CLIP-ViT-H-14-laion2B-s32B-b79K": "ViT-H-14|laion2b_s32b_b79k",
    "CLIP-ViT-L-14-DataComp.XL-s13B-b90K": "ViT-L-14|datacomp_xl_s13b_b90k",
    "CLIP-ViT-L-14-laion2B-s32B-b82K": "ViT-L-14|laion2b_s32b_b82k",
    "CLIP-ViT-bigG-14-laion2B-39B-b160k": "ViT-bigG-14|laion2b_s39b_b160k",
    "CLIP-ViT-g-14-laion2B-s34B-b88K": "ViT-g-14|laion2b_s34b_b88k",
    "clip-vit-base-patch16": "ViT-B-16|openai",
    "clip-vit-base-patch32": "ViT-B-32|openai",
    "clip-vit-large-patch14": "ViT-L-14|openai",
    "EVA02-CLIP-B-16": "EVA02-B-16|merged2b_s8b_b131k",
    "EVA02-CLIP-L-14": "EVA02-L-14|merged2b_s4b_b131k",
    "EVA02-CLIP-bigE-14": "EVA02-E-14|laion2b_s4b_b115k",
    "EVA02-CLIP-bigE-14-plus": "EVA02-E-14-plus|laion2b_s9b_b144k",
}
"""What open_clip calls experts of the image table."""


def tables() -> Iterator[tuple[str, Array]]:
    """Yield the name and the accuracies (E, T), NaN where none was measured, of each table."""
    for name in ("audio", "image", "text"):
        yield f"mteb {name}", _long(published("mteb") / f"{name}.csv", "expert", "task", "value")
    yield "open_clip", _long(published("open_clip") / "results.csv", "expert", "task", "value")
    yield "vtab", _long(published("vtab_leaderboard") / "results_1000.csv", "expert", "task", "value")
    records = published("transfergraph_image") / "records.csv"
    yield "transfergraph", _long(records, "model", "finetuned_dataset", "eval_accuracy", without="food101")
    yield "recycling", recycling()


def recycling() -> Array:
    """Return the accuracies (E, T) of model-recycling's fine-tunes of roberta-base."""
    return _wide(published("model_recycling") / "roberta_base_models.csv")


def image_results() -> Iterator[tuple[str, str, str, float]]:
    """Yield protocol, expert, task and accuracy of the tables of images; an expert of two has one name."""
    known = published("mteb") / "image.csv"
    for (expert, task), value in best_of(known, "expert", "task", "value").items():
        yield "linear probe", ZERO_SHOT_NAMES.get(expert.rpartition("/")[2], expert), task, value
    for name, folder, file in (
        ("zero-shot", "open_clip", "results.csv"),
        ("vtab", "vtab_leaderboard", "results_1000.csv"),
    ):
        for (expert, task), value in best_of(published(folder) / file, "expert", "task", "value").items():
            yield name, expert, task, value
    records = published("transfergraph_image") / "records.csv"
    for (expert, task), value in best_of(records, "model", "finetuned_dataset", "eval_accuracy").items():
        if task != "food101":
            yield "fine-tuned", expert, task, value


def best_of(
    path: Path, expert: str, task: str, value: str, *, metrics: Sequence[str] = ("accuracy",)
) -> dict[tuple[str, str], float]:
    """Return the best value of each expert on each task of a long table."""
    best: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("metric", metrics[0]) in metrics and row[value]:
                key = row[expert], row[task]
                best[key] = max(best.get(key, -np.inf), float(row[value]))
    return best


def _long(path: Path, expert: str, task: str, value: str, *, without: str = "") -> Array:
    found_best = best_of(path, expert, task, value)
    best = {(e, t): v for (e, t), v in found_best.items() if t != without}
    experts, tasks = sorted({e for e, _ in best}), sorted({t for _, t in best})
    found = np.full((len(experts), len(tasks)), np.nan)
    rows, columns = {e: i for i, e in enumerate(experts)}, {t: j for j, t in enumerate(tasks)}
    for (e, t), accuracy in best.items():
        found[rows[e], columns[t]] = accuracy
    return _dense_enough(found)


def _wide(path: Path) -> Array:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = {
        "model_name", "base_model", "size", "tokenizer", "model_type", "classification", "layers",
        "from_flax", "from_tf", "last_modified", "mnli_lp", "avg", "rank",
    }  # fmt: skip
    names = [n for n in rows[0] if n not in other]
    found = np.array([[_number(row[n]) for n in names] for row in rows])
    found = found[:, ~np.isnan(found).all(axis=0)]
    return _dense_enough(found / 100.0 if np.nanmax(found) > 1 else found)


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return np.nan


def _dense_enough(found: Array) -> Array:
    while True:
        rows, columns = (~np.isnan(found)).sum(axis=1) >= 2, (~np.isnan(found)).sum(axis=0) >= FEWEST
        if rows.all() and columns.all():
            return found
        found = found[rows][:, columns]
