"""The networks of the final model: chosen settings trained again on all items but the test's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.data import LabelledData
from expertise_graph.merging import mean
from expertise_graph.training import State, Tensors, identity_of
from expertise_graph.tuning.model_selection import Tried
from expertise_graph.tuning.output_folder import lay
from expertise_graph.tuning.search import Search
from expertise_graph.tuning.trial import ENOUGH, Judge, Outcome, all_to_train, kept_weights, train_on_all

ANEW = 4
"""Trainings of a single network on all items, at most."""
WHOLE = "trained on training and validation items"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network of the final model.

    Attributes:
        outcome: of the trial, its history included.
        made: how the weights came to be, an empty text where they are those of the trial.
    """

    tried: Tried
    outcome: Outcome
    weights: Tensors
    made: str

    def lay(self, folder: Path, data: LabelledData) -> None:
        """Leave it as a training that is over, for one in that folder to measure and to write."""
        lay(
            folder,
            identity_of(self.tried.config, data, self.tried.entrant.expert),
            self._state(),
            self.weights,
        )

    def _state(self) -> State:
        outcome = self.outcome
        clock = dict.fromkeys(("forward", "longest", "saving", "since"), 0.0)
        return State(
            epoch=outcome.epochs,
            step=outcome.steps,
            kept=outcome.kept,
            stopped=outcome.stopped if outcome.stopped in ("epochs", "early", "nan") else "time",
            note="; ".join(filter(None, (outcome.note, self.made))),
            mirror=outcome.mirror,
            parts=outcome.parts,
            clock={"seconds": outcome.seconds, **clock},
            history=outcome.history,
            temperature=outcome.temperature if self.made else None,
        )


def build(search: Search, team: Sequence[Tried]) -> list[Part]:
    """Return the networks of a team with the best weights that there was time for.

    Each is trained on all items once, from a seed of its own, as networks that differ complement
    each other; a single one several times with other orders of the batches, and the weights are
    averaged. The first is there unless it cannot be trained any more. Ctrl-C ends it with what is
    there, of the first the weights of the trial.
    """
    members, parts = list(team), list[Part]()
    while len(members) > 1 and search.ending(members) > search.deadline.left:
        members.pop()
    ending = search.ending(members)
    times = ANEW if len(members) == 1 else 1
    for place, tried in enumerate(members):
        if parts and search.interrupted:
            break
        left = search.deadline.left - ending
        if parts and not search.at_hand(tried) and left < tried.outcome.seconds:
            continue
        outcome = search.whole(tried)
        if outcome is not None:
            seeds = range(place, place + times)
            parts.append(_part(search, tried, outcome, seeds=seeds, ending=ending))
        elif not parts:
            break
    return [*parts, *_repeated(search, parts)] if parts else []


def _repeated(search: Search, parts: Sequence[Part]) -> Iterator[Part]:
    """Yield trainings of the first from other random weights, where places are left in the ensemble.

    Deep ensembles, Lakshminarayanan et al., arXiv:1612.01474.
    """
    first, team = parts[0], [part.tried for part in parts]
    while first.tried.repeats and first.made and not search.interrupted:
        team.append(first.tried)
        if not search.allowed(team):
            return
        seeds = range(len(team), len(team) + 1)
        found = _trained_on_all(search, first.tried, first.outcome, seeds=seeds, ending=search.ending(team))
        if not found:
            return
        yield dataclasses.replace(first, weights=found[0])


def _part(search: Search, tried: Tried, outcome: Outcome, *, seeds: range, ending: float) -> Part:
    trainings = _trained_on_all(search, tried, outcome, seeds=seeds, ending=ending)
    if not trainings:
        return Part(tried=tried, outcome=outcome, weights=kept_weights(search.folder(tried.run)), made="")
    weights, n = _averaged(search, tried, trainings)
    made = WHOLE if n == 1 else f"the mean of {n} trainings, each {WHOLE}"
    return Part(tried=tried, outcome=outcome, weights=weights, made=made)


def _trained_on_all(
    search: Search, tried: Tried, outcome: Outcome, *, seeds: range, ending: float
) -> list[Tensors]:
    """Return the weights of the trainings on all items that time allowed."""
    untrained = not tried.config.way.pretrained and not outcome.kept
    if untrained or search.interrupted or outcome.stopped == "time":
        return []
    everything, needed = all_to_train(search.slim), search.anew(tried)
    trainings: list[Tensors] = []
    for number in seeds if tried.averages else seeds[:1]:
        left = search.deadline.left - ending
        if left < ENOUGH * needed:
            break
        before = search.deadline.passed
        try:
            found = train_on_all(
                search.backbone(tried.entrant.expert),
                everything,
                dataclasses.replace(tried.config, seed=tried.config.seed + number),
                epochs=outcome.kept,
                loss=outcome.loss,
                folder=search.scratch / "anew",
                budget=left,
                report=search.reporter(f"{tried.entrant.expert.name} on all items"),
            )
        except KeyboardInterrupt:
            search.interrupted, found = True, None
        if found is None:
            break
        trainings.append(found)
        needed = search.deadline.passed - before
    return trainings


def _averaged(search: Search, tried: Tried, trainings: list[Tensors]) -> tuple[Tensors, int]:
    """Return the mean of those weights that it does not harm, and their number.

    They are judged on the items they were trained on. Those tell nothing of how good weights are, but the
    mean of weights from different valleys fails on them.
    """
    if len(trainings) == 1:
        return trainings[0], 1
    judge = Judge(search.backbone(tried.entrant.expert), all_to_train(search.slim), tried.config)
    alone = [judge(t)[0] for t in trainings]
    kept, least = [0], 1.001 / max(len(search.splits.validation), 1)
    for place in range(1, len(trainings)):
        more = [*kept, place]
        if judge(_mean([trainings[i] for i in more]))[0] >= min(alone[i] for i in more) - least:
            kept = more
    return _mean([trainings[i] for i in kept]), len(kept)


def _mean(trainings: list[Tensors]) -> Tensors:
    averaged = mean([{n: t for n, t in m.items() if t.is_floating_point()} for m in trainings])
    first = trainings[0]
    return {name: averaged[name].to(t.dtype) if name in averaged else t for name, t in first.items()}
