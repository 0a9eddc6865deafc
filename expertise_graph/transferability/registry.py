"""The estimators by name, each with its version, open to other packages.

An estimator's module, and with it torch, is imported when the estimator is first called: a query whose
scores are stored needs only names and versions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from expertise_graph.core import Registry

Needs = Literal["features", "source probabilities", "source labels"]


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A function `f(what it needs (n, ...), labels (n,)) -> float` as it is scored and stored.

    Attributes:
        function: itself, or ``module:name``, to be imported when it is first called.
        version: changes whenever the values do; a stored score carries name and version.
        needs: what the first argument is: features (n, d), or answers of a source head.
        decomposed: whether it also takes what `decompose` returns in place of features.
    """

    name: str
    function: Callable[..., float] | str
    version: str
    needs: Needs = "features"
    decomposed: bool = False
    higher_is_better: ClassVar[bool] = True

    @cached_property
    def imported(self) -> Callable[..., float]:
        """The function itself."""
        if callable(self.function):
            return self.function
        module, _, name = self.function.partition(":")
        function: Callable[..., float] = getattr(importlib.import_module(module), name)
        return function

    def __call__(self, given: Any, labels: Any) -> float:
        """Return the score of `given` and labels; higher is better."""
        return self.imported(given, labels)


estimators: Registry[Estimator] = Registry("estimator")


def _built_in(name: str, module: str, version: str, needs: Needs = "features") -> None:
    """Register the function called `name` of a module in `methods`."""
    estimators.register(
        name,
        Estimator(
            name=name,
            function=f"{__package__}.methods.{module}:{name}",
            version=version,
            needs=needs,
            decomposed=needs == "features",
        ),
    )


_built_in("gbc", "gbc", "1")
_built_in("h_score", "hscore", "1")
_built_in("kernel_target_alignment", "alignment", "1")
_built_in("knn_accuracy", "knn", "1")
_built_in("leep", "leep", "1", needs="source probabilities")
_built_in("linear_probe_accuracy", "probe", "1")
_built_in("logme", "logme", "1")
_built_in("nce", "leep", "1", needs="source labels")
_built_in("nleep", "nleep", "1")
_built_in("parc", "parc", "1")
_built_in("ridge_accuracy", "ridge", "1")
_built_in("sfda", "sfda", "1")
_built_in("transrate", "transrate", "1")
