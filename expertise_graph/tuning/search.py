"""The trials: asked for by the search, answered from the record or by training, within the time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from expertise_graph.core import Expert, ExpertiseError, Registry, first_line
from expertise_graph.data import LabelledData, Splits
from expertise_graph.models import Backbone, load
from expertise_graph.retrieval import AUTO
from expertise_graph.training import TrainConfig, TrainingProgress, trial_id, write_json
from expertise_graph.tuning.ensemble import select, weights_of, within
from expertise_graph.tuning.model_selection import Tried, choose
from expertise_graph.tuning.record import VERSION, Record, failure, status_of
from expertise_graph.tuning.result import DONE, FAILED, PRUNED
from expertise_graph.tuning.settings import AutoSettings
from expertise_graph.tuning.space import Dimension, Entrant, Space
from expertise_graph.tuning.time_budget import Deadline, Pace
from expertise_graph.tuning.trial import Outcome, Report, run_trial

GIVE_UP = 10
"""So many trials in a row that could not be run end the search."""
ANEW_KEPT = 2
"""Trainings of a single network on all items that time is kept for, as far as half of it goes."""


class Awaited(Protocol):
    """What is told how a trial goes."""

    def hopeless(self, epochs: int, loss: float) -> bool:
        """Tell whether others were better after so many epochs."""
        ...

    def answer(self, loss: float | None, *, pruned: bool = False) -> None:
        """End the trial."""
        ...


class Asked(Awaited, Protocol):
    """Parameters that a search asks about."""

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters by name."""
        ...


class Unasked:
    """A trial that no search asked for: nothing is given up, and nobody told."""

    def hopeless(self, epochs: int, loss: float) -> bool:
        """Return False."""
        return False

    def answer(self, loss: float | None, *, pruned: bool = False) -> None:
        """Do nothing."""


class Asking(Protocol):
    """A search, see `study.Study`."""

    def propose(self, params: dict[str, Any]) -> None:
        """Let these parameters come next."""
        ...

    def ask(self) -> Asked:
        """Return the next parameters."""
        ...


engines: Registry[Callable[[dict[str, Dimension], int], Asking]] = Registry("search")
engines.point("tpe", "expertise_graph.tuning.study:Study")


