"""The settings that are varied, one at a time around those of the package."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from expertise_graph.retrieval.reliability import AFFINITY, ALIGNMENT, EXPECTED, LOGME, RIDGE

Values = Mapping[str, Any]


def _trust(own: float = EXPECTED[LOGME], affinity: float = EXPECTED[AFFINITY]) -> Values:
    return {"reliability.EXPECTED": {LOGME: own, RIDGE: own, ALIGNMENT: own, AFFINITY: affinity}}


SETTINGS: Mapping[str, Values] = {
    "as in the package": {},
    "graph share 0": {"predict.GRAPH_SHARE": 0.0},
    "graph share .6": {"predict.GRAPH_SHARE": 0.6},
    "trust in own scores .6": _trust(own=0.6),
    "trust in own scores .85": _trust(own=0.85),
    "trust in affinity .2": _trust(affinity=0.2),
    "trust in scores unknown .5": {"reliability._EXPECTED_OF_OTHERS": 0.5},
    "noise .05": {"forecast.NOISE": 0.05},
    "noise .2": {"forecast.NOISE": 0.2},
    "common factor .1": {"factors._COMMON": 0.1},
    "like tasks at most .5": {"factors._MOST_OWN": 0.5},
    "covariates at most .7": {"forecast._LARGEST_SHARE": 0.7},
    "covariates untried .5": {"forecast._UNTRIED_SHARE": 0.5},
    "traits at most 6": {"residuals.MOST_TRAITS": 6},
    "surprise always credible": {"predict.CREDIBLE": 1.0},
    "surprise credible up to usual": {"predict.CREDIBLE": 0.5},
}


@contextmanager
def changed(values: Values) -> Iterator[None]:
    """Give settings of `expertise_graph.retrieval` other values for a while; by module and name."""
    before = []
    for name, value in values.items():
        module, setting = name.split(".")
        owner = importlib.import_module(f"expertise_graph.retrieval.{module}")
        before.append((owner, setting, getattr(owner, setting)))
        setattr(owner, setting, value)
    try:
        yield
    finally:
        for owner, setting, value in before:
            setattr(owner, setting, value)
