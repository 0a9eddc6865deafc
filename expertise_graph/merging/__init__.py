"""Merging models, sharing what a child learnt as a small file, and averaging such files."""

from expertise_graph.merging.merge import merge
from expertise_graph.merging.methods import fisher, greedy_soup, mean, task_arithmetic, ties
from expertise_graph.merging.settings import METHODS, ChildResult, MergeResult, MergeSettings

__all__ = [
    "METHODS",
    "ChildResult",
    "MergeResult",
    "MergeSettings",
    "fisher",
    "greedy_soup",
    "mean",
    "merge",
    "task_arithmetic",
    "ties",
]
