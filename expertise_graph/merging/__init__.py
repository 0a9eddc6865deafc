"""Merging models, sharing what a child learnt as a small file, and averaging such files."""

from expertise_graph.merging.apply import Applied, ApplySettings, apply_deltas
from expertise_graph.merging.delta import Delta, make_delta
from expertise_graph.merging.deltafile import read_delta, write_delta
from expertise_graph.merging.federated import Round, federated_round
from expertise_graph.merging.local import (
    ClassSums,
    accuracy_of,
    blank_head,
    class_sums,
    prototype_head,
    train_locally,
)
from expertise_graph.merging.merge import merge
from expertise_graph.merging.methods import fisher, greedy_soup, mean, task_arithmetic, ties
from expertise_graph.merging.models import Head, Model, open_expert, open_folder, open_model
from expertise_graph.merging.packing import Packing
from expertise_graph.merging.settings import METHODS, ChildResult, MergeResult, MergeSettings
from expertise_graph.merging.share import DeltaReport, share

__all__ = [
    "METHODS",
    "Applied",
    "ApplySettings",
    "ChildResult",
    "ClassSums",
    "Delta",
    "DeltaReport",
    "Head",
    "MergeResult",
    "MergeSettings",
    "Model",
    "Packing",
    "Round",
    "accuracy_of",
    "apply_deltas",
    "blank_head",
    "class_sums",
    "federated_round",
    "fisher",
    "greedy_soup",
    "make_delta",
    "mean",
    "merge",
    "open_expert",
    "open_folder",
    "open_model",
    "prototype_head",
    "read_delta",
    "share",
    "task_arithmetic",
    "ties",
    "train_locally",
    "write_delta",
]
