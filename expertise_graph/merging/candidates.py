"""From models to one merged model: the method's numbers, then head and statistics, judged on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from expertise_graph.core import SourceError
from expertise_graph.merging.evaluator import Evaluator, normalises
from expertise_graph.merging.loaded_model import LoadedModel
from expertise_graph.merging.methods import DENSITY, fisher, greedy_soup, mean, task_arithmetic, ties
from expertise_graph.merging.settings import MergeSettings
from expertise_graph.merging.states import State, common_fixed, put_into
from expertise_graph.models import Head

KEPT, RECOMPUTED, NONE = "kept", "recomputed", "none"


@dataclass(frozen=True, kw_only=True)
class MergeCandidate:
    """A merged model with what it reaches on validation.

    Attributes:
        rows: which of the models are part of it.
        scale: of the method, None where it has none.
        statistics: how its batch normalisation came to its statistics.
        accuracies: on validation, by statistics.
        loss: mean cross-entropy on validation.
    """

    module: nn.Module
    head: Head
    rows: tuple[int, ...]
    scale: float | None
    statistics: str
    accuracies: Mapping[str, float]
    loss: float

    @property
    def accuracy(self) -> float:
        """On validation."""
        return self.accuracies[self.statistics]

    @property
    def order(self) -> tuple[float, float]:
        """What the better candidate has more of."""
        return self.accuracy, -self.loss


class Merger:
    """Merges models by the method of the settings.

    Args:
        models: compatible ones.
        heads: of each model for the classes of the data, its own or a probe.
        own: whether all heads are the models' own, and so are merged as well.
        parent: what methods with task vectors start from.
        evaluator: the data.
    """

    def __init__(
        self,
        models: Sequence[LoadedModel],
        heads: Sequence[Head],
        *,
        own: bool,
        parent: LoadedModel | None,
        evaluator: Evaluator,
        settings: MergeSettings,
    ) -> None:
        self.models, self.heads, self.own = models, heads, own
        self.parent, self.evaluator, self.settings = parent, evaluator, settings
        self.states = [self._learnt(model, head) for model, head in zip(models, heads, strict=True)]
        self.same_statistics = all(_equal(models[0].weights.statistics, m.weights.statistics) for m in models)

    def best(self, alone: Sequence[float]) -> MergeCandidate:
        """Return the merge, its scale chosen on validation where none was given.

        Args:
            alone: validation accuracy of each model by itself.
        """
        if self.settings.method == "greedy-soup":
            return self._greedy(alone)
        everyone = tuple(range(len(self.models)))
        candidates = (self._finish(state, everyone, scale) for state, scale in self._merged())
        return max(candidates, key=lambda candidate: candidate.order)

    def _merged(self) -> Iterator[tuple[State, float | None]]:
        method, weights = self.settings.method, self.settings.weights
        if method == "mean":
            yield mean(self.states, weights), None
        elif method == "fisher":
            known = [
                self.evaluator.fisher(m.backbone.module, h)
                for m, h in zip(self.models, self.heads, strict=True)
            ]
            yield fisher(self.states, known, weights), None
        else:
            for scale in self.settings.scales:
                yield self._from_parent(self._method(scale)), scale

    def _method(self, scale: float) -> Callable[[State, Sequence[State]], State]:
        if self.settings.method == "ties":
            density = self.settings.density or DENSITY
            return lambda start, states: ties(start, states, density=density, scale=scale)
        weights = self.settings.weights
        return lambda start, states: task_arithmetic(start, states, scale=scale, weights=weights)

    def _from_parent(self, method: Callable[[State, Sequence[State]], State]) -> State:
        """Merge what the parent has too by `method`, and average the rest: a head it never had."""
        if self.parent is None:
            raise SourceError("a method that adds to the parent was called without one")
        start = self._learnt(self.parent, self.parent.head_for(self.evaluator.classes, self.evaluator.kind))
        shared = [{key: state[key] for key in start} for state in self.states]
        rest = [{key: t for key, t in state.items() if key not in start} for state in self.states]
        return {**method(start, shared), **mean(rest)}

    def _greedy(self, alone: Sequence[float]) -> MergeCandidate:
        candidates: dict[tuple[int, ...], MergeCandidate] = {}

        def score(rows: tuple[int, ...], state: State) -> float:
            candidates[rows] = self._finish(state, rows, None)
            return candidates[rows].accuracy

        rows, soup, _ = greedy_soup(self.states, alone, score)
        return candidates.get(rows) or self._finish(soup, rows, None)

    def _finish(self, learnt: State, rows: tuple[int, ...], scale: float | None) -> MergeCandidate:
        """Give merged parameters their statistics and their head, and measure them on validation."""
        members = [self.models[row] for row in rows]
        shares = self.settings.weights if len(rows) == len(self.models) else None
        network = {k.removeprefix("backbone."): t for k, t in learnt.items() if k.startswith("backbone.")}
        state = {
            **network,
            **mean([m.weights.statistics for m in members], shares),
            **common_fixed([m.weights for m in members], self.parent.weights if self.parent else None),
        }
        module = put_into(members[0].backbone.module, state)
        variants = {NONE: module}
        if normalises(module):
            variants = {KEPT: module, RECOMPUTED: self.evaluator.renewed(module)}
        judged = {name: self._judge(variant, learnt) for name, variant in variants.items()}
        chosen = self._statistics() if normalises(module) else NONE
        head, _, loss = judged[chosen]
        return MergeCandidate(
            module=variants[chosen],
            head=head,
            rows=rows,
            scale=scale,
            statistics=chosen,
            accuracies={name: accuracy for name, (_, accuracy, _) in judged.items()},
            loss=loss,
        )

    def _statistics(self) -> str:
        """Return which statistics are taken: those that all models share, else those of the data.

        Children that were trained with the statistics held have those of their parent: nothing was
        averaged, and their weights belong to them. Averages of differing ones fit no model.
        """
        if self.settings.statistics is not None:
            return KEPT if self.settings.statistics == "keep" else RECOMPUTED
        return KEPT if self.same_statistics else RECOMPUTED

    def _judge(self, module: nn.Module, learnt: State) -> tuple[Head, float, float]:
        if self.own:
            head = Head(
                weight=learnt["head.weight"],
                bias=learnt["head.bias"],
                classes=self.evaluator.classes,
                kind=self.evaluator.kind,
            )
        else:
            head = self.evaluator.probe(module)
        return head, *self.evaluator.measure(module, head, "validation")

    def _learnt(self, model: LoadedModel, head: Head | None) -> State:
        network = {f"backbone.{key}": tensor for key, tensor in model.weights.learnt.items()}
        if not self.own or head is None:
            return network
        return network | {f"head.{key}": tensor for key, tensor in head.state.items()}


def _equal(one: State, other: State) -> bool:
    return all(torch.equal(tensor, other[key]) for key, tensor in one.items())
