"""What a search answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from expertise_graph.core import WarmStart

DONE, PRUNED, CUT, DIVERGED, FAILED = "done", "pruned", "cut", "diverged", "failed"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial: an expert fine-tuned with some settings, measured on the validation split.

    Attributes:
        run: id of the trial; the same expert, data and settings have the same.
        origin: why it was tried: raw input, linear probe, defaults, from scratch, next expert, similar task
            or search.
        settings: those that differ from the defaults.
        epochs: that were finished.
        accuracy: of the kept weights on the validation split (of labels and values their own score).
        loss: the same in mean log loss, after the temperature.
        status: done, pruned (behind others after as many epochs), cut (by time), diverged or failed.
        recorded: whether it was on record, and so not run again.
        note: one line about anything unusual, or an empty text.
    """

    run: str
    expert: str
    name: str
    origin: str
    settings: Mapping[str, Any]
    epochs: int
    accuracy: float
    loss: float
    seconds: float
    status: str
    recorded: bool = False
    note: str = ""

    @property
    def settings_text(self) -> str:
        """The settings that differ from the defaults, in one line."""
        return ", ".join(f"{name} {_written(value)}" for name, value in self.settings.items()) or "defaults"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A network of an ensemble.

    Attributes:
        path: folder of the network, below that of the ensemble.
        weight: share of its answer in that of all.
        run: id of the trial that its settings are from.
        accuracy: on the test split, alone.
    """

    path: str
    weight: float
    run: str
    expert: str
    strategy: str
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class AutoResult:
    """What a search chose, and the finished model.

    Attributes:
        model: its network as the result of a warm start, of several the first.
        accuracy: of the model on the test split, of several networks together.
        members: the networks that answer together, the first included; none where there is one.
        trials: in the order they were run.
        chosen: runs of the trials that the model is made of.
        reason: one sentence that says why.
        spent: seconds by what they went to: query, trials, choice, final.
        experts_run: how many experts the query ran.
        interrupted: whether Ctrl-C ended the search.
        notes: what else to know.
    """

    model: WarmStart
    accuracy: float
    members: tuple[Member, ...]
    trials: tuple[TrialResult, ...]
    chosen: tuple[str, ...]
    reason: str
    spent: Mapping[str, float]
    seconds: float
    time_budget: float
    experts_run: int
    interrupted: bool = False
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AutoResult:
        """Return the result that `as_dict` gave, read from JSON."""
        return cls(
            **{
                **values,
                "model": WarmStart(**values["model"]),
                "trials": tuple(TrialResult(**trial) for trial in values["trials"]),
                "members": tuple(Member(**member) for member in values["members"]),
                "chosen": tuple(values["chosen"]),
                "notes": tuple(values["notes"]),
            }
        )
