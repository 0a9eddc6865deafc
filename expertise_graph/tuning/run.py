"""The whole: query, trials, choice, and one finished and registered model, within the time budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from expertise_graph.core import DatasetError, InvalidInputError, Ranking, SourceError
from expertise_graph.data import LabelledData, Splits
from expertise_graph.features import probe_sets as probes
from expertise_graph.training import TrainConfig, trial_splits
from expertise_graph.tuning.final import Finished, finish, finish_probe
from expertise_graph.tuning.model_selection import Tried
from expertise_graph.tuning.output_folder import Place
from expertise_graph.tuning.priors import proven_settings
from expertise_graph.tuning.proposals import proposals_of
from expertise_graph.tuning.record import Record
from expertise_graph.tuning.report import report_of
from expertise_graph.tuning.result import AutoResult, TrialResult
from expertise_graph.tuning.search import Search, engines
from expertise_graph.tuning.settings import SCRATCH, STRATEGIES, AutoSettings
from expertise_graph.tuning.space import Entrant, Space, differences, entrants_of
from expertise_graph.tuning.time_budget import Deadline, Pace
from expertise_graph.tuning.tools import Tools
from expertise_graph.tuning.trial import without_test

QUERY_SHARE, LEAST_SECONDS, QUERY_MOST = 0.25, 0.01, 300.0
SMALL_SAMPLE = 64
"""Items that one cheap expert is run on, where the time is too short for a query."""
ACCURACY = "accuracy"
LEAST_EPOCHS = 2
"""Epochs that a fine-tune of texts has to have time for; images, which are augmented, need all of theirs.

