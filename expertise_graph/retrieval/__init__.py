"""Retrieval: which registered expert to start from for a task."""

from expertise_graph.retrieval.engine import LANDMARKS, answer_query
from expertise_graph.retrieval.evidence import Sample

__all__ = ["LANDMARKS", "Sample", "answer_query"]
