"""The trials of `auto`: suggested by the sampler, looked up in the registry or trained, within the budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from expertise_graph.core import (
    Expert,
    ExpertiseError,
    FailedError,
    Progress,
    expert_errors,
    first_line,
    read_json_object,
    write_json,
)
from expertise_graph.data import LabelledData, Splits, known_modalities
from expertise_graph.features import remembered
from expertise_graph.models import RAW, Backbone, load, raw_backbone, raw_expert
from expertise_graph.retrieval import AUTO
from expertise_graph.training import OnProgress, OutOfTime, TrainConfig, TrainingProgress, trial_id
from expertise_graph.tuning.ensemble import select, weights_of, within
from expertise_graph.tuning.model_selection import RAW_DEVIATION, SEARCH, TrialRecord, choose
from expertise_graph.tuning.opening import Step
from expertise_graph.tuning.record import VERSION, RecordedTrials, failed_outcome, status_of
from expertise_graph.tuning.result import DONE, FAILED, PRUNED
from expertise_graph.tuning.settings import AutoSettings
from expertise_graph.tuning.space import Contender, Space
from expertise_graph.tuning.study import Study
from expertise_graph.tuning.time_budget import SearchBudget, TrainingSpeed
from expertise_graph.tuning.trial import ENOUGH, Outcome, may_be_judged, run_trial

# After so many trials in a row that could not be run, the search ends: the experts themselves are the
# problem.
GIVE_UP = 10
# Refits of a single network on all items that time is reserved for: one is what is delivered, a second one is
# averaged with it (three orders of the batches gained .4 points, LOG.md); more are made when time is left.
REFITS_RESERVED = 2
# Items that a linear model on raw input is fitted on at most: so many texts take some seconds.
MOST_RAW = 2000
# Share of the time left that the head of a training may take; where it takes more, it is fitted on fewer
# items, but at least on so many an output.
HEAD_SHARE, LEAST_ITEMS = 0.5, 3
# Epochs that a fine-tune has to have time for after its head: with less it is not begun. Texts gain from half
# an epoch (MiniLM, verb-fields: .463, the probe .369), augmented images lose by few (run.py: LEAST_EPOCHS).
SHORTEST, SHORTEST_AUGMENTED = 0.5, 2.0
# A model that is expected to take more than this times the time left to be measured and written is not
# chosen; not less, since the time was kept for it, and expectations vary.
TOO_LATE = 2.0

FirstTrial = tuple[str, Contender, TrainConfig]
"""Why it is tried, expert and settings."""

PruningRule = Callable[[int, float], bool]
"""Called with epochs and the lowest validation loss so far; returns whether to stop the trial."""


def _never(epochs: int, loss: float) -> bool:
    """Prune nothing."""
    return False


@dataclass(kw_only=True)
class TrialSearch:
    """The trials on one dataset.

    Attributes:
        visible: the data without test items: all that trials can look at.
        scratch: folder for the weights of trials.
        progress: told the label and how far a training is.
        raw_accuracy: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
        trials: the trials so far, in the order they were run.
        unusable: why an expert could not be loaded or failed, by id.
        known: features of experts by item of `visible`.
    """

    recorded: RecordedTrials
    data: LabelledData
    visible: LabelledData
    splits: Splits
    settings: AutoSettings
    space: Space
    budget: SearchBudget
    speed: TrainingSpeed
    scratch: Path
    trust_code: bool
    progress: Progress
    raw_accuracy: float | None
    trials: list[TrialRecord] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    known: dict[str, dict[int, torch.Tensor]] = field(default_factory=lambda: defaultdict(dict))
    interrupted: bool = False
    _backbones: dict[str, Backbone] = field(default_factory=dict)

    def run(
        self,
        opening: Sequence[FirstTrial],
        first: Sequence[FirstTrial],
    ) -> None:
        """Run the first trials, then what the sampler suggests, for as long as there is time.

        Where nothing else could be used, the raw input is.

        Args:
            opening: what is tried before all else.
            first: what the sampler suggests first.
        """
        study = Study(self.space.dimensions, self.settings.seed)
        for _, contender, config in first:
            study.enqueue(self.space.parameters(contender, config))
        origins = [origin for origin, *_ in first]
        failed = 0
        try:
            for origin, contender, config in opening:
                if not self.interrupted:
                    self._try(contender, config, origin, _never)
            while not self.interrupted and failed < GIVE_UP and self._has_room():
                suggestion = study.ask()
                contender, config = self.space.meaning(suggestion.params)
                origin = origins.pop(0) if origins else SEARCH
                trial = self._try(contender, config, origin, suggestion.should_prune)
                usable = trial is not None and trial.status in (DONE, PRUNED)
                suggestion.tell(
                    trial.outcome.loss if trial and usable else None,
                    pruned=trial is not None and trial.status == PRUNED,
                )
                failed = 0 if trial is not None and trial.status != FAILED else failed + 1
        except KeyboardInterrupt:
            self.interrupted = True
        if not any(t.usable for t in self.trials):
            origin, contender, config = self.raw_input()
            self._try(contender, config, origin, _never)

    def raw_input(self) -> FirstTrial:
        """Return the trial that needs no expert, a linear model on the raw input."""
        predicted = self.raw_accuracy or 0.0
        raw = Contender(raw_expert(self.data.modality), 0.0, predicted, RAW_DEVIATION)
        # It describes inputs as they are, so there is nothing to augment.
        return (
            Step.RAW.value,
            raw,
            TrainConfig(strategy="linear-probe", augment=False, seed=self.settings.seed),
        )

    def backbone(self, expert: Expert) -> Backbone:
        """Return an expert in memory, loaded once.

        Raises:
            ExpertiseError: when it cannot be loaded.
        """
        if expert.id not in self._backbones:
            with expert_errors(expert.name):
                self._backbones[expert.id] = (
                    raw_backbone(expert.modality)
                    if expert.source == RAW
                    else load(expert, trust_code=self.trust_code)
                )
        return self._backbones[expert.id]

    @contextmanager
    def attempting(self, expert: Expert) -> Iterator[None]:
        """Remember that an expert failed, where it does, and try nothing more with it.

        Raises:
            FailedError: whatever it raised.
        """
        store, raw = self.recorded.store, expert.source == RAW
        memory = nullcontext() if raw else remembered(store, expert, self.data.task.id)
        try:
            with memory, expert_errors(expert.name):
                yield
        except FailedError as error:
            self.give_up(expert, error)
            raise

    def withdraw(self) -> None:
        """Let the trials of experts that failed since count as failed."""
        for trial in list(self.trials):
            reason = self.unusable.get(trial.contender.expert.id)
            if reason is not None:
                self._fail(trial, failed_outcome(self.data, reason))

    def _fail(self, trial: TrialRecord, outcome: Outcome) -> None:
        """Let a trial count as failed, so that it is not chosen any more."""
        place = [other.run for other in self.trials].index(trial.run)
        self.trials[place] = replace(trial, outcome=outcome, status=FAILED)

    def give_up(self, expert: Expert, error: ExpertiseError) -> None:
        """Try nothing more with an expert that cannot be loaded, or that failed."""
        line = str(error) if isinstance(error, FailedError) else f"{expert.name} was not tried: {error}"
        self.unusable[expert.id] = line

    def folder(self, run: str) -> Path:
        """Return where the weights of a trial lie."""
        return self.scratch / run.replace(":", "-")

    def has_weights(self, trial: TrialRecord) -> bool:
        """Tell whether the weights of a trial are there, and not only the record of it."""
        return (self.folder(trial.run) / "outcome.json").is_file()

    def full_outcome(self, trial: TrialRecord) -> Outcome | None:
        """Return the outcome with its history, trained again where only the record of it is left."""
        path = self.folder(trial.run) / "outcome.json"
        if path.is_file():
            values = read_json_object(path)
            return Outcome(**{**values, "fits": np.array(values["fits"])})
        try:
            found = self._train(trial.contender.expert, trial.config, trial.run, lambda *_: False)
        except OutOfTime as error:
            found = failed_outcome(self.data, first_line(error))
        if found.stopped != FAILED:
            return found
        self._fail(trial, found)
        return None

    def choice(self) -> tuple[TrialRecord, str]:
        """Return the best trial so far by all that is known, and why; one at least must be usable.

        What cannot be measured and written in the time left is left out, unless nothing can.
        """
        usable, left = [t for t in self.trials if t.usable], TOO_LATE * self.budget.left
        seconds = {t.run: self.finishing_seconds([t]) for t in usable}
        soonest = min(seconds.values())
        possible = [t for t in usable if seconds[t.run] <= max(left, soonest)]
        return choose(possible, raw_accuracy=self.raw_accuracy)

    def ensemble(self, first: TrialRecord) -> list[TrialRecord]:
        """Return the trials that the model would be made of, if `first` was chosen now."""
        if self.interrupted:
            return [first]
        return select(first, self.trials, weights=self.weights(first), allowed=self.allowed)

    def allowed(self, ensemble: Sequence[TrialRecord]) -> bool:
        """Tell whether these trials together are within the limits of the model.

        Networks that take images can be exported as one, unless another description of them is needed.
        """
        mixed = len(ensemble) > 1 and any(t.expert is None for t in ensemble)
        if mixed and known_modalities[self.data.modality].counts is None:
            return False
        return len(ensemble) <= self.settings.members and within(self.settings.query, ensemble)

    def weights(self, first: TrialRecord) -> dict[str, float]:
        """Return how much each usable trial counts beside `first`, by run."""
        return weights_of(first, self.trials, raw_accuracy=self.raw_accuracy)

    def finishing_seconds(self, ensemble: Sequence[TrialRecord]) -> float:
        """Return the seconds to keep for measuring and writing what the model is made of."""
        return self.speed.finishing_seconds(*((t.contender.expert, t.config) for t in ensemble))

    def refit_seconds(self, trial: TrialRecord) -> float:
        """Return the seconds that training the same on all items is expected to take, if it is done."""
        if trial.outcome.stopped == "time":
            return 0.0
        outcome, share = trial.outcome, len(self.visible) / max(len(self.splits.train), 1)
        return share * outcome.seconds * (outcome.kept + 1) / (outcome.epochs + 1)

    def _has_room(self) -> bool:
        """Tell whether one more trial fits beside what is to come after it."""
        if not any(t.usable for t in self.trials):
            return self.budget.left > 0
        ensemble = self.ensemble(self.choice()[0])
        afterwards = self.finishing_seconds(ensemble) + self._reserved_seconds(ensemble)
        # One of less than .4 of the best one's length would hardly be better.
        return self.budget.left - afterwards > 0.4 * ensemble[0].outcome.seconds

    def _reserved_seconds(self, ensemble: Sequence[TrialRecord]) -> float:
        """Return the seconds to keep for training on all items: once, and up to half of the time.

        Where there is no time left for that, none is kept: further trials use the rest.
        """
        if not any(t.usable and t.expert is not None for t in self.trials):
            # An expert is worth more than a second fit of the raw input.
            return 0.0
        once = self.refit_seconds(ensemble[0])
        if self.budget.left - self.finishing_seconds(ensemble) < ENOUGH * once:
            return 0.0
        repeats = REFITS_RESERVED - 1 if self.settings.members == 1 and ensemble[0].averages else 0
        if ensemble[0].repeats:
            repeats = self.settings.members - len(ensemble)
        wanted = sum(map(self.refit_seconds, ensemble)) + repeats * once
        return max(once, min(wanted, self.budget.seconds / 2))

    def _try(
        self, contender: Contender, config: TrainConfig, origin: str, should_prune: PruningRule
    ) -> TrialRecord | None:
        """Run or look up a trial and append it; None where its expert cannot be loaded, or it was run before.

        The first trials are not pruned: one that starts slowly, as from scratch, may complement the others.
        Nor is one at a high learning rate before that has fallen.
        """
        expert = contender.expert
        run = trial_id(AUTO, VERSION, expert, self.data, splits=self.splits, config=config)
        if expert.id in self.unusable or any(t.run == run for t in self.trials):
            return None
        outcome = self.recorded.find(run)
        recorded = outcome is not None
        if outcome is None:
            seconds = self._available(expert, config)
            if self._too_late(expert, config, seconds) or self._items_within(expert, config, seconds) is None:
                return None
            try:
                self.backbone(expert)
            except ExpertiseError as error:
                self.give_up(expert, error)
                return None
            may_prune = origin == SEARCH and any(t.usable for t in self.trials)

            def watch(epochs: int, loss: float) -> bool:
                return should_prune(epochs, loss) and may_prune and may_be_judged(config, epochs)

            try:
                outcome = self._train(expert, config, run, watch)
            except OutOfTime:
                return None
            # An expert that fails is remembered as such; it has no result.
            if expert.id not in self.unusable and expert.source != RAW:
                self.recorded.put(run, expert, config, origin=origin, outcome=outcome)
        else:
            _replay(outcome, should_prune)
        self.interrupted |= outcome.stopped == "interrupted"
        trial = TrialRecord(
            run=run,
            contender=contender,
            config=config,
            outcome=outcome,
            status=status_of(outcome),
            origin=origin,
            recorded=recorded,
        )
        self.trials.append(trial)
        return trial

    def _too_late(self, expert: Expert, config: TrainConfig, seconds: float) -> bool:
        """Tell whether a trial would take the time that the end of the search needs."""
        if expert.source == RAW and not any(t.usable for t in self.trials):
            return False
        augmented = config.augment and known_modalities[self.data.modality].augmented
        epochs = SHORTEST_AUGMENTED if augmented else SHORTEST
        steps = epochs * self.speed.epoch_seconds(expert) if config.way.fine_tunes else 0.0
        return seconds < self.speed.head_seconds(expert, 0) + steps

    def _available(self, expert: Expert, config: TrainConfig) -> float:
        """Return the seconds that a trial may take."""
        finishing, reserved = self.speed.finishing_seconds((expert, config)), 0.0
        if any(t.usable for t in self.trials):
            ensemble = self.ensemble(self.choice()[0])
            finishing = max(finishing, self.finishing_seconds(ensemble))
            reserved = self._reserved_seconds(ensemble)
        return max(self.budget.left - finishing - reserved, 0.1)

    def _items_within(self, expert: Expert, config: TrainConfig, seconds: float) -> LabelledData | None:
        """Return the data with as many items to train on as seconds allow, None where those are too few."""
        splits, known = self.visible.splits, self.known[expert.id]
        train = splits["train"]
        new = {part: ~np.isin(splits[part], list(known)) for part in ("train", "validation")}
        if expert.source == RAW:
            most = MOST_RAW
        elif not new["train"].any() or not (config.way.probe or config.augment):
            return self.visible
        else:
            loading = self.speed.head_seconds(expert, int(new["validation"].sum()))
            each = self.speed.head_seconds(expert, 1) - self.speed.head_seconds(expert, 0)
            most = int((~new["train"]).sum()) + int((HEAD_SHARE * seconds - loading) / max(each, 1e-9))
        if len(train) <= most:
            return self.visible
        if most < LEAST_ITEMS * len(self.data.outputs):
            return None
        order = np.random.default_rng(self.settings.seed).permutation(len(train))
        # Items whose features are known come first.
        drawn = train[order[np.argsort(new["train"][order], kind="stable")]][:most]
        return replace(self.visible, splits={**self.visible.splits, "train": np.sort(drawn)})

    def _train(self, expert: Expert, config: TrainConfig, run: str, watch: PruningRule) -> Outcome:
        folder, seconds = self.folder(run), self._available(expert, config)
        data = self._items_within(expert, config, seconds) or self.visible
        try:
            with self.attempting(expert):
                outcome = run_trial(
                    self.backbone(expert),
                    data,
                    # The raw input is there in any case.
                    replace(config, time_budget=None if expert.source == RAW else seconds),
                    known=self.known[expert.id],
                    folder=folder,
                    watch=watch,
                    progress=self.reporter(f"trial {len(self.trials) + 1}: {expert.name} {config.strategy}"),
                )
        except OutOfTime:
            raise
        except ExpertiseError as error:
            return failed_outcome(self.data, first_line(error))
        self.speed.add(expert, epochs=outcome.epochs, seconds=outcome.seconds, forward=outcome.forward)
        if data is not self.visible:
            n, of = len(data.splits["train"]), len(self.visible.splits["train"])
            outcome = replace(outcome, stopped="time", note=f"trained on {n:,} of {of:,} items")
        write_json(folder / "outcome.json", {**asdict(outcome), "fits": outcome.fits.tolist()})
        return outcome

    def reporter(self, label: str) -> OnProgress:
        """Return a callback that shows how far a training is."""

        def report(progress: TrainingProgress) -> None:
            self.progress(label, progress.step, max(progress.steps, 1))

        return report


def _replay(outcome: Outcome, should_prune: PruningRule) -> None:
    """Tell the sampler the losses of a recorded trial, so that others are compared with it."""
    lowest = np.inf
    for row in outcome.history:
        lowest = min(lowest, row["validation_loss"])
        should_prune(row["epoch"], lowest)
