"""The final model: refitted, measured on the test items, and registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from safetensors.torch import load_file

from expertise_graph.core import FailedError, WarmStart
from expertise_graph.data import LabelledData
from expertise_graph.features import Context
from expertise_graph.models import RunFolder
from expertise_graph.training import RunSpec, objective_of, train, warm_start
from expertise_graph.tuning.model_selection import TrialRecord
from expertise_graph.tuning.output_folder import OutputFolder
from expertise_graph.tuning.refit import ON_ALL_ITEMS, RefitModel, build
from expertise_graph.tuning.result import Member
from expertise_graph.tuning.search import TrialSearch


@dataclass(frozen=True, kw_only=True)
class FinalModel:
    """What the search delivers.

    Attributes:
        model: its network, of several the first.
        accuracy: on the test items, of all together.
        composition: a sentence on what it is made of.
        members: its networks where there are several, the first included.
        runs: of the trials they were chosen by.
    """

    model: WarmStart
    accuracy: float
    composition: str
    members: tuple[Member, ...] = ()
    runs: tuple[str, ...] = ()


def finish(
    context: Context, data: LabelledData, output: OutputFolder, search: TrialSearch, chosen: TrialRecord
) -> FinalModel:
    """Return the finished and registered model that a trial, and others that complement it, make.

    The settings of each are trained again on training and validation items together, as far as there
    is time. The temperature stays that of the trial, which had not seen the validation items.
    Without time for that the weights are those of the trial.

    Raises:
        FailedError: when only the record of the trial is left and it cannot be trained again, or an expert
            fails on items that were not looked at before.
    """
    with search.budget.spending("retraining"):
        models = build(search, search.ensemble(chosen))
    if not models:
        raise FailedError(f"{chosen.contender.expert.name} failed: it cannot be trained any more, try again")
    first, *others = models
    with search.budget.spending("final"):
        first.write_checkpoint(output.out, data)
        with search.attempting(first.trial.contender.expert):
            result = _measured(context, data, output, search, first.trial)
        runs = tuple(dict.fromkeys(model.trial.run for model in models))
        if not others:
            composition = f"the model is {first.refitted or 'that trial'}"
            return FinalModel(model=result, accuracy=result.accuracy, composition=composition, runs=runs)
        scores = [result.accuracy, *_write_members(data, output, search, others)]
        counts = search.weights(chosen)
        weights = np.array([counts[model.trial.run] for model in models])
        members = tuple(map(_member, count(1), models, weights / weights.sum(), scores))
        accuracy = _write_ensemble(data, output, search, members)
    refitted = sum(bool(model.refitted) for model in models)
    composition = f"an ensemble of {len(models)} networks, {refitted} of them {ON_ALL_ITEMS}"
    return FinalModel(model=result, accuracy=accuracy, composition=composition, members=members, runs=runs)


def _write_members(
    data: LabelledData, output: OutputFolder, search: TrialSearch, models: Sequence[RefitModel]
) -> Iterator[float]:
    """Write the networks beside the first, and yield what each reaches on the test items."""
    for number, model in enumerate(models, 2):
        out, expert = output.out / _path(number), model.trial.contender.expert
        model.write_checkpoint(out, data)
        with search.attempting(expert):
            result = train(
                search.backbone(expert), data, out=out, config=model.trial.config, expert=model.trial.expert
            )
        yield result.accuracy


def _path(number: int) -> str:
    return "." if number == 1 else f"members/{number}"


def _member(number: int, model: RefitModel, weight: float, accuracy: float) -> Member:
    return Member(
        path=_path(number),
        weight=float(weight),
        run=model.trial.run,
        expert=model.trial.contender.expert.id,
        strategy=model.trial.config.strategy,
        accuracy=accuracy,
    )


def _write_ensemble(
    data: LabelledData, output: OutputFolder, search: TrialSearch, members: Sequence[Member]
) -> float:
    """Make the ensemble, and return its score on the test items."""
    objective = objective_of(data, search.splits.train, search.splits.validation)
    logits = sum(m.weight * _scaled_logits(RunFolder(output.out / m.path)) for m in members)
    rows = search.splits.test
    accuracy = objective.score(objective.standardised(torch.as_tensor(logits)), objective.targets[rows])
    RunFolder(output.out).write_ensemble({m.path: m.weight for m in members}, accuracy)
    return accuracy


def _scaled_logits(folder: RunFolder) -> torch.Tensor:
    """Return the logits of a finished network on the test items, over its temperature."""
    description = folder.description()
    return load_file(folder.tested)["logits"] / (description.temperature if description else 1.0)


def _measured(
    context: Context, data: LabelledData, output: OutputFolder, search: TrialSearch, trial: TrialRecord
) -> WarmStart:
    """Measure and register the network of a checkpoint; a model of the raw input is no node."""
    if trial.expert is not None:
        return warm_start(context, data, RunSpec(expert=trial.expert, config=trial.config, out=output.out))
    raw = trial.contender.expert
    result = train(search.backbone(raw), data, out=output.out, config=trial.config)
    return WarmStart(
        run="",
        expert=raw.id,
        child=raw.id,
        task=data.task.id,
        strategy=result.strategy,
        metric=result.metric,
        accuracy=result.accuracy,
        cold_accuracy=None,
        seed=result.seed,
        epochs=result.epochs,
        seconds=result.seconds,
        path=str(output.out),
        note=result.note,
        lr=result.lr,
    )
