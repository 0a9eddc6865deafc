"""Transferability estimators: how well frozen features explain labels; higher is better."""

from expertise_graph.transferability.logme import LOGME_VERSION, logme
from expertise_graph.transferability.ridge import RIDGE_VERSION, ridge_accuracy, ridge_predict

__all__ = ["LOGME_VERSION", "RIDGE_VERSION", "logme", "ridge_accuracy", "ridge_predict"]