@dataclass(kw_only=True)
class Search:
    """The trials of one call.

    Attributes:
        slim: the data without test items.
        scratch: folder for the weights of trials.
        report: told the label and how far it is.
        raw: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
        tried: the trials so far.
        unusable: why an expert could not be loaded, by id.
    """

    record: Record
    data: LabelledData
    slim: LabelledData
    splits: Splits
    settings: AutoSettings
    space: Space
    deadline: Deadline
    pace: Pace
    scratch: Path
    trust_code: bool
    report: Callable[[str, int, int], None]
    raw: float | None
    tried: list[Tried] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    replayed: list[bool] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    _backbones: dict[str, Backbone] = field(default_factory=dict)

    def run(self, opening: Entrant | None, proposals: list[tuple[str, Entrant, TrainConfig]]) -> None:
        """Try the proposals, then what the search asks for, for as long as there is time.

        Args:
            opening: an expert whose linear probe is tried before all else, and is the incumbent.
            proposals: why, expert and settings, the first of which is the incumbent without an opening.
        """
        study = engines["tpe"](self.space.dimensions, self.settings.seed)
        origins = []
        for origin, entrant, config in proposals:
            study.propose(self.space.parameters(entrant, config))
            origins.append(origin)
        failed = 0
        try:
            if opening is not None:
                probe = TrainConfig(strategy="linear-probe", seed=self.settings.seed)
                self._try(Unasked(), opening, probe, "linear probe")
            while not self.interrupted and failed < GIVE_UP and self._room():
                question = study.ask()
                spared, origin = bool(origins), origins.pop(0) if origins else "search"
                done = self._try(question, *self.space.meaning(question.params), origin, spared=spared)
                failed = 0 if done else failed + 1
        except KeyboardInterrupt:
            self.interrupted = True

    def backbone(self, expert: Expert) -> Backbone:
        """Return an expert in memory, loaded once.

        Raises:
            ExpertiseError, OSError: when it cannot be loaded.
        """
        if expert.id not in self._backbones:
            self._backbones[expert.id] = load(expert, trust_code=self.trust_code)
        return self._backbones[expert.id]

    def folder(self, run: str) -> Path:
        """Return where the weights of a trial lie."""
        return self.scratch / run.replace(":", "-")

    def at_hand(self, tried: Tried) -> bool:
        """Tell whether the weights of a trial are there, and not only the record of it."""
        return (self.folder(tried.run) / "outcome.json").is_file()

    def whole(self, tried: Tried) -> Outcome | None:
        """Return the outcome with its history, trained again where only the record of it is left."""
        path = self.folder(tried.run) / "outcome.json"
        if path.is_file():
            values = json.loads(path.read_text(encoding="utf-8"))
            return Outcome(**{**values, "fits": np.array(values["fits"])})
        found = self._train(tried.entrant.expert, tried.config, tried.run, lambda *_: False)
        return found if found.stopped != FAILED else None

    def choice(self) -> tuple[Tried, str]:
        """Return the best trial so far by all that is known, and why; one at least must be usable."""
        return choose(self.tried, raw=self.raw)

    def team(self, first: Tried) -> list[Tried]:
        """Return the trials that the model would be made of, if `first` was chosen now."""
        if self.interrupted:
            return [first]
        return select(first, self.tried, weights=self.weights(first), allowed=self.allowed)

    def allowed(self, team: Sequence[Tried]) -> bool:
        """Tell whether these trials together are within the limits of the model."""
        return len(team) <= self.settings.members and within(self.settings.query, team)

    def weights(self, first: Tried) -> dict[str, float]:
        """Return how much each usable trial counts beside `first`, by run."""
        return weights_of(first, self.tried, raw=self.raw)

    def ending(self, team: Sequence[Tried]) -> float:
        """Return the seconds to keep for measuring and writing what the model is made of."""
        return self.pace.ending(*((t.entrant.expert, t.config) for t in team))

    def anew(self, tried: Tried) -> float:
        """Return the seconds that training the same on all items is expected to take."""
        outcome, share = tried.outcome, len(self.slim) / max(len(self.splits.train), 1)
        return share * outcome.seconds * (outcome.kept + 1) / (outcome.epochs + 1)

    def _room(self) -> bool:
        """Tell whether one more trial fits beside what is to come after it."""
        if not any(t.usable for t in self.tried):
            return self.deadline.left > 0 or not self.tried
        team = self.team(self.choice()[0])
        return self.deadline.left - self.ending(team) - self._kept(team) > 0.4 * self.anew(team[0])

    def _kept(self, team: Sequence[Tried]) -> float:
        """Return the seconds to keep for training on all items: once, and up to half of the time."""
        once = self.anew(team[0])
        repeats = ANEW_KEPT - 1 if self.settings.members == 1 and team[0].averages else 0
        if team[0].repeats:
            repeats = self.settings.members - len(team)
        wanted = sum(map(self.anew, team)) + repeats * once
        return max(once, min(wanted, self.deadline.seconds / 2))

    def _try(
        self, question: Awaited, entrant: Entrant, config: TrainConfig, origin: str, *, spared: bool = False
    ) -> bool:
        """Answer a question; tell whether the expert could be trained.

        Proposals are spared from being given up: who starts slowly, as from scratch, may complement
        the others in the end.
        """
        expert = entrant.expert
        if expert.id in self.unusable:
            question.answer(None)
            return False
        run = trial_id(AUTO, VERSION, expert, self.data, splits=self.splits, config=config)
        if any(t.run == run for t in self.tried):
            question.answer(None)
            return False
        outcome = self.record.find(run)
        recorded = outcome is not None
        may_stop = not spared and any(t.usable for t in self.tried)
        if outcome is None:
            try:
                self.backbone(expert)
            except (ExpertiseError, OSError) as error:
                self.unusable[expert.id] = f"{expert.name} was not tried: {first_line(error)}"
                question.answer(None)
                return False
            outcome = self._train(
                expert, config, run, lambda e, loss: question.hopeless(e, loss) and may_stop
            )
            self.record.put(run, expert, config, origin=origin, outcome=outcome)
        else:
            lowest = np.inf
            for row in outcome.history:
                lowest = min(lowest, row["validation_loss"])
                question.hopeless(row["epoch"], lowest)
        status = status_of(outcome)
        self.tried.append(Tried(run=run, entrant=entrant, config=config, outcome=outcome, status=status))
        self.origins.append(origin)
        self.replayed.append(recorded)
        self.interrupted = outcome.stopped == "interrupted"
        usable = status in (DONE, PRUNED)
        question.answer(outcome.loss if usable else None, pruned=status == PRUNED)
        return status != FAILED

    def _train(
        self, expert: Expert, config: TrainConfig, run: str, watch: Callable[[int, float], bool]
    ) -> Outcome:
        folder = self.folder(run)
        ending, kept = self.pace.ending((expert, config)), 0.0
        if any(t.usable for t in self.tried):
            team = self.team(self.choice()[0])
            ending, kept = max(ending, self.ending(team)), self._kept(team)
        budget = self.deadline.left - ending - kept
        try:
            outcome = run_trial(
                self.backbone(expert),
                self.slim,
                config,
                folder=folder,
                budget=max(budget, 0.1),
                watch=watch,
                report=self.reporter(f"trial {len(self.tried) + 1}: {expert.name} {config.strategy}"),
            )
        except torch.OutOfMemoryError:
            raise
        except (ExpertiseError, RuntimeError) as error:
            return failure(self.data, first_line(error))
        self.pace.note(expert, outcome.epochs, outcome.seconds)
        write_json(folder / "outcome.json", {**asdict(outcome), "fits": outcome.fits.tolist()})
        return outcome

    def reporter(self, label: str) -> Report:
        """Return what tells how far a training is."""

        def report(progress: TrainingProgress) -> None:
            self.report(label, progress.step, max(progress.steps, 1))

        return report
