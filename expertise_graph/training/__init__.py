"""Fine-tuning from an expert: one trainer, strategies, smaller networks from larger ones, the race."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.training.batches import (
        BatchLoader,
        even_batches,
        training_order,
        training_splits,
    )
    from expertise_graph.training.checkpoints import (
        Tensors,
        TrainingState,
        copied,
        restore,
        trained_tensors,
    )
    from expertise_graph.training.config import DEFAULT_LR, TrainConfig
    from expertise_graph.training.device import private_rng
    from expertise_graph.training.linear_probe import fit_probe
    from expertise_graph.training.objective import METRICS, Objective, objective_of
    from expertise_graph.training.optimizer import hold_batch_norm
    from expertise_graph.training.plan import plan_of
    from expertise_graph.training.proposal import propose
    from expertise_graph.training.race import SuccessiveHalving
    from expertise_graph.training.resizing.resize_expert import resize
    from expertise_graph.training.result import OnProgress, TrainingProgress, TrainResult
    from expertise_graph.training.runs import (
        TRAINED,
        describe_run,
        expert_of_run,
        finish_run,
        finished_run,
        warm_start,
        warm_start_from_first,
    )
    from expertise_graph.training.spec import RunSpec, trial_id
    from expertise_graph.training.strategy import strategies, unfreeze
    from expertise_graph.training.time_budget import BACKWARD_COST, SLOW, OutOfTime
    from expertise_graph.training.trainable import TrainableModel
    from expertise_graph.training.trainer import Trainer, identity_of, train

__getattr__, __dir__, __all__ = door(__name__)
