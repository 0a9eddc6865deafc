"""The specification of a run, and its training: from an expert and, for comparison, from scratch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import Expert, IntArray, InvalidInputError, setting
from expertise_graph.data import Columns, LabelledData, Splits, known_modalities
from expertise_graph.models import Backbone, native_features
from expertise_graph.training.batches import training_splits
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.resizing.resize_expert import resize
from expertise_graph.training.result import OnProgress, TrainResult
from expertise_graph.training.trainer import train

_NO_COLUMNS = Columns()


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What is trained from what, how, and where to.

    Attributes:
        expert: the node to start from.
        config: the settings.
        out: folder of the run.
        architecture: the node that ``config.into`` names, where it is a registered expert.
        compare_cold: whether to train from scratch as well.
        tracker: experiment tracker.
        columns: of the table that the data were read from, so that other processes read the same.
        launcher: arguments for ``accelerate launch``; None to train in this process.
        started: when the time budget began, by `time.perf_counter`; None for when training begins.
    """

    expert: Expert
    config: TrainConfig
    out: Path
    architecture: Expert | None = None
    compare_cold: bool = False
    tracker: str = "tensorboard"
    columns: Columns = _NO_COLUMNS
    launcher: tuple[str, ...] | None = None
    started: float | None = None

    @property
    def measures_expert(self) -> bool:
        """Whether the result is one of the expert, and not of random weights or of a smaller network."""
        return self.config.way.pretrained and self.config.into is None

    def run_id(self, data: LabelledData) -> str:
        """Return the id of the run on `data`; the same specification has the same, so that it is resumed."""
        parts = (self.expert.id, data.task.id, self.config.digest(), str(self.out.absolute()))
        return f"run:{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16]}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the launcher: each process trains by itself."""
        return {
            "expert": dataclasses.asdict(self.expert),
            "config": self.config.as_dict(),
            "out": str(self.out),
            "architecture": self.architecture and dataclasses.asdict(self.architecture),
            "compare_cold": self.compare_cold,
            "tracker": self.tracker,
            "columns": dataclasses.asdict(self.columns),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """Return the specification that `as_dict` gave."""
        architecture = values["architecture"]
        return cls(
            expert=Expert.from_dict(values["expert"]),
            config=TrainConfig(**values["config"]),
            out=Path(values["out"]),
            architecture=Expert.from_dict(architecture) if architecture else None,
            compare_cold=values["compare_cold"],
            tracker=values["tracker"],
            columns=Columns(**values["columns"]),
        )


@dataclass(frozen=True, kw_only=True)
class WarmCold:
    """The results of a warm start and, where it was asked for, of the cold start on the same budget."""

    warm: TrainResult
    cold: TrainResult | None

    @property
    def transfer_gain(self) -> float | None:
        """Accuracy of the warm start minus that of the cold start on the same test split."""
        return None if self.cold is None else self.warm.accuracy - self.cold.accuracy


def train_by_spec(
    backbone: Backbone,
    data: LabelledData,
    spec: RunSpec,
    *,
    trust_code: bool = False,
    seen: int = 0,
    progress: OnProgress | None = None,
) -> WarmCold:
    """Train from an expert into ``spec.out``, and where asked for from scratch into ``spec.out/cold``.

    Both have the same splits, batches, epochs and time budget; each is resumed or read back by a
    second call. Where the settings name another architecture, that is what is trained, from weights
    of the expert.

    Args:
        backbone: the expert in memory.
        data: labelled inputs of its modality.
        spec: expert, settings and folder.
        trust_code: whether code that comes with an expert, or a factory of the user, may be run.
        seen: items of the test split that the expert was trained on before.
        progress: called after each step and phase.

    Raises:
        InvalidInputError: as `train`, and when a cold start would be compared with itself.
        SourceError: as `train`, and when the head is to be native and the library has none that fits.
    """
    config = spec.config
    if spec.compare_cold and not config.way.pretrained:
        raise InvalidInputError(
            f"strategy {config.strategy} is a cold start itself: leave out {setting('compare_cold')}"
        )
    network = _network(backbone, data, spec, trust_code=trust_code)

    def run(out: Path, settings: TrainConfig, seen: int, started: float | None) -> TrainResult:
        return train(
            network,
            data,
            out=out,
            config=settings,
            expert=spec.expert,
            teacher=backbone,
            seen=seen,
            tracker=spec.tracker,
            started=started,
            progress=progress,
        )

    warm = run(spec.out, config, seen, spec.started)
    cold = run(spec.out / "cold", config.cold(), 0, None) if spec.compare_cold else None
    return WarmCold(warm=warm, cold=cold)


def trial_id(
    method: str, version: str, expert: Expert, data: LabelledData, *, splits: Splits, config: TrainConfig
) -> str:
    """Return the id of a trial; the same expert, data, splits and settings have the same."""
    parts = (version, expert.id, data.task.id, config.digest())
    rows = (splits.train.tobytes(), splits.validation.tobytes())
    content = b"\n".join((*(part.encode() for part in parts), *rows))
    return f"{method}:{hashlib.sha256(content).hexdigest()[:16]}"


def _network(backbone: Backbone, data: LabelledData, spec: RunSpec, *, trust_code: bool) -> Backbone:
    """Return what is trained: the expert or a smaller network from its weights, pooled as asked for."""
    config = spec.config
    if config.into is not None:
        items = _Decoded(data, training_splits(data, config.seed).train)
        reference = spec.architecture or config.into
        backbone = resize(backbone, spec.expert, reference, items=items, trust_code=trust_code)
    return native_features(backbone) if config.head == "native" else backbone


@dataclass(frozen=True)
class _Decoded(Sequence[Any]):
    """Items of a dataset, decoded when they are asked for: resizing looks at some of them only."""

    data: LabelledData
    rows: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return known_modalities[self.data.modality].decode(self.data.items[self.rows[place]])
