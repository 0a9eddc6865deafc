"""Histories whose groups of experts and tasks are planted, and how they come into a workspace."""

from __future__ import annotations

import csv

import numpy as np

from tests.program import invoke


def planted(seed, *, experts=40, tasks=10, groups=2, noise=0.4):
    """Return results (experts, tasks), of quality that is general and of one kind of task, and the kinds."""
    rng = np.random.default_rng(seed)
    kind = np.arange(tasks) % groups
    quality, special = rng.normal(size=(experts, 1)), rng.normal(size=(experts, groups))
    odds = 0.5 * quality + special[:, kind] + noise * rng.normal(size=(experts, tasks))
    return 1.0 / (1.0 + np.exp(-odds)), kind


def write(path, rows):
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def table(values, metric="accuracy"):
    """Return rows of a history; what is NaN is left out."""
    return [
        {"expert": f"e{i:02}", "task": f"t{j:02}", "metric": metric, "value": repr(float(value))}
        for (i, j), value in np.ndenumerate(values)
        if not np.isnan(value)
    ]


def bring(folder, values, kind=None, *, metric="accuracy", options=()):
    """Import results and, where the kinds of tasks are given, distances and scores that know them."""
    path = write(folder / "results.csv", table(values, metric))
    invoke("history", "import", path, *options).worked()
    if kind is None:
        return
    pairs = [(a, b) for a in range(len(kind)) for b in range(a)]
    far = [
        {"task": f"t{a:02}", "other": f"t{b:02}", "distance": 1.0 + 2.0 * (kind[a] != kind[b])}
        for a, b in pairs
    ]
    invoke("tasks", "import-distance", write(folder / "distances.csv", far)).worked()
