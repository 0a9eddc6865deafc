"""Bring your own history: results, scores, covariates and task distances from tables of others."""

from expertise_graph.imports.distances import import_distances
from expertise_graph.imports.history import import_history
from expertise_graph.imports.meta import import_meta
from expertise_graph.imports.options import (
    DistanceOptions,
    HistoryOptions,
    ImportOptions,
    ScoreOptions,
)
from expertise_graph.imports.report import ImportReport
from expertise_graph.imports.scores import import_scores
from expertise_graph.imports.table import File

__all__ = [
    "DistanceOptions",
    "File",
    "HistoryOptions",
    "ImportOptions",
    "ImportReport",
    "ScoreOptions",
    "import_distances",
    "import_history",
    "import_meta",
    "import_scores",
]
