"""The final model: laid out, measured on the test items, and registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from expertise_graph.core import Expert, ExpertiseError, SourceError, WarmStart, first_line
from expertise_graph.data import LabelledData
from expertise_graph.inference import write_ensemble
from expertise_graph.models import read_json
from expertise_graph.training import TESTED, TrainConfig, identity_of, objective_of, train
from expertise_graph.training import registered as training
from expertise_graph.tuning.model_selection import Tried
from expertise_graph.tuning.output_folder import Place, claim
from expertise_graph.tuning.refit import WHOLE, Part, build
from expertise_graph.tuning.result import Member
from expertise_graph.tuning.search import Search
from expertise_graph.tuning.settings import SCRATCH
from expertise_graph.tuning.tools import Tools


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The final model.

    Attributes:
        model: its network, of several the first.
        accuracy: on the test items, of all together.
        made: a sentence on what it is made of.
        members: its networks where there are several, the first included.
        runs: of the trials they were chosen by.
    """

    model: WarmStart
    accuracy: float
    made: str
    members: tuple[Member, ...] = ()
    runs: tuple[str, ...] = ()


def finish(tools: Tools, data: LabelledData, place: Place, search: Search, chosen: Tried) -> Finished:
    """Return the finished and registered model that a trial, and others that complement it, make.

    The settings of each are trained again on training and validation items together, as far as there
    is time. The temperature stays that of the trial, which had not seen the validation items.
    Without time for that the weights are those of the trial.

    Raises:
        SourceError: when the trial is on record only and cannot be trained again.
    """
    with search.deadline.spending("retraining"):
        parts = build(search, search.team(chosen))
    if not parts:
        raise SourceError(f"{chosen.entrant.expert.name} cannot be trained any more: try again")
    first, *others = parts
    with search.deadline.spending("final"):
        first.lay(place.out, data)
        model = _execute(tools, data, place, first.tried.entrant.expert, first.tried.config)
        runs = tuple(dict.fromkeys(p.tried.run for p in parts))
        if not others:
            made = f"the model is {first.made or 'that trial'}"
            return Finished(model=model, accuracy=model.accuracy, made=made, runs=runs)
        scores = [model.accuracy, *_others(data, place, search, others)]
        counts = search.weights(chosen)
        weights = np.array([counts[part.tried.run] for part in parts])
        members = tuple(map(_member, count(1), parts, weights / weights.sum(), scores))
        accuracy = _together(data, place, search, members)
    made = f"{len(parts)} networks answer together, {sum(bool(p.made) for p in parts)} of them {WHOLE}"
    return Finished(model=model, accuracy=accuracy, made=made, members=members, runs=runs)


def finish_probe(tools: Tools, data: LabelledData, place: Place, search: Search) -> tuple[WarmStart, str]:
    """Return a linear probe of the best expert that can be loaded, where there was no time for a trial.

    Raises:
        SourceError: when none can be.
    """
    seed, strategies = search.settings.seed, search.settings.strategies
    config = TrainConfig(strategy="linear-probe", seed=seed)
    if strategies == (SCRATCH,):
        config = TrainConfig(strategy=SCRATCH, seed=seed, time_budget=max(search.deadline.left, 0.1))
    reasons = dict(search.unusable)
    for entrant in search.space.entrants:
        if entrant.expert.id in search.unusable:
            continue
        try:
            claim(place.out, identity_of(config, data, entrant.expert))
            model = _execute(tools, data, place, entrant.expert, config)
        except (ExpertiseError, OSError) as error:
            reasons[entrant.expert.id] = f"{entrant.expert.name}: {first_line(error)}"
            continue
        return (
            model,
            f"no trial could be finished in time: the model is a {config.strategy.replace('-', ' ')}",
        )
    raise SourceError("no expert can be trained: " + "; ".join(reasons.values()))


def _others(data: LabelledData, place: Place, search: Search, parts: Sequence[Part]) -> Iterator[float]:
    """Write the networks beside the first, and yield what each reaches on the test items."""
    for number, part in enumerate(parts, 2):
        out, expert = place.out / _path(number), part.tried.entrant.expert
        part.lay(out, data)
        yield train(search.backbone(expert), data, out=out, config=part.tried.config, expert=expert).accuracy


def _path(number: int) -> str:
    return "." if number == 1 else f"members/{number}"


def _member(number: int, part: Part, weight: float, accuracy: float) -> Member:
    return Member(
        path=_path(number),
        weight=float(weight),
        run=part.tried.run,
        expert=part.tried.entrant.expert.id,
        strategy=part.tried.config.strategy,
        accuracy=accuracy,
    )


def _together(data: LabelledData, place: Place, search: Search, members: Sequence[Member]) -> float:
    """Make the ensemble, and return its score on the test items."""
    objective = objective_of(data, search.splits.train, search.splits.validation)
    logits = sum(m.weight * _cooled(place.out / m.path) for m in members)
    rows = search.splits.test
    accuracy = objective.score(objective.standardised(torch.as_tensor(logits)), objective.targets[rows])
    write_ensemble(place.out, {m.path: m.weight for m in members}, accuracy)
    return accuracy


def _cooled(folder: Path) -> torch.Tensor:
    """Return the logits of a finished network on the test items, over its temperature."""
    return load_file(folder / TESTED)["logits"] / float(read_json(folder / "head.json")["temperature"])


def _execute(
    tools: Tools, data: LabelledData, place: Place, expert: Expert, config: TrainConfig
) -> WarmStart:
    plan = training.Plan(expert=expert, data=data, out=place.out, config=config, trust_code=tools.trust_code)
    return training.execute(tools.store, tools.prober, plan, None)
