"""Transferability estimators: how well frozen features explain labels; higher is better."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.transferability.decomposition import Decomposition, decompose
    from expertise_graph.transferability.methods.alignment import kernel_target_alignment
    from expertise_graph.transferability.methods.gbc import gbc
    from expertise_graph.transferability.methods.hscore import h_score
    from expertise_graph.transferability.methods.knn import knn_accuracy
    from expertise_graph.transferability.methods.leep import leep, nce
    from expertise_graph.transferability.methods.logme import logme
    from expertise_graph.transferability.methods.nleep import nleep
    from expertise_graph.transferability.methods.parc import parc
    from expertise_graph.transferability.methods.probe import linear_probe_accuracy
    from expertise_graph.transferability.methods.ridge import ridge_accuracy, ridge_predict
    from expertise_graph.transferability.methods.sfda import sfda
    from expertise_graph.transferability.methods.transrate import transrate
    from expertise_graph.transferability.multi import score_many
    from expertise_graph.transferability.registry import Estimator, estimators

__getattr__, __dir__, __all__ = door(__name__)
