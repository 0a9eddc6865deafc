"""A short fine-tune to compare experts by: measured on the validation split, and left to be gone on with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import Expert
from expertise_graph.data import LabelledData, Splits, holdout
from expertise_graph.models import Backbone
from expertise_graph.training.build import check_splits, private_rng
from expertise_graph.training.checkpoints import Checkpoints
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.learner import Learner
from expertise_graph.training.loop import Report, Run
from expertise_graph.training.time_budget import Clock


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a short fine-tune reached.

    Attributes:
        accuracy: of the weights that would be kept, on the validation split.
        epochs: epochs that were finished; 0 is the linear probe.
        seconds: of the whole run, from its first epoch on.
        stopped: epochs (all were run), early or nan.
        note: one line about anything unusual, or an empty text.
    """

    accuracy: float
    epochs: int
    n_train: int
    n_validation: int
    seconds: float
    stopped: str
    note: str


def trial_splits(data: LabelledData, seed: int) -> Splits:
    """Return the splits of a trial, which are those of a warm start with the same seed.

    Raises:
        DatasetError: when one of them is empty, or one class is left to train on.
    """
    splits = holdout(data, seed=seed)
    check_splits(data, {"train": splits.train, "validation": splits.validation, "test": splits.test})
    return splits


def trial_id(
    method: str, version: str, expert: Expert, data: LabelledData, *, splits: Splits, config: TrainConfig
) -> str:
    """Return the id of a trial; the same expert, data, splits and settings have the same."""
    parts = (version, expert.id, data.task.id, config.digest())
    rows = (splits.train.tobytes(), splits.validation.tobytes())
    content = b"\n".join((*(part.encode() for part in parts), *rows))
    return f"{method}:{hashlib.sha256(content).hexdigest()[:16]}"


def try_out(
    backbone: Backbone, data: LabelledData, *, out: Path, config: TrainConfig, progress: Report | None = None
) -> Trial:
    """Fine-tune `backbone` for `config.epochs`, from where a trial of fewer epochs left off in `out`.

    The learning rate falls to zero at the end of each trial and rises again when a longer one goes
    on, so that every trial ends with weights worth measuring. The test split is not looked at.

    Args:
        backbone: the expert in memory; it is not changed.
        data: labelled inputs of its modality.
        out: folder for the checkpoint, used by trials of this expert alone.
        config: the settings; a longer trial differs in its epochs only.
        progress: called after each step and phase.

    Raises:
        DatasetError: as `trial_splits`.
        SourceError: when the expert gives features that are not finite.

    References:
        Loshchilov and Hutter, arXiv:1608.03983, warm restarts.
    """
    with private_rng(config.seed):
        run = Run(Learner(backbone, data, config), Clock(None), Checkpoints(out), report=progress)
        run.begin()
        if run.state.stopped == "epochs" and run.state.step < run.steps:
            run.state.stopped = ""
        while not run.state.stopped:
            if run.epoch():
                run.save()
    state = run.state
    return Trial(
        accuracy=state.history[state.kept]["validation_accuracy"],
        epochs=state.epoch,
        n_train=len(run.rows["train"]),
        n_validation=len(run.rows["validation"]),
        seconds=run.clock.seconds,
        stopped=state.stopped,
        note=state.note,
    )