MobileNetV2 on five tuning tasks of images, cut after 2 to 12 epochs: 1 to 11 points worse than its linear
probe on training and validation items. MiniLM on two of texts, cut after 1 and 5: 3 and 5 points better.
"""


def auto(tools: Tools, data: LabelledData, *, out: Path, settings: AutoSettings) -> AutoResult:
    """Choose expert and settings together, and leave the finished model in `out`.

    A query takes up to a quarter of the time. Trials are fine-tunes on the training split, judged on
    the validation split; the first is the defaults on the query's best expert, the others are
    proposed by what worked on similar tasks and by a seeded search. The chosen settings are trained
    again on both splits, as often as there is time for, and averaged. The test split is looked at
    once, when the final model is measured. Ctrl-C ends the search with the best so far; the same
    command goes on where it was killed, and reads back what is done.

    Args:
        tools: the registry, and how to ask it.
        data: labelled inputs.
        out: folder of the model, its report and its record; new or empty, absolute.
        settings: time, constraints and seed.

    Raises:
        DatasetError: when the data leave nothing to train, validate or test on.
        NotFoundError: when no expert meets the constraints.
        InvalidInputError: when `out` holds something else.
        MissingExtraError: when optuna is not installed.
        SourceError: when no expert can be trained.
    """
    deadline = Deadline(settings.time_budget, tools.started)
    splits = trial_splits(data, settings.seed)
    place = Place(out, tools.store.folder, settings.digest(data.sha256, str(out)))
    answered = place.answered()
    if answered is not None:
        return answered
    _ = engines["tpe"]
    with deadline.spending("query"):
        ranking = _ask(tools, data, settings, deadline.left)
    place.begin()
    tools.store.put_task(data.task)
    course = _Course(tools, data, splits, settings, deadline, ranking, place)
    return course.run()


def _ask(tools: Tools, data: LabelledData, settings: AutoSettings, left: float) -> Ranking:
    """Return the candidates; where the time runs no expert and nothing is known, of one cheap expert."""
    seconds = min(max(QUERY_SHARE * left, LEAST_SECONDS), QUERY_MOST)
    query = dataclasses.replace(settings.query, top=1000, race=0, seed=settings.seed)
    try:
        return tools.ask(data, dataclasses.replace(query, budget=None, seconds=seconds))
    except DatasetError:
        raise
    except InvalidInputError:
        return tools.ask(data, dataclasses.replace(query, budget=1, seconds=None, sample=SMALL_SAMPLE))


class _Course:
    """One search from the query's answer on."""

    def __init__(
        self,
        tools: Tools,
        data: LabelledData,
        splits: Splits,
        settings: AutoSettings,
        deadline: Deadline,
        ranking: Ranking,
        place: Place,
    ) -> None:
        self.tools, self.data, self.settings, self.deadline = tools, data, settings, deadline
        self.ranking, self.place = ranking, place
        self.pace = Pace(
            tools.store,
            train=len(splits.train),
            measured=len(splits.validation) + len(splits.test),
            probes=probes.current(tools.store, data.modality).n,
        )
        self.entrants = entrants_of(ranking.candidates, settings.experts)
        if not self.entrants:
            raise SourceError(
                "the query knows experts by name only; register one: expertise-graph register hf:ORG/NAME"
            )
        usual = TrainConfig(strategy=settings.strategies[0])
        least = usual.epochs if data.modality == "image" else LEAST_EPOCHS
        tunable = [c for c in ranking.candidates if self.pace.tunes(c.expert, usual, least, deadline.left)]
        self.tuned = entrants_of(tunable, settings.experts)
        entrants = self.tuned or self.entrants
        usual_ways = settings.strategies == STRATEGIES
        strategies = (*STRATEGIES, SCRATCH) if usual_ways else settings.strategies
        self.space = Space(entrants, data, strategies, settings.seed)
        self.search = Search(
            record=Record(tools.store, data, splits),
            data=data,
            slim=without_test(data, splits),
            splits=splits,
            settings=settings,
            space=self.space,
            deadline=deadline,
            pace=self.pace,
            scratch=place.scratch,
            trust_code=tools.trust_code,
            report=tools.progress,
            raw=ranking.baseline.predicted if ranking.unit == ACCURACY else None,
            interrupted=ranking.interrupted,
        )

    def run(self) -> AutoResult:
        """Search, choose and finish."""
        search = self.search
        if self.tuned:
            with self.deadline.spending("trials"):
                proven = proven_settings(self.tools.store, self.data, self.settings.seed)
                search.run(self._opening(), proposals_of(self.space, proven, search.raw))
        usable = [t for t in search.tried if t.usable]
        if not usable:
            with self.deadline.spending("final"):
                model, reason = finish_probe(self.tools, self.data, self.place, search)
            return self._answer(Finished(model=model, accuracy=model.accuracy, made=reason))
        chosen, reason = search.choice()
        found = finish(self.tools, self.data, self.place, search, chosen)
        return self._answer(dataclasses.replace(found, made=f"{reason}; {found.made}"))

    def _opening(self) -> Entrant | None:
        """Return the best expert where there is time for its linear probe, but not to fine-tune it."""
        best = self.entrants[0]
        same = best.expert.id == self.tuned[0].expert.id
        short = self.deadline.left < self.pace.probe(best.expert)
        return None if same or short or self.settings.strategies == (SCRATCH,) else best

    def _answer(self, found: Finished) -> AutoResult:
        search = self.search
        result = AutoResult(
            model=found.model,
            accuracy=found.accuracy,
            members=found.members,
            trials=tuple(
                _trial(*row) for row in zip(search.tried, search.origins, search.replayed, strict=True)
            ),
            chosen=found.runs,
            reason=found.made,
            spent={name: round(value, 3) for name, value in self.deadline.spent.items()},
            seconds=self.deadline.passed,
            time_budget=self.settings.time_budget,
            experts_run=self.ranking.experts_run,
            interrupted=search.interrupted,
            notes=tuple(search.unusable.values()),
        )
        self.place.finish(result, report_of(result, self.data, self.tools.store.names()))
        return result


def _trial(tried: Tried, origin: str, recorded: bool) -> TrialResult:
    outcome = tried.outcome
    return TrialResult(
        run=tried.run,
        expert=tried.entrant.expert.id,
        name=tried.entrant.expert.name,
        origin=origin,
        settings=differences(tried.config),
        epochs=outcome.epochs,
        accuracy=outcome.accuracy,
        loss=float(np.float64(outcome.loss)),
        seconds=outcome.seconds,
        status=tried.status,
        recorded=recorded,
        note=outcome.note,
    )
