"""Refit: the chosen settings are trained again on training and validation items together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.data import LabelledData
from expertise_graph.merging import mean
from expertise_graph.training import OutOfTime, Tensors, TrainingState, identity_of
from expertise_graph.tuning.model_selection import TrialRecord
from expertise_graph.tuning.output_folder import write_checkpoint
from expertise_graph.tuning.search import TrialSearch
from expertise_graph.tuning.trial import ENOUGH, Judge, Outcome, all_to_train, kept_weights, train_on_all

# Refits of a single network that are averaged, at most: each costs a whole training, and three of them
# together gained .4 points (LOG.md).
MOST_REFITS = 4
ON_ALL_ITEMS = "trained on training and validation items"


@dataclass(frozen=True, kw_only=True)
class RefitModel:
    """A network of the final model.

    Attributes:
        outcome: of the trial, its history included.
        refitted: how the weights were made again, an empty text where they are those of the trial.
    """

    trial: TrialRecord
    outcome: Outcome
    weights: Tensors
    refitted: str

    def write_checkpoint(self, folder: Path, data: LabelledData) -> None:
        """Write it as the checkpoint of a finished training, see `output_folder.write_checkpoint`."""
        write_checkpoint(
            folder,
            identity_of(self.trial.config, data, self.trial.expert),
            self._state(),
            self.weights,
        )

    def _state(self) -> TrainingState:
        outcome = self.outcome
        clock = dict.fromkeys(("forward", "step", "saving", "since"), 0.0)
        return TrainingState(
            epoch=outcome.epochs,
            step=outcome.steps,
            kept=outcome.kept,
            stopped=outcome.stopped if outcome.stopped in ("epochs", "early", "nan") else "time",
            note="; ".join(filter(None, (outcome.note, self.refitted))),
            mirror=outcome.mirror,
            parts=outcome.parts,
            clock={"seconds": outcome.seconds, **clock},
            history=outcome.history,
            temperature=outcome.temperature if self.refitted else None,
        )


def build(search: TrialSearch, ensemble: Sequence[TrialRecord]) -> list[RefitModel]:
    """Return the networks of a ensemble with the best weights that there was time for.

    Each is trained on all items once, from a seed of its own, as networks that differ complement
    each other; a single one several times with other orders of the batches, and the weights are
    averaged. The first is there unless it cannot be trained any more. Ctrl-C ends it with what is
    there, of the first the weights of the trial.
    """
    members, models = list(ensemble), list[RefitModel]()
    while len(members) > 1 and search.finishing_seconds(members) > search.budget.left:
        members.pop()
    finishing = search.finishing_seconds(members)
    times = MOST_REFITS if len(members) == 1 else 1
    for place, trial in enumerate(members):
        if models and search.interrupted:
            break
        left = search.budget.left - finishing
        if models and not search.has_weights(trial) and left < trial.outcome.seconds:
            continue
        outcome = search.full_outcome(trial)
        if outcome is not None:
            seeds = range(place, place + times)
            models.append(_refit(search, trial, outcome, seeds=seeds, finishing=finishing))
        elif not models:
            break
    # What is registered is a network, where there is one.
    models.sort(key=lambda model: model.trial.expert is None)
    return [*models, *_repeats(search, models)] if models else []


def _repeats(search: TrialSearch, models: Sequence[RefitModel]) -> Iterator[RefitModel]:
    """Yield trainings of the first from other random weights, where places are left in the ensemble.

    Deep ensembles, Lakshminarayanan et al., arXiv:1612.01474.
    """
    first, ensemble = models[0], [model.trial for model in models]
    while first.trial.repeats and first.refitted and not search.interrupted:
        ensemble.append(first.trial)
        if not search.allowed(ensemble):
            return
        seeds = range(len(ensemble), len(ensemble) + 1)
        weights = _train_on_all_items(
            search, first.trial, first.outcome, seeds=seeds, finishing=search.finishing_seconds(ensemble)
        )
        if not weights:
            return
        yield dataclasses.replace(first, weights=weights[0])


def _refit(
    search: TrialSearch, trial: TrialRecord, outcome: Outcome, *, seeds: range, finishing: float
) -> RefitModel:
    trainings = _train_on_all_items(search, trial, outcome, seeds=seeds, finishing=finishing)
    if not trainings:
        return RefitModel(
            trial=trial, outcome=outcome, weights=kept_weights(search.folder(trial.run)), refitted=""
        )
    weights, n = _average(search, trial, trainings)
    refitted = ON_ALL_ITEMS if n == 1 else f"the mean of {n} trainings, each {ON_ALL_ITEMS}"
    return RefitModel(trial=trial, outcome=outcome, weights=weights, refitted=refitted)


def _train_on_all_items(
    search: TrialSearch, trial: TrialRecord, outcome: Outcome, *, seeds: range, finishing: float
) -> list[Tensors]:
    """Return the weights of the trainings on all items that time allowed."""
    untrained = not trial.config.way.pretrained and not outcome.kept
    if untrained or search.interrupted or outcome.stopped == "time":
        return []
    everything, needed = all_to_train(search.visible), search.refit_seconds(trial)
    trainings, expert = list[Tensors](), trial.contender.expert
    for number in seeds if trial.averages else seeds[:1]:
        left = search.budget.left - finishing
        if left < ENOUGH * needed:
            break
        before = search.budget.passed
        try:
            with search.attempting(expert):
                weights = train_on_all(
                    search.backbone(expert),
                    everything,
                    dataclasses.replace(
                        trial.config, seed=trial.config.seed + number, time_budget=max(left, 0.1)
                    ),
                    known=search.known[expert.id],
                    epochs=outcome.kept,
                    loss=outcome.loss,
                    progress=search.reporter(f"{expert.name} on all items"),
                )
        except OutOfTime:
            weights = None
        except KeyboardInterrupt:
            search.interrupted, weights = True, None
        if weights is None:
            break
        trainings.append(weights)
        needed = search.budget.passed - before
    return trainings


def _average(search: TrialSearch, trial: TrialRecord, trainings: list[Tensors]) -> tuple[Tensors, int]:
    """Return the mean of those weights that it does not harm, and their number.

    They are judged on the items they were trained on. Those tell nothing of how good weights are, but the
    mean of weights from different valleys fails on them.
    """
    if len(trainings) == 1:
        return trainings[0], 1
    judge = Judge(search.backbone(trial.contender.expert), all_to_train(search.visible), trial.config)
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
