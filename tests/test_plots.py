"""Plots are whole PNG files that show what they are given."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from PIL import Image

from expertise_graph.models import RunFolder
from expertise_graph.plots import draw_confusion, draw_graph, draw_histories

GREEN, GREY = (0x2E, 0x8B, 0x57), (0x9A, 0x9A, 0x9A)


def pixels_of(path, mode="RGB"):
    with Image.open(path) as image:
        return np.asarray(image.convert(mode)).astype(int)


def rows_of(path, colour):
    """Return the heights, from the top, of the pixels of a colour."""
    pixels = pixels_of(path)
    return np.nonzero((np.abs(pixels - np.array(colour)) < 12).all(axis=2))[0]


def run_folder(path, accuracies):
    path.mkdir(parents=True)
    rows = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in enumerate(accuracies)]
    RunFolder(path).write_history(rows)


def test_the_warm_start_is_drawn_above_a_worse_cold_start(tmp_path):
    for task in ("a", "b"):
        run_folder(tmp_path / task, [0.8, 0.9, 0.95])
        run_folder(tmp_path / task / "cold", [0.1, 0.2, 0.3])
    path = tmp_path / "curves.png"
    draw_histories({"a": tmp_path / "a", "b": tmp_path / "b"}, path)
    assert pixels_of(path).shape == (408, 2 * 504, 3)
    assert np.median(rows_of(path, GREEN)) < 0.5 * np.median(rows_of(path, GREY))


def test_a_confusion_matrix_is_dark_where_items_are(tmp_path):
    path = tmp_path / "confusion.png"
    draw_confusion(np.array([[9, 0], [0, 9]]), ["a $x$ class", "b" * 60], path)
    dark = pixels_of(path, "L") < 80
    draw_confusion(np.array([[0, 9], [9, 0]]), ["a $x$ class", "b" * 60], path)
    swapped = pixels_of(path, "L") < 80
    assert dark.shape == swapped.shape
    height, width = dark.shape
    corner = (slice(height // 8, height // 4), slice(width // 2, 5 * width // 8))
    assert dark.mean() == pytest.approx(swapped.mean(), abs=0.02)
    assert (dark != swapped).mean() > 0.1
    assert swapped[corner].mean() != dark[corner].mean()


def test_a_graph_has_a_spot_for_each_node_of_its_kind(tmp_path):
    graph = nx.MultiDiGraph()
    graph.add_node("e1", kind="expert", name="letters")
    graph.add_node("t1", kind="task", name="digits")
    graph.add_edge("e1", "t1", kind="transfer", weight=0.9)
    path = tmp_path / "graph.png"
    draw_graph(graph, path, title="around letters")
    assert pixels_of(path).shape == (780, 1080, 3)
    assert len(rows_of(path, (0x3B, 0x6F, 0xB6))) > 100
    assert len(rows_of(path, (0xD1, 0x49, 0x5B))) > 100


def test_nothing_is_left_of_a_plot_that_fails(tmp_path):
    run_folder(tmp_path / "a", [0.5])
    with pytest.raises(Exception, match="missing"):
        draw_histories({"a": tmp_path / "a"}, tmp_path / "curves.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
