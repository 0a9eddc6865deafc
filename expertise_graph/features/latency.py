"""How long one input takes an expert on this machine, measured once and kept in the registry."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from expertise_graph import features
from expertise_graph.core import (
    Expert,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    SourceError,
    UntrustedError,
)
from expertise_graph.data import Inputs, Item
from expertise_graph.features.cost import Timings
from expertise_graph.features.probing import Prober
from expertise_graph.store import Store

# Forward passes whose median counts. Fewer than five say little beside other processes on the machine; more
# make the constraint `max_latency` slow on a large zoo.
REPEATS, _LEAST_REPEATS = 9, 5


@dataclass
class Meter:
    """Latency of experts as a function; remembers why some have none.

    Attributes:
        prober: runs the experts.
        probes: a probe set of the experts' modality; one input of it is run.
        unusable: a line for each expert that could not be run, by id.
    """

    store: Store
    prober: Prober
    probes: Inputs
    repeats: int = REPEATS
    unusable: dict[str, str] = field(default_factory=dict)

    def __call__(self, expert: Expert) -> float | None:
        """Return the milliseconds for one input, or None for an expert that cannot be run."""
        try:
            return measure(self.store, self.prober, expert, probes=self.probes, repeats=self.repeats)
        except (SourceError, UntrustedError, NotFoundError, MissingExtraError) as error:
            self.unusable[expert.id] = f"the latency of {expert.name} was not measured: {error}"
            return None


@dataclass
class Estimate:
    """Latency of experts that are not here, by their size: within a factor of three or so.

    The time of an item in a batch is known of experts of any size, see `cost.Timings`; how many times as long
    an input by itself takes is told by the experts whose latency was measured.

    Attributes:
        timings: how long experts took on this machine.
        ratios: logarithms of latency over the time of an item in a batch, of the experts that were measured.
    """

    timings: Timings
    ratios: list[float] = field(default_factory=list)

    def learn(self, expert: Expert, milliseconds: float) -> None:
        """Take the measured latency of an expert into account."""
        self.ratios.append(math.log(milliseconds / 1000.0 / self.timings.seconds_per_item(expert)))

    def __call__(self, expert: Expert) -> float | None:
        """Return the milliseconds for one input, or None for an expert of unknown size."""
        if expert.params <= 0:
            return None
        # One imaginary expert takes as long alone as in a batch.
        ratio = math.exp(sum(self.ratios) / (len(self.ratios) + 1.0))
        return 1000.0 * ratio * self.timings.seconds_per_item(expert)


def measure(store: Store, prober: Prober, expert: Expert, *, probes: Inputs, repeats: int = REPEATS) -> float:
    """Return the milliseconds that one input takes an expert on this machine, a batch of one.

    The median of `repeats` forward passes with the expert's own preprocessing, the opening of the
    file left out, by as many threads as torch is set to. Measured once for the same weights,
    preprocessing and machine.

    Raises:
        InvalidInputError: for fewer than five repeats.
        SourceError, UntrustedError, NotFoundError, MissingExtraError: when the expert cannot be run.
    """
    if repeats < _LEAST_REPEATS:
        raise InvalidInputError(
            f"repeats is {repeats}; a latency is the median of {_LEAST_REPEATS} or more forward passes"
        )
    known = store.latency(expert, features.machine())
    if known is not None:
        return known
    if not expert.runnable:
        raise SourceError(f"{expert.name} is known from imported metadata only and cannot be run")
    milliseconds = prober.latency(expert, typical(probes), repeats=repeats)
    store.put_latency(expert, features.machine(), milliseconds)
    return milliseconds


def typical(probes: Inputs) -> Item:
    """Return the text of median length, or the first of other inputs, which models bring to one size."""
    texts = [item for item in probes.items if isinstance(item, str)]
    return sorted(texts, key=lambda text: (len(text), text))[len(texts) // 2] if texts else probes.items[0]
