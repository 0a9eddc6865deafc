"""The estimators by name, each with its version, open to other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from expertise_graph.core import Registry
from expertise_graph.transferability.methods.alignment import ALIGNMENT_VERSION, kernel_target_alignment
from expertise_graph.transferability.methods.gbc import GBC_VERSION, gbc
from expertise_graph.transferability.methods.hscore import H_SCORE_VERSION, h_score
from expertise_graph.transferability.methods.knn import KNN_VERSION, knn_accuracy
from expertise_graph.transferability.methods.leep import LEEP_VERSION, NCE_VERSION, leep, nce
from expertise_graph.transferability.methods.logme import LOGME_VERSION, logme
from expertise_graph.transferability.methods.nleep import NLEEP_VERSION, nleep
from expertise_graph.transferability.methods.parc import PARC_VERSION, parc
from expertise_graph.transferability.methods.probe import PROBE_VERSION, linear_probe_accuracy
from expertise_graph.transferability.methods.ridge import RIDGE_VERSION, ridge_accuracy
from expertise_graph.transferability.methods.sfda import SFDA_VERSION, sfda
from expertise_graph.transferability.methods.transrate import TRANSRATE_VERSION, transrate

Needs = Literal["features", "source probabilities", "source labels"]


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A function `f(what it needs (n, ...), labels (n,)) -> float` as it is scored and stored.

    Attributes:
        version: changes whenever the values do; a stored score carries name and version.
        needs: what the first argument is: features (n, d), or answers of a source head.
        decomposed: whether it also takes what `decompose` returns in place of features.
    """

    name: str
    function: Callable[[Any, Any], float]
    version: str
    needs: Needs = "features"
    decomposed: bool = False
    higher_is_better: ClassVar[bool] = True

    def __call__(self, given: Any, labels: Any) -> float:
        """Return the score of `given` and labels; higher is better."""
        return self.function(given, labels)


estimators: Registry[Estimator] = Registry("estimator")
for _function, _version in (
    (gbc, GBC_VERSION),
    (h_score, H_SCORE_VERSION),
    (kernel_target_alignment, ALIGNMENT_VERSION),
    (knn_accuracy, KNN_VERSION),
    (linear_probe_accuracy, PROBE_VERSION),
    (logme, LOGME_VERSION),
    (nleep, NLEEP_VERSION),
    (parc, PARC_VERSION),
    (ridge_accuracy, RIDGE_VERSION),
    (sfda, SFDA_VERSION),
    (transrate, TRANSRATE_VERSION),
):
    _name = _function.__name__
    estimators.register(_name, Estimator(name=_name, function=_function, version=_version, decomposed=True))
estimators.register(
    "leep", Estimator(name="leep", function=leep, version=LEEP_VERSION, needs="source probabilities")
)
estimators.register("nce", Estimator(name="nce", function=nce, version=NCE_VERSION, needs="source labels"))
