"""Bringing what was measured elsewhere."""

from __future__ import annotations

from expertise_graph.registry import (
    DistanceOptions,
    File,
    HistoryOptions,
    ImportOptions,
    ImportReport,
    ScoreOptions,
    import_distances,
    import_history,
    import_meta,
    import_scores,
)
from expertise_graph.workspace.base import Opened

_DEFAULT_IMPORT = ImportOptions()
_DEFAULT_HISTORY = HistoryOptions()
_DEFAULT_SCORES = ScoreOptions()
_DEFAULT_DISTANCES = DistanceOptions()


class Importing(Opened):
    """Tables of results, scores, covariates and distances."""

    def import_history(self, file: File, options: HistoryOptions = _DEFAULT_HISTORY) -> ImportReport:
        """Store a table of measured results as transfer edges; see `imports.import_history`."""
        return import_history(self.store, file, options)

    def import_scores(self, file: File, options: ScoreOptions = _DEFAULT_SCORES) -> ImportReport:
        """Store a table of transferability scores; see `imports.import_scores`."""
        return import_scores(self.store, file, options)

    def import_meta(self, file: File, options: ImportOptions = _DEFAULT_IMPORT) -> ImportReport:
        """Store a table of covariates of experts; see `imports.import_meta`."""
        return import_meta(self.store, file, options)

    def import_distances(self, file: File, options: DistanceOptions = _DEFAULT_DISTANCES) -> ImportReport:
        """Store distances between tasks; see `imports.import_distances`."""
        return import_distances(self.store, file, options)
