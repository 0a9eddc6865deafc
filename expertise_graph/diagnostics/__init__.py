"""Advice on a dataset before training, and on a run after it."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.diagnostics.as_json import data_json
    from expertise_graph.diagnostics.data_check import check_data
    from expertise_graph.diagnostics.data_report import data_page
    from expertise_graph.diagnostics.feature_extractor import Choose, Lens, no_expert
    from expertise_graph.diagnostics.findings import DataFindings
    from expertise_graph.diagnostics.lines import data_lines
    from expertise_graph.diagnostics.page import check_writable, write
    from expertise_graph.diagnostics.record import RunRecord, is_run
    from expertise_graph.diagnostics.run_check import RunFindings, check_run, run_json, run_lines, run_page

__getattr__, __dir__, __all__ = door(__name__)
