"""What is searched: expert and settings of the training together, as parameters of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expertise_graph.core import Z_80, Candidate, Expert
from expertise_graph.data import LabelledData, known_modalities
from expertise_graph.training import TrainConfig

# Parameters from which low-rank adapters are tried; smaller networks are trained whole in the same time.
ADAPTERS_FROM = 20_000_000
# Peak learning rates that are tried. Up to 3e-2 the result of searches of 30 s was .656 -> .652 on fifteen
# tuning cases (LOG.md).
RATES = (3e-4, 5e-3)
# Experts that are less probably the best are not tried: one trial in fifty would be theirs.
LEAST_PROBABILITY = 0.02


@dataclass(frozen=True)
class Between:
    """A number between two others, drawn evenly or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    def nearest(self, value: Any) -> float:
        """Return the value moved into the range."""
        return min(max(float(value), self.low), self.high)


@dataclass(frozen=True)
class OneOf:
    """One of several values."""

    values: tuple[Any, ...]

    def nearest(self, value: Any) -> Any:
        """Return the value where it is one of these, else the nearest number or the first."""
        if value in self.values:
            return value
        numbers = [v for v in self.values if isinstance(v, int | float) and isinstance(value, int | float)]
        return min(numbers, key=lambda v: abs(v - value)) if numbers else self.values[0]


Dimension = Between | OneOf


@dataclass(frozen=True)
class Contender:
    """An expert that may be tried.

    Attributes:
        probability: of being the best, as the query says.
        predicted: accuracy, or percentile where the query knows no more.
        deviation: of the prediction, one standard deviation.
    """

    expert: Expert
    probability: float
    predicted: float
    deviation: float


def contenders_of(candidates: Sequence[Candidate], most: int) -> list[Contender]:
    """Return the first candidates that have weights here, with their shares of the probability.

    Those that are hardly ever the best are left out, the first never is.
    """
    found = [c for c in candidates if c.expert.runnable]
    likely = [c for i, c in enumerate(found) if i == 0 or c.p_best >= LEAST_PROBABILITY][:most]
    shares = [max(c.p_best, LEAST_PROBABILITY) for c in likely]
    return [
        Contender(c.expert, share / sum(shares), c.predicted, (c.high - c.low) / (2 * Z_80))
        for c, share in zip(likely, shares, strict=True)
    ]


class Space:
    """The parameters of a trial, and what they mean.

    The expert is a number in [0, 1): each has an interval as long as its probability, the best first,
    so that a uniform draw gives the experts with their probabilities, and near numbers near ranks.
    """

    def __init__(
        self, contenders: Sequence[Contender], data: LabelledData, strategies: Sequence[str], seed: int
    ) -> None:
        self.contenders, self.seed = list(contenders), seed
        large = any(e.expert.params >= ADAPTERS_FROM for e in contenders)
        self.strategies = [s for s in strategies if s != "lora" or large or len(strategies) == 1]
        self.edges = np.cumsum([e.probability for e in contenders])
        self.augmented = known_modalities[data.modality].augmented

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The parameters; those that mean nothing to a strategy are drawn and not used."""
        found: dict[str, Dimension] = {
            "expert": Between(0.0, 1.0),
            "strategy": OneOf(tuple(self.strategies)),
            "lr": Between(*RATES, log=True),
            "weight_decay": Between(1e-3, 0.3, log=True),
            "epochs": OneOf((10, 20, 40)),
        }
        if self.augmented:
            found["augment"] = OneOf((True, False))
        if "l2-sp" in self.strategies:
            found["prior"] = Between(1e-3, 0.3, log=True)
        if "lora" in self.strategies:
            found["rank"] = OneOf((4, 8, 16))
        return found

    @property
    def defaults(self) -> TrainConfig:
        """The settings of the first trial."""
        return TrainConfig(strategy=self.strategies[0], seed=self.seed)

    def meaning(self, params: Mapping[str, Any]) -> tuple[Contender, TrainConfig]:
        """Return the expert and the settings that parameters stand for."""
        place = min(
            int(np.searchsorted(self.edges, params["expert"], side="right")), len(self.contenders) - 1
        )
        used = {n: params[n] for n in ("strategy", "lr", "weight_decay", "epochs", "augment") if n in params}
        if used["strategy"] == "l2-sp":
            used["prior"] = params["prior"]
        if used["strategy"] == "lora":
            used["rank"] = params["rank"]
        return self.contenders[place], TrainConfig(seed=self.seed, **used)

    def parameters(self, contender: Contender, config: TrainConfig) -> dict[str, Any]:
        """Return the parameters that stand for an expert and settings, moved into the space."""
        values: dict[str, Any] = {**config.as_dict(), "expert": self._middle(contender)}
        return {name: dimension.nearest(values[name]) for name, dimension in self.dimensions.items()}

    def _middle(self, contender: Contender) -> float:
        place = self.contenders.index(contender)
        return float(self.edges[place] - contender.probability / 2)


def differences(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that differ from the defaults, the seed left out."""
    usual = TrainConfig(seed=config.seed).as_dict()
    return {name: value for name, value in config.as_dict().items() if value != usual[name]}
