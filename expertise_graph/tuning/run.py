"""`auto`: query, trials, model selection, and one finished and registered model, within the time budget."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from expertise_graph.core import (
    Expert,
    FailedError,
    Ranking,
    SourceError,
    duration,
    setting,
)
from expertise_graph.data import LabelledData, Splits, known_modalities
from expertise_graph.features import Context, Timings, probe_sets
from expertise_graph.models import raw_expert
from expertise_graph.retrieval import Ask, Sample, ask_within, draw_sample
from expertise_graph.training import TrainConfig, training_splits
from expertise_graph.tuning.final import FinalModel, finish
from expertise_graph.tuning.model_selection import TrialRecord
from expertise_graph.tuning.opening import Foreseen, Step, opening
from expertise_graph.tuning.output_folder import OutputFolder
from expertise_graph.tuning.priors import first_trials, settings_of_similar_tasks
from expertise_graph.tuning.record import RecordedTrials
from expertise_graph.tuning.report import report_of
from expertise_graph.tuning.result import DONE, PRUNED, AutoResult, TrialResult
from expertise_graph.tuning.search import MOST_RAW, SHORTEST, FirstTrial, TrialSearch
from expertise_graph.tuning.settings import SCRATCH, STRATEGIES, AutoSettings
from expertise_graph.tuning.space import Contender, Space, contenders_of, differences
from expertise_graph.tuning.time_budget import SearchBudget, TrainingSpeed
from expertise_graph.tuning.trial import visible_rows, without_test

ACCURACY = "accuracy"
# Epochs that a fine-tune of texts has to have time for; images, which are augmented, need all of theirs.
# MobileNetV2 on five tuning tasks of images, cut after 2 to 12 epochs: 1 to 11 points worse than its linear
# probe on training and validation items. MiniLM on two of texts, cut after 1 and 5: 3 and 5 points better.
# Where no expert has time for so many, those with time for two are tried, else all: training ends in time.
LEAST_EPOCHS = 2


def auto(
    context: Context,
    data: LabelledData,
    *,
    ask: Ask,
    out: Path,
    settings: AutoSettings,
    started: float | None = None,
) -> AutoResult:
    """Choose expert and settings together, and leave the finished model in `out`.

    A query takes up to a quarter of the time. Trials are fine-tunes on the training split, judged on
    the validation split; the first is the defaults on the query's best expert, the others are
    proposed by what worked on similar tasks and by a seeded search. The chosen settings are trained
    again on both splits, as often as there is time for, and averaged. The test split is looked at
    once, when the final model is measured. Ctrl-C ends the search with the best so far; the same
    command goes on where it was killed, and reads back what is done.

    Args:
        context: the registry, and what runs experts.
        data: labelled inputs.
        ask: answers queries.
        out: folder of the model, its report and its record; new or empty, absolute.
        settings: time, constraints and seed.
        started: when the time budget began, by `time.perf_counter`; by default now.

    Raises:
        DatasetError: when the data leave nothing to train, validate or test on.
        NotFoundError: when no expert meets the constraints.
        InvalidInputError: when `out` holds something else.
        SourceError: when no expert can be trained.
    """
    budget = SearchBudget(settings.time_budget, time.perf_counter() if started is None else started)
    timings = Timings(context.store)
    timings.mark()
    splits = training_splits(data, settings.seed)
    output = OutputFolder(out, context.store.folder, settings.digest(data.sha256, str(out)))
    finished = output.result()
    if finished is not None:
        return finished
    with budget.spending("query"):
        query = dataclasses.replace(settings.query, top=1000, race=0, seed=settings.seed)
        ranking, asked = ask_within(ask, data, query, left=budget.left)
    output.begin()
    context.store.put_task(data.task)
    speed = TrainingSpeed(
        timings,
        budget,
        train=len(splits.train),
        measured=len(splits.validation) + len(splits.test),
        probes=probe_sets.current(context.store, data.modality).n,
        outputs=len(data.outputs),
        work=known_modalities[data.modality].usual_inputs(data.items) / len(data.items),
    )
    return _Auto(context, data, splits, settings, speed, ranking, draw_sample(data, asked), output).run()


class _Auto:
    """One search from the query's answer on."""

    def __init__(
        self,
        context: Context,
        data: LabelledData,
        splits: Splits,
        settings: AutoSettings,
        speed: TrainingSpeed,
        ranking: Ranking,
        sample: Sample,
        output: OutputFolder,
    ) -> None:
        self.context, self.data, self.settings, self.speed = context, data, settings, speed
        self.budget = budget = speed.budget
        self.ranking, self.output, self.visible = ranking, output, without_test(data, splits)
        self.known: dict[str, dict[int, torch.Tensor]] = defaultdict(dict)
        self.contenders = contenders_of(ranking.candidates, settings.experts)
        if not self.contenders:
            raise SourceError(
                "the query knows experts by name only; register one: expertise-graph register hf:ORG/NAME"
            )
        self._recall_features(self.contenders, sample, splits)
        usual = TrainConfig(strategy=settings.strategies[0])
        self.augmented = known_modalities[data.modality].augmented
        self.tuned = self.contenders
        for epochs in (LEAST_EPOCHS, usual.epochs if self.augmented else LEAST_EPOCHS):
            left = budget.left
            possible = [
                c
                for c in ranking.candidates
                if speed.trial_seconds(c.expert, usual, epochs, known=len(self.known.get(c.expert.id, ())))
                < left
            ]
            self.tuned = contenders_of(possible, settings.experts) or self.tuned
        self._recall_features(self.tuned, sample, splits)
        self.usual_ways = settings.strategies == STRATEGIES
        strategies = (*STRATEGIES, SCRATCH) if self.usual_ways else settings.strategies
        self.space = Space(self.tuned, data, strategies, settings.seed)
        self.search = TrialSearch(
            recorded=RecordedTrials(context.store, data, splits),
            data=data,
            visible=self.visible,
            splits=splits,
            settings=settings,
            space=self.space,
            budget=budget,
            speed=self.speed,
            scratch=output.scratch,
            trust_code=context.trust_code,
            progress=context.progress,
            raw_accuracy=ranking.baseline.predicted if ranking.unit == ACCURACY else None,
            known=self.known,
            interrupted=ranking.interrupted,
        )

    def _recall_features(self, contenders: Sequence[Contender], sample: Sample, splits: Splits) -> None:
        """Take over the features that the query worked out, so that probes need not do so again."""
        places = np.searchsorted(visible_rows(splits), sample.rows).tolist()
        for expert in (c.expert for c in contenders if not self.known.get(c.expert.id)):
            stored = self.context.prober.stored(expert, sample.inputs)
            if stored is not None:
                self.known[expert.id] |= dict(zip(places, torch.tensor(stored), strict=True))

    def run(self) -> AutoResult:
        """Search, choose and finish."""
        search = self.search
        with self.budget.spending("trials"):
            proven = settings_of_similar_tasks(self.context.store, self.data, self.settings.seed)
            first = first_trials(self.space, proven, search.raw_accuracy)
            before = list(self._opening())
            done = {(contender.expert.id, config) for _, contender, config in before}
            search.run(before, [trial for trial in first if (trial[1].expert.id, trial[2]) not in done])
        while any(trial.usable for trial in search.trials):
            chosen, reason = search.choice()
            try:
                found = finish(self.context, self.data, self.output, search, chosen)
            except FailedError:
                search.withdraw()
                self.output.begin()
                continue
            return self._answer(dataclasses.replace(found, composition=f"{reason}; {found.composition}"))
        raise SourceError("no model can be trained: " + "; ".join(search.unusable.values()))

    def _opening(self) -> Iterator[FirstTrial]:
        """Yield what comes before all that the sampler suggests."""
        best, usual, raw = self.contenders[0], self.space.defaults, self.search.raw_accuracy
        probe = TrainConfig(strategy="linear-probe", seed=self.settings.seed)
        steps = opening(
            self._foreseen(best.expert, usual, probe),
            epochs=usual.epochs,
            # What is augmented needs all of its epochs.
            least=usual.epochs if self.augmented else SHORTEST,
            raw_promises=raw is not None and raw >= best.predicted,
        )
        for step in steps:
            if step is Step.RAW and self.usual_ways:
                yield self.search.raw_input()
            elif step is Step.PROBE and self.settings.strategies != (SCRATCH,):
                yield step.value, best, probe
            elif step is Step.TUNE and usual.way.fine_tunes and usual.way.pretrained:
                yield step.value, best, usual

    def _foreseen(self, expert: Expert, usual: TrainConfig, probe: TrainConfig) -> Foreseen:
        """Return what the first trials of an expert are expected to take."""
        speed, splits = self.speed, self.visible.splits
        both = np.union1d(splits["train"], splits["validation"])
        new = int((~np.isin(both, list(self.known[expert.id]))).sum())
        raw = raw_expert(self.data.modality)
        return Foreseen(
            left=self.budget.left,
            raw=speed.head_seconds(raw, min(len(both), MOST_RAW)),
            # Validation items are run once more, with the head.
            probe=speed.head_seconds(expert, new + len(splits["validation"])),
            probe_end=speed.finishing_seconds((expert, probe)),
            epoch=speed.epoch_seconds(expert),
            tune_end=speed.finishing_seconds((expert, usual)),
        )

    def _needed(self) -> Iterator[str]:
        """Say what time a fine-tune would have needed, where none was finished."""
        best, usual = self.space.contenders[0].expert, self.space.defaults
        if any(t.config.way.fine_tunes and t.status in (DONE, PRUNED) for t in self.search.trials):
            return
        begun = self.budget.spent["start"] + self.budget.spent["query"]
        needed = begun + self.speed.trial_seconds(best, usual, usual.epochs)
        yield (
            f"a whole fine-tune of {best.name}, {usual.epochs} epochs at most, would have needed about "
            f"{duration(needed)} in all: set {setting('time_budget')} to that or more"
        )

    def _answer(self, found: FinalModel) -> AutoResult:
        search = self.search
        result = AutoResult(
            model=found.model,
            accuracy=found.accuracy,
            members=found.members,
            trials=tuple(map(_result, search.trials)),
            chosen=found.runs,
            reason=found.composition,
            spent={name: round(value, 3) for name, value in self.budget.spent.items()},
            seconds=self.budget.passed,
            time_budget=self.settings.time_budget,
            experts_run=self.ranking.experts_run,
            interrupted=search.interrupted,
            notes=(*search.unusable.values(), *self._needed()),
        )
        experts = {result.model.expert, *(member.expert for member in result.members)}
        names = {t.expert: t.name for t in result.trials} | self.context.store.names(experts)
        self.output.finish(result, report_of(result, self.data, names))
        return result


def _result(trial: TrialRecord) -> TrialResult:
    outcome = trial.outcome
    return TrialResult(
        run=trial.run,
        expert=trial.contender.expert.id,
        name=trial.contender.expert.name,
        origin=trial.origin,
        settings=differences(trial.config),
        epochs=outcome.epochs,
        accuracy=outcome.accuracy,
        loss=float(outcome.loss),
        seconds=outcome.seconds,
        status=trial.status,
        recorded=trial.recorded,
        note=outcome.note,
    )
