"""Fine-tuning from an expert: linear probe, full fine-tune, cold start, and what they leave behind."""

from expertise_graph.warmstart.config import TrainConfig
from expertise_graph.warmstart.fine_tune import train
from expertise_graph.warmstart.folder import discard
from expertise_graph.warmstart.output import load_model
from expertise_graph.warmstart.result import Progress, TrainResult
from expertise_graph.warmstart.start import Start, WarmCold, warm_start
from expertise_graph.warmstart.trial import Trial, trial_id, trial_splits, try_out

__all__ = [
    "Progress",
    "Start",
    "TrainConfig",
    "TrainResult",
    "Trial",
    "WarmCold",
    "discard",
    "load_model",
    "train",
    "trial_id",
    "trial_splits",
    "try_out",
    "warm_start",
]
