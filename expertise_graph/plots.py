"""Plots as PNG files: accuracy by epoch, confusion matrices, the graph around a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from expertise_graph.core import replacing, shorten
from expertise_graph.models import RunFolder
from expertise_graph.registry import Graph, layout

# Characters of a class name that fit beside a confusion matrix without shrinking it.
_NAME = 24

# Classes up to which counts fit into the cells, and side in inches from which a matrix does not grow further.
_COUNTED, _LARGEST = 40, 24.0

_DOTS_PER_INCH = 120
_COLOURS = {"expert": "#3b6fb6", "task": "#d1495b", "reference": "#9a9a9a"}
_EDGES = {"similarity": "#9db4d0", "lineage": "#2e8b57", "suspected": "#a9d3b8", "transfer": "#d1495b"}


def draw_histories(runs: Mapping[str, Path], path: Path) -> None:
    """Write a PNG with one panel per task: validation accuracy of the warm and the cold start.

    Args:
        runs: by task, the folder of a run that was compared with a cold start.
        path: of the file, which is written whole or not at all.
    """
    figure = Figure(figsize=(4.2 * len(runs), 3.4), layout="constrained")
    for place, (task, folder) in enumerate(runs.items(), 1):
        axes = figure.add_subplot(1, len(runs), place)
        for label, part, colour in (
            ("warm start", folder, "#2e8b57"),
            ("from scratch", folder / "cold", "#9a9a9a"),
        ):
            rows = RunFolder(part).history()
            epochs, accuracies = zip(*((r["epoch"], r["validation_accuracy"]) for r in rows), strict=True)
            axes.plot(epochs, accuracies, label=label, color=colour, marker=".")
        axes.set(title=task, xlabel="epoch", ylim=(0, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, loc="lower right")
    figure.axes[0].set_ylabel("validation accuracy")
    _save(figure, path)


def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Write a PNG of a confusion matrix: each row is a class, shaded by the share of its items.

    Args:
        confusion: (classes, classes) counts, rows by label and columns by prediction.
        classes: their names.
        path: of the file, which is written whole or not at all.
    """
    side = min(_LARGEST, 2.4 + 0.32 * len(classes))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # matplotlib reads what stands between dollar signs as mathematics.
    names = [shorten(name, _NAME).replace("$", r"\$") for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="class")
    for row, column in np.argwhere(confusion) if len(names) <= _COUNTED else ():
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, size=7)
    figure.colorbar(image, label="share of the class", shrink=0.8)
    _save(figure, path)


def draw_graph(graph: Graph, path: Path, *, title: str = "") -> None:
    """Write a PNG of a small graph: experts, tasks and the edges between them."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.add_subplot()
    places = layout(graph)
    drawn = set()
    for source, target, attributes in graph.edges(data=True):
        kind = attributes["kind"]
        (x0, y0), (x1, y1) = places[source], places[target]
        width = 0.6 + 2.5 * max(0.0, float(attributes["weight"]))
        label = None if kind in drawn else kind
        axes.plot([x0, x1], [y0, y1], color=_EDGES[kind], lw=width, alpha=0.7, zorder=1, label=label)
        drawn.add(kind)
    for node, attributes in graph.nodes(data=True):
        x, y = places[node]
        axes.scatter([x], [y], s=160, color=_COLOURS[attributes["kind"]], zorder=2)
        axes.annotate(
            attributes["name"], (x, y), xytext=(0, 10), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_axis_off()
    axes.margins(0.12)
    axes.set_title(title, loc="left")
    if drawn:
        axes.legend(frameon=False, loc="lower left")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, format="png")
