"""The course of a training: a linear probe, then epochs; the best one is kept, each one is resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from expertise_graph.data import VALUE
from expertise_graph.training.batches import even_batches, training_order
from expertise_graph.training.build import peak_memory, private_rng
from expertise_graph.training.calibration import fit_temperature
from expertise_graph.training.checkpoints import Checkpoints, State, Tensors, restore, trained_tensors
from expertise_graph.training.learner import Learner
from expertise_graph.training.objective import METRICS
from expertise_graph.training.optimizer import schedule
from expertise_graph.training.result import TrainingProgress, TrainResult
from expertise_graph.training.selection import last_improvement, worth_keeping
from expertise_graph.training.time_budget import Clock
from expertise_graph.training.trackers import Tracker

Report = Callable[[TrainingProgress], None]


class Run:
    """The course of one training run."""

    def __init__(
        self, learner: Learner, clock: Clock, checkpoints: Checkpoints, *, report: Report | None
    ) -> None:
        self.learner, self.clock, self.checkpoints, self.report = learner, clock, checkpoints, report
        self.config, self.rows = learner.config, learner.rows
        self.leads = learner.accelerator.is_main_process
        self.state = State()
        clock.sizes = {split: len(rows) for split, rows in self.rows.items()}
        self.best: Tensors = {}
        self.tested = torch.zeros(0)
        per_epoch = len(list(even_batches(self.rows["train"], self.config.batch_size)))
        self.steps = self.config.epochs * per_epoch if self.config.way.fine_tunes else 0

    def begin(self) -> None:
        """Continue from the newest checkpoint, or make and save epoch 0."""
        loaded = self.checkpoints.load(self.learner.classifier, self.learner.adamw)
        self.learner.accelerator.wait_for_everyone()
        if loaded is not None:
            self.state, self.best = loaded
            self.clock.resume(self.state.clock)
            self.learner.mirror, self.learner.parts = self.state.mirror, self.state.parts
            self.learner.ask_teacher()
            if self.learner.accelerator.scaler is not None:
                self.learner.accelerator.scaler.load_state_dict(self.state.scaler)
            return
        self.tell("head")
        self.learner.begin()
        self.state.mirror = self.learner.mirror
        self.close_epoch(loss=None, train_accuracy=None)
        for name in self.best.keys() & {"head.weight", "head.bias"}:
            # What is kept of the probe has its own length.
            self.best[name] = self.best[name] / self.learner.length
        self.clock.since = self.clock.seconds
        self.save()

    def fine_tune(self, tracker: Tracker) -> None:
        """Run epochs until there is a reason to stop; log and save each one."""
        try:
            if self.state.epoch == 0:
                self.log(tracker)
            while not self.state.stopped:
                if not self.learner.agreed(self.clock.room_for_epoch()):
                    self.state.stopped = "time"
                    return
                started = self.clock.seconds
                if self.epoch():
                    self.save()
                    self.log(tracker)
                    self.clock.longest = max(self.clock.longest, self.clock.seconds - started)
        finally:
            tracker.finish()

    def epoch(self) -> bool:
        """Train one epoch; return False when it was given up because of NaN or time."""
        number, losses, outputs, seen = self.state.epoch + 1, 0.0, [], []
        learner = self.learner
        learner.training_mode()
        order = training_order(self.rows["train"], seed=self.config.seed, epoch=number)
        with private_rng(self.config.seed, number):
            for rows in even_batches(order, self.config.batch_size):
                done = max((self.state.step + 1) / self.steps, learner.agreed(self.clock.fraction()))
                mine = learner.share(rows)
                loss, logits = learner.step(mine, done=done, lr_share=schedule(done))
                self.state.step += 1
                if not math.isfinite(loss):
                    return self.give_up("nan", f"the loss was {loss} at step {self.state.step}")
                if not learner.agreed(self.clock.room_for_step()):
                    return self.give_up("time", "")
                losses += loss * len(rows)
                seen.append(mine)
                outputs.append(logits)
                self.tell("train", loss)
        self.state.epoch = number
        score = learner.objective.score(torch.cat(outputs), learner.objective.targets[np.concatenate(seen)])
        return self.close_epoch(loss=losses / len(order), train_accuracy=score)

    def close_epoch(self, *, loss: float | None, train_accuracy: float | None) -> bool:
        """Validate, keep the weights if they are the best so far, decide whether to go on."""
        started, state = time.perf_counter(), self.state
        validation_accuracy, validation_loss = map(self.learner.agreed, self.learner.evaluate("validation"))
        self.clock.forward = (time.perf_counter() - started) / len(self.rows["validation"])
        if not math.isfinite(validation_loss):
            state.epoch -= 1
            return self.give_up("nan", f"the validation loss was {validation_loss} after step {state.step}")
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.step,
                "loss": loss,
                "train_accuracy": train_accuracy,
                "validation_accuracy": validation_accuracy,
                "validation_loss": validation_loss,
                "lr": self.learner.lr if state.step else None,
                "seconds": self.clock.seconds,
            }
        )
        if worth_keeping(state.history, self.learner.objective.one_item):
            state.kept = state.epoch
            self.best = {n: t.clone() for n, t in trained_tensors(self.learner.classifier).items()}
        if state.step >= self.steps:
            state.stopped = "epochs"
        elif state.epoch - last_improvement(state.history) >= self.config.patience:
            state.stopped = "early"
        self.tell("train")
        return True

    def give_up(self, stopped: str, reason: str) -> bool:
        """Stop in the midst of an epoch; what was kept before it is the result."""
        self.state.stopped = stopped
        if reason:
            self.state.note = f"{reason} in epoch {self.state.epoch + 1}; epoch {self.state.kept} was kept"
        return False

    def save(self) -> None:
        """Write the checkpoint of the epoch that has just ended; the first of several processes does."""
        if not self.leads:
            return
        started = self.clock.seconds
        self.state.clock = self.clock.as_dict()
        self.state.parts = self.learner.parts
        if self.learner.accelerator.scaler is not None:
            self.state.scaler = self.learner.accelerator.scaler.state_dict()
        self.checkpoints.save(self.state, self.learner.classifier, self.learner.adamw)
        self.clock.saving = max(self.clock.saving, self.clock.seconds - started)

    def finish(self, seen: int = 0) -> TrainResult:
        """Put the kept weights back and measure them on the test split, of which the expert has seen some."""
        self.tell("test")
        state, learner = self.state, self.learner
        self.put_back()
        untrained = self.mend_untrained()
        logits = learner.predict(self.rows["test"])
        accuracy = learner.objective.score(logits, learner.wanted("test"))
        self.tested = learner.objective.natural(logits)
        temperature = self.temperature()
        learner.objective.rescale(learner.classifier.head)
        return TrainResult(
            strategy=self.config.strategy,
            metric=learner.objective.metric,
            accuracy=accuracy,
            validation_accuracy=state.history[state.kept]["validation_accuracy"],
            kept_epoch=state.kept,
            epochs=state.epoch,
            steps=state.step,
            seconds=self.clock.seconds,
            seed=self.config.seed,
            n_train=len(self.rows["train"]),
            n_validation=len(self.rows["validation"]),
            n_test=len(self.rows["test"]),
            stopped=state.stopped,
            temperature=temperature,
            parts=learner.parts,
            augmentation=self.augmentation(),
            peak_memory=peak_memory(),
            note="; ".join(
                filter(
                    None,
                    (self.seen_note(seen), state.note, untrained, self.memory_note(), self.unseen_note()),
                )
            ),
            history=tuple(state.history),
            seen=seen,
        )

    def put_back(self) -> None:
        """Load the kept weights into the classifier."""
        restore(self.learner.classifier, self.best)

    def mend_untrained(self) -> str:
        """Make a linear probe of a new head that no epoch was kept of; return a line that says so."""
        if self.state.kept or self.config.way.probe:
            return ""
        if not self.config.way.pretrained:
            return "no epoch was kept: the weights are random"
        self.learner.take_probe()
        accuracy, loss = map(self.learner.agreed, self.learner.evaluate("validation"))
        self.state.history[0] |= {"validation_accuracy": accuracy, "validation_loss": loss}
        return "no epoch was kept: the model is a linear probe on the expert's features"

    def temperature(self) -> float:
        """Return what makes the probabilities of the kept weights honest on the validation split."""
        if self.state.temperature is not None:
            return self.state.temperature
        if self.learner.objective.metric == METRICS[VALUE]:
            return 1.0
        return fit_temperature(
            self.learner.predict(self.rows["validation"]), self.learner.wanted("validation")
        )

    def augmentation(self) -> str:
        """Return what was done to the inputs at random."""
        if not self.learner.changes_inputs or not self.config.way.fine_tunes:
            return "none"
        return "position, size, angle, light" + (", mirroring" if self.learner.mirror else "")

    def memory_note(self) -> str:
        """Return a line if memory did not suffice for the batches that were asked for."""
        if self.learner.parts == self.config.accumulate:
            return ""
        return f"memory was short: each batch was computed in {self.learner.parts} parts"

    def seen_note(self, seen: int) -> str:
        """Return a line if the expert has learnt from test items before."""
        if not seen:
            return ""
        n = len(self.rows["test"])
        return f"the expert had learnt from {seen} of the {n} test items before: this is no test of new ones"

    def unseen_note(self) -> str:
        """Return a line if there are classes that cannot have been learnt."""
        unseen = self.learner.objective.unseen
        if not unseen:
            return ""
        named = ", ".join(unseen[:3]) + (", ..." if len(unseen) > 3 else "")
        return f"no item to train on for {len(unseen)} of {self.learner.objective.outputs} classes ({named})"

    def log(self, tracker: Tracker) -> None:
        """Show the last epoch."""
        row = self.state.history[-1]
        names = ("loss", "train_accuracy", "validation_accuracy", "validation_loss", "lr")
        tracker.log({name: row[name] for name in names if row[name] is not None}, row["step"])

    def tell(self, phase: str, loss: float | None = None) -> None:
        """Report progress, if anybody listens."""
        if self.report is None or not self.leads:
            return
        history = self.state.history
        self.report(
            TrainingProgress(
                strategy=self.config.strategy,
                phase=phase,
                epoch=self.state.epoch,
                epochs=self.config.epochs if self.config.way.fine_tunes else 0,
                step=self.state.step,
                steps=self.steps,
                loss=loss,
                validation_accuracy=history[-1]["validation_accuracy"] if history else None,
                seconds=self.clock.seconds,
            )
        )
