"""Advice before and after training, for people who know their subject rather than deep learning."""

from expertise_graph.advice.examine import check_data
from expertise_graph.advice.findings import DataFindings
from expertise_graph.advice.lens import Lens, no_expert

__all__ = ["DataFindings", "Lens", "check_data", "no_expert"]
