"""Advice before and after training, for people who know their subject rather than deep learning."""

from expertise_graph.advice.after import RunFindings, check_run, run_json, run_lines, run_page
from expertise_graph.advice.data_page import data_page
from expertise_graph.advice.examine import check_data
from expertise_graph.advice.findings import DataFindings
from expertise_graph.advice.lens import Choose, Lens, no_expert
from expertise_graph.advice.lines import data_lines
from expertise_graph.advice.page import check_writable, write
from expertise_graph.advice.plain import data_json
from expertise_graph.advice.record import RunRecord, is_run

__all__ = [
    "Choose",
    "DataFindings",
    "Lens",
    "RunFindings",
    "RunRecord",
    "check_data",
    "check_run",
    "check_writable",
    "data_json",
    "data_lines",
    "data_page",
    "is_run",
    "no_expert",
    "run_json",
    "run_lines",
    "run_page",
    "write",
]
