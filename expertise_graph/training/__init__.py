"""Fine-tuning from an expert: one trainer, strategies, smaller networks from larger ones, the race."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.training.batches import Inputs, even_batches, training_order
    from expertise_graph.training.build import private_rng
    from expertise_graph.training.calibration import fit_temperature
    from expertise_graph.training.checkpoints import (
        Checkpoints,
        State,
        Tensors,
        restore,
        trained_tensors,
    )
    from expertise_graph.training.config import TrainConfig
    from expertise_graph.training.disk_cache import Batch
    from expertise_graph.training.fine_tune import identity_of, train
    from expertise_graph.training.learner import Learner
    from expertise_graph.training.linear_probe import LinearHead, fit_linear_head
    from expertise_graph.training.loop import Run
    from expertise_graph.training.objective import METRICS, objective_of
    from expertise_graph.training.optimizer import hold_batch_norm
    from expertise_graph.training.race import Race
    from expertise_graph.training.registered import Plan, Report, begun_from, execute
    from expertise_graph.training.resizing.fitting import fit_layers
    from expertise_graph.training.resizing.layout import read_layouts
    from expertise_graph.training.resizing.references import into_architecture, parse_shrink, shrink
    from expertise_graph.training.resizing.resize_expert import MOST_ITEMS, resize, transfer
    from expertise_graph.training.resizing.selection import SELECTIONS, chosen, picker, select_weights
    from expertise_graph.training.result import TrainingProgress, TrainResult
    from expertise_graph.training.start import Start, WarmCold, warm_start
    from expertise_graph.training.strategy import start_moving, strategies
    from expertise_graph.training.time_budget import BACKWARD_COST, Clock
    from expertise_graph.training.trial import Trial, trial_id, trial_splits, try_out

__getattr__, __dir__, __all__ = door(__name__)
