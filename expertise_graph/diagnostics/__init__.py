"""Advice on a dataset before training, and on a run after it."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.diagnostics.data_check import check_data
    from expertise_graph.diagnostics.data_report import data_json, report_on_data
    from expertise_graph.diagnostics.findings import DataFindings
    from expertise_graph.diagnostics.finished_run import FinishedRun
    from expertise_graph.diagnostics.items import FeatureExtractor, no_expert
    from expertise_graph.diagnostics.report import Report, check_writable
    from expertise_graph.diagnostics.run_check import RunFindings, check_run, report_on_run, run_json

__getattr__, __dir__, __all__ = door(__name__)
