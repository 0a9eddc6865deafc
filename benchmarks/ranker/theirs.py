#!/usr/bin/env python3
"""Rank the models with transformer-ranker twice in one process: theirs.py FOLDER [ESTIMATOR LAYERS]."""

import csv
import json
import sys
import time
from pathlib import Path

START = time.perf_counter()

from datasets import Dataset  # noqa: E402
from transformer_ranker import TransformerRanker  # noqa: E402

READY = time.perf_counter()


def rank(folder: Path, options: dict[str, str]) -> dict[str, float]:
    """Return the score of each model, everything done as a user would have it done."""
    with (folder / "glosses.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    data = Dataset.from_list([{"text": row["text"], "label": row["label"]} for row in rows])
    paths = sorted(str(path) for path in (folder / "models").iterdir())
    scores = TransformerRanker(data).run(paths, **options).scores
    return {Path(name).name: float(value) for name, value in scores.items()}


def main() -> None:
    """Print one line of JSON: seconds to import, to rank, to rank again, and the order."""
    folder, options = Path(sys.argv[1]), {}
    if len(sys.argv) > 2:
        options = {"estimator": sys.argv[2], "layer_aggregator": sys.argv[3]}
    result: dict[str, object] = {"import": READY - START}
    for name in ("first", "second"):
        start, cpu = time.perf_counter(), time.process_time()
        scores = rank(folder, options)
        result[name] = time.perf_counter() - start
        result[f"{name}_cpu"] = time.process_time() - cpu
    result["order"] = sorted(scores, key=lambda model: -scores[model])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
