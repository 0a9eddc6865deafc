"""Transferability estimators: how well frozen features explain labels; higher is better."""

from expertise_graph.transferability.alignment import kernel_target_alignment
from expertise_graph.transferability.catalogue import Estimator, estimators
from expertise_graph.transferability.decomposition import Decomposition, decompose
from expertise_graph.transferability.gbc import gbc
from expertise_graph.transferability.hscore import h_score
from expertise_graph.transferability.knn import knn_accuracy
from expertise_graph.transferability.leep import leep, nce
from expertise_graph.transferability.logme import LOGME_VERSION, logme
from expertise_graph.transferability.multi import score_many
from expertise_graph.transferability.nleep import nleep
from expertise_graph.transferability.parc import parc
from expertise_graph.transferability.probe import linear_probe_accuracy
from expertise_graph.transferability.ridge import RIDGE_VERSION, ridge_accuracy, ridge_predict
from expertise_graph.transferability.sfda import sfda
from expertise_graph.transferability.transrate import transrate

__all__ = [
    "LOGME_VERSION",
    "RIDGE_VERSION",
    "Decomposition",
    "Estimator",
    "decompose",
    "estimators",
    "gbc",
    "h_score",
    "kernel_target_alignment",
    "knn_accuracy",
    "leep",
    "linear_probe_accuracy",
    "logme",
    "nce",
    "nleep",
    "parc",
    "ridge_accuracy",
    "ridge_predict",
    "score_many",
    "sfda",
    "transrate",
]
