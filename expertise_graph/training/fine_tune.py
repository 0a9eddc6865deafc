"""A training: begun, resumed or read back, and what it leaves in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expertise_graph.core import Expert, InvalidInputError
from expertise_graph.data import LabelledData
from expertise_graph.models import Backbone, RunFolder
from expertise_graph.training.build import private_rng, processes
from expertise_graph.training.checkpoints import Checkpoints
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.learner import Learner
from expertise_graph.training.loop import Report, Run
from expertise_graph.training.output import write_outputs
from expertise_graph.training.result import TrainResult
from expertise_graph.training.time_budget import Clock
from expertise_graph.training.trackers import TENSORBOARD, Silent, check_tracker, open_tracker


def train(
    backbone: Backbone,
    data: LabelledData,
    *,
    out: Path,
    config: TrainConfig,
    expert: Expert | None = None,
    teacher: Backbone | None = None,
    seen: int = 0,
    tracker: str = TENSORBOARD,
    progress: Report | None = None,
) -> TrainResult:
    """Fine-tune `backbone` with a new linear head on `data`; call again to resume or to read the result.

    Epoch 0 of most strategies is the linear probe: a regularised regression on frozen features, which
    becomes the head, so that an ignorant head does not distort the pretrained features. Then the
    weights that the strategy moves are trained, the early stages more gently. The best epoch on the
    validation split is kept. Neither `backbone` nor the caller's random state is changed.

    Args:
        backbone: the expert in memory.
        data: labelled inputs of the modality of the backbone.
        out: folder of the run; holds model, head, card and logs, and checkpoints until it is done.
        config: the settings.
        expert: the node the backbone was loaded from, for the card and to recognise the run.
        teacher: whose answers are learned from, where the settings ask for distillation.
        seen: items of the test split that the expert has learnt from before; the result says so.
        tracker: what shows the course of the run: tensorboard, trackio, mlflow or wandb.
        progress: called after each step and phase.

    Raises:
        InvalidInputError: when the modalities differ, `out` holds something else, or there is no such
            tracker.
        MissingExtraError: when the tracker is not installed.
        DatasetError: when the data leave nothing to train, validate or test on.
        SourceError: when the expert gives features that are not finite.
        NotFoundError: when the run has finished, and a file of its model is gone.

    References:
        Kumar et al., arXiv:2202.10054, linear probing then fine-tuning.
    """
    clock = Clock(config.time_budget)
    check_tracker(tracker)
    if backbone.modality != data.modality:
        raise InvalidInputError(
            f"{data.name} holds {data.modality} and the expert takes {backbone.modality}: "
            f"choose an expert for {data.modality}"
        )
    folder, identity = RunFolder(out), identity_of(config, data, expert)
    with processes().main_process_first():
        recorded = folder.claim(identity)
    checkpoints = Checkpoints(out)
    if recorded is None:
        with private_rng(config.seed):
            run = Run(Learner(backbone, data, config, teacher=teacher), clock, checkpoints, report=progress)
            run.begin()
            run.fine_tune(open_tracker(tracker, out, config, step=run.state.step) if run.leads else Silent())
            result = run.finish(seen)
        recorded = result.as_dict()
        if run.leads:
            write_outputs(
                folder,
                backbone,
                run.learner.classifier,
                result=result,
                tested=run.tested,
                data=data,
                expert=expert,
            )
            folder.finish(identity, recorded)
        run.learner.accelerator.wait_for_everyone()
    else:
        folder.check_complete()
    if processes().is_main_process:
        checkpoints.remove()
    return TrainResult.from_dict(recorded)


def identity_of(config: TrainConfig, data: LabelledData, expert: Expert | None) -> dict[str, Any]:
    """Return what a folder knows the run in it by."""
    return {
        "config": config.as_dict(),
        "digest": config.digest(),
        "expert": expert.id if expert else None,
        "data": data.sha256,
    }
