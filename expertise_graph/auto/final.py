"""The final model: the chosen settings trained again on all items but the test's, averaged, registered."""

from __future__ import annotations

import dataclasses

from expertise_graph import training
from expertise_graph.auto.choice import Tried
from expertise_graph.auto.place import Place
from expertise_graph.auto.search import ANEW, Search
from expertise_graph.auto.settings import SCRATCH
from expertise_graph.auto.tools import Tools
from expertise_graph.auto.trial import Judge, Outcome, all_to_train, kept_weights, train_on_all
from expertise_graph.data import LabelledData
from expertise_graph.errors import ExpertiseError, SourceError, first_line
from expertise_graph.merging import mean
from expertise_graph.types import Expert, WarmStart
from expertise_graph.warmstart import TrainConfig
from expertise_graph.warmstart.checkpoint import State, Tensors
from expertise_graph.warmstart.fine_tune import identity_of

WHOLE = "a training on training and validation items"


def finish(
    tools: Tools, data: LabelledData, place: Place, search: Search, chosen: Tried
) -> tuple[WarmStart, str]:
    """Return the finished and registered model of a trial, and what it is made of.

    The settings are trained again on training and validation items together, with other orders of
    the batches, as often as time allows, and the weights averaged. The temperature stays that of the
    trial, which had not seen the validation items. Without time for that the trial is the model.

    Raises:
        SourceError: when the trial is on record only and cannot be trained again.
    """
    with search.deadline.spending("retraining"):
        outcome = search.whole(chosen)
        if outcome is None:
            raise SourceError(f"{chosen.entrant.expert.name} cannot be trained any more: try again")
        weights, made = _weights(search, chosen, outcome)
    expert = chosen.entrant.expert
    with search.deadline.spending("final"):
        place.lay(identity_of(chosen.config, data, expert), _state(outcome, made), weights)
        return _execute(tools, data, place, expert, chosen.config), made or "the model is that trial"


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
            place.claim(identity_of(config, data, entrant.expert))
            model = _execute(tools, data, place, entrant.expert, config)
        except (ExpertiseError, OSError) as error:
            reasons[entrant.expert.id] = f"{entrant.expert.name}: {first_line(error)}"
            continue
        return (
            model,
            f"no trial could be finished in time: the model is a {config.strategy.replace('-', ' ')}",
        )
    raise SourceError("no expert can be trained: " + "; ".join(reasons.values()))


def _weights(search: Search, chosen: Tried, outcome: Outcome) -> tuple[Tensors, str]:
    own = kept_weights(search.folder(chosen.run))
    members = _trained_on_all(search, chosen, outcome)
    if not members:
        return own, ""
    return _averaged(search, chosen, members)


def _trained_on_all(search: Search, chosen: Tried, outcome: Outcome) -> list[Tensors]:
    """Return the weights of the trainings on all items that time allowed."""
    untrained = not chosen.config.way.pretrained and not outcome.kept
    if untrained or search.interrupted or outcome.stopped == "time":
        return []
    expert, everything = chosen.entrant.expert, all_to_train(search.slim)
    members: list[Tensors] = []
    needed = search.anew(chosen)
    for number in range(ANEW if chosen.averages else 1):
        left = search.remaining(expert, chosen.config)
        if left < needed:
            break
        before = search.deadline.passed
        found = train_on_all(
            search.backbone(expert),
            everything,
            dataclasses.replace(chosen.config, seed=chosen.config.seed + number),
            epochs=outcome.kept,
            folder=search.scratch / "anew",
            budget=left,
            report=search.reporter(f"training {number + 1} on all items"),
        )
        if found is None:
            break
        members.append(found)
        needed = search.deadline.passed - before
    return members


def _averaged(search: Search, chosen: Tried, members: list[Tensors]) -> tuple[Tensors, str]:
    """Return the mean of those weights that it does not harm on the items they were trained on.

    Those items tell nothing of how good the weights are, but the mean of weights from different
    valleys fails on them.
    """
    if len(members) == 1:
        return members[0], f"the model is {WHOLE} with its settings"
    judge = Judge(search.backbone(chosen.entrant.expert), all_to_train(search.slim), chosen.config)
    alone = [judge(m)[0] for m in members]
    kept, least = [0], 1.001 / max(len(search.splits.validation), 1)
    for place in range(1, len(members)):
        tried = [*kept, place]
        if judge(_mean([members[i] for i in tried]))[0] >= min(alone[i] for i in tried) - least:
            kept = tried
    weights = _mean([members[i] for i in kept])
    if len(kept) == 1:
        return weights, f"the model is {WHOLE} with its settings"
    return weights, f"the model is the mean of {len(kept)} such: {WHOLE} with its settings"


def _mean(members: list[Tensors]) -> Tensors:
    averaged = mean([{n: t for n, t in m.items() if t.is_floating_point()} for m in members])
    first = members[0]
    return {name: averaged[name].to(t.dtype) if name in averaged else t for name, t in first.items()}


def _state(outcome: Outcome, made: str) -> State:
    clock = dict.fromkeys(("forward", "longest", "saving", "since"), 0.0)
    stopped = outcome.stopped if outcome.stopped in ("epochs", "early", "nan") else "time"
    return State(
        epoch=outcome.epochs,
        step=outcome.steps,
        kept=outcome.kept,
        stopped=stopped,
        note="; ".join(filter(None, (outcome.note, made))),
        mirror=outcome.mirror,
        parts=outcome.parts,
        clock={"seconds": outcome.seconds, **clock},
        history=outcome.history,
        temperature=outcome.temperature if made else None,
    )


def _execute(
    tools: Tools, data: LabelledData, place: Place, expert: Expert, config: TrainConfig
) -> WarmStart:
    plan = training.Plan(expert=expert, data=data, out=place.out, config=config, trust_code=tools.trust_code)
    return training.execute(tools.store, tools.prober, plan, None)
