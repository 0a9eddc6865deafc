"""The verdict on a run, by rules on its history: over-fitting, under-fitting and so on; what to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import Command, count, percent, stats
from expertise_graph.data import CLASS
from expertise_graph.diagnostics.finished_run import FinishedRun
from expertise_graph.training import DEFAULT_LR, TrainConfig

# Training accuracy above that of validation from which on items are memorised; smaller gaps are usual with
# frozen features and harmless.
GAP = 0.1

# A validation loss so many times its lowest has risen for good and not by the noise of an epoch.
RISEN = 1.1

# Training accuracy below which the model has not even learnt what it was shown.
LOW = 0.9

# Validation accuracy that further epochs can hardly raise.
DONE = 0.99

# A training that time cut is proposed with so many times as much.
_LONGER = 4

# Test items count as harder from this difference on, or two standard errors where these are more.
_HARDER = 0.05

# Width of the interval of the accuracy on test items from which on it is told.
_WIDE = 0.2


@dataclass(frozen=True, kw_only=True)
class RunVerdict:
    """How a run went.

    Attributes:
        kind: diverged, probe, probe-kept, unfinished, over-fitting, gap, under-fitting, uncertain or good.
        text: what that means, with the numbers.
        commands: up to three to try next.
    """

    kind: str
    text: str
    commands: tuple[Command, ...]


def judge(run: FinishedRun, data: str, settings: Mapping[str, str | bool] | None = None) -> RunVerdict:
    """Return the verdict on a run; the first rule that fits counts.

    Args:
        run: the finished run.
        data: its data as a command names them.
        settings: that commands need to read them.
    """
    kind, numbers = kind_of_run(run), _numbers(run)
    scores = {name: run.said(numbers[name]) for name in ("train", "validation", "test")}
    begun = any(row["epoch"] > 0 for row in run.history)
    said = _TEXTS["unbegun" if kind == "unfinished" and not begun else kind]
    text = said.format(kept=f"{numbers['kept']:.0f}", **scores) + _shift(run) + _interval(run)
    return RunVerdict(kind=kind, text=text, commands=_commands(run, kind, data, settings or {}))


def kind_of_run(run: FinishedRun) -> str:
    """Return which rule fits, see `RunVerdict`.

    diverged: the loss became NaN. probe: only the head was trained. probe-kept: no epoch was better than
    the linear probe. unfinished: the last epoch had the best validation accuracy or loss, and the number
    of epochs or the time ended it. over-fitting: training accuracy is a tenth, and two standard errors, above
    validation, whose loss has risen by a tenth from its lowest. gap: it is two tenths above, and the loss
    has not risen. under-fitting: training accuracy itself stays below 90 %. uncertain: it is a tenth above
    validation or test, of which there are so few items that this may be chance.
    """
    rows = [row for row in run.history if row["epoch"] > 0]
    if run.result["stopped"] == "nan":
        return "diverged"
    if not rows:
        return "unfinished" if run.result["stopped"] == "time" else "probe"
    if run.result["kept_epoch"] == 0:
        return "probe-kept"
    numbers = _numbers(run)
    cut = run.result["stopped"] in ("epochs", "time")
    if cut and _still_improving(rows) and numbers["gap"] < GAP and numbers["validation"] < DONE:
        return "unfinished"
    noise = 2 * math.sqrt(_variance(numbers["validation"]) / max(numbers["items"], 1))
    if numbers["gap"] > max(GAP, noise) and _risen(run.history):
        return "over-fitting"
    if numbers["gap"] > max(2 * GAP, noise):
        return "gap"
    if numbers["train"] < LOW:
        return "under-fitting"
    if run.kind != CLASS:
        return "good"  # no share of items, so no interval of one
    held_out = min(numbers["validation"], numbers["test"])
    doubt = 2 * math.sqrt(_variance(numbers["test"]) / max(float(run.result["n_test"]), 1.0))
    return "uncertain" if numbers["train"] - held_out > GAP and doubt > GAP else "good"


def _shift(run: FinishedRun) -> str:
    """Return a sentence when the test items are clearly harder than those of validation, else nothing."""
    numbers, n_test = _numbers(run), max(float(run.result["n_test"]), 1.0)
    # Smoothed by four items, as of few all may be right by chance.
    validation = (numbers["validation"] * numbers["items"] + 2) / (numbers["items"] + 4)
    doubt = math.sqrt(_variance(validation) / (numbers["items"] + 4) + _variance(numbers["test"]) / n_test)
    if validation - numbers["test"] <= max(_HARDER, 2 * doubt):
        return ""
    test, held = run.said(numbers["test"]), run.said(numbers["validation"])
    return (
        f" The test items are harder ({test}) than the validation items ({held}): they may come from "
        "another source, or validation items have near-duplicates in training."
    )


def _interval(run: FinishedRun) -> str:
    """Return a sentence on how much the accuracy on few test items says, else nothing."""
    n = int(run.result["n_test"])
    if run.kind != CLASS or n < 1:
        return ""
    low, high = stats.wilson(round(float(run.result["accuracy"]) * n), n)
    if high - low <= _WIDE:
        return ""
    return (
        f" Of only {count(n, 'test item')}, the accuracy on new ones may lie anywhere from {percent(low)} to "
        f"{percent(high)} (95 % interval)."
    )


def _variance(score: float) -> float:
    """Return the variance of a score on one item; of scores that are no shares of items a guess."""
    share = min(max(score, 0.0), 1.0)
    return share * (1.0 - share)


def _still_improving(rows: list[Mapping[str, Any]]) -> bool:
    last, before = rows[-1], rows[:-1]
    return bool(
        before
        and (
            last["validation_accuracy"] > max(row["validation_accuracy"] for row in before)
            or last["validation_loss"] < min(row["validation_loss"] for row in before)
        )
    )


def _risen(history: Sequence[Mapping[str, Any]]) -> bool:
    return bool(history[-1]["validation_loss"] > RISEN * min(row["validation_loss"] for row in history))


def _numbers(run: FinishedRun) -> dict[str, float]:
    last = run.history[-1] if run.history else {}
    train = last.get("train_accuracy")
    validation = float(run.result["validation_accuracy"])
    train = validation if train is None else float(train)
    return {
        "train": train,
        "validation": validation,
        "gap": train - float(last.get("validation_accuracy", validation)),
        "test": float(run.result["accuracy"]),
        "kept": float(run.result["kept_epoch"]),
        "items": float(run.result["n_validation"]),
    }


_TEXTS = {
    "diverged": "Training diverged: the loss became NaN, and the best epoch before that was kept.",
    "probe": "Only a linear head was trained: {validation} on validation, {test} on test.",
    "probe-kept": (
        "Fine-tuning did not help: no epoch beat the linear probe, which was kept ({validation} "
        "on validation)."
    ),
    "unfinished": (
        "Training stopped while it was still improving (epoch {kept}, {validation} on validation): "
        "it is not finished."
    ),
    "unbegun": (
        "Time ended before the first epoch: this is a linear probe on the expert's features ({validation} on "
        "validation)."
    ),
    "over-fitting": (
        "The model over-fits: {train} in training, {validation} on validation, whose loss "
        "has risen again; the best epoch ({kept}) was kept."
    ),
    "gap": (
        "The model does far better on the items it was trained on ({train}) than on new ones "
        "({validation} on validation), whose loss has not risen: more or more varied items, or an "
        "expert nearer to the task, would help, longer training would not."
    ),
    "under-fitting": (
        "The model under-fits: {train} in training, {validation} on validation, so the expert or the "
        "settings limit it rather than the number of items."
    ),
    "uncertain": (
        "{train} in training, {validation} on validation, {test} on test: of so few items this gap is "
        "over-fitting or chance, and only more of them can tell; epoch {kept} was kept."
    ),
    "good": (
        "Training went well: {train} in training, {validation} on validation, {test} on "
        "test; epoch {kept} was kept."
    ),
}


def _given(run: FinishedRun) -> dict[str, str | float | bool | None]:
    """Return the settings of a run that are not the defaults."""
    usual = TrainConfig().as_dict()
    return {name: value for name, value in run.config.items() if name not in usual or value != usual[name]}


def _lr(run: FinishedRun) -> float:
    """Return the peak learning rate of a run, which results of earlier versions leave out."""
    return float(run.result.get("lr") or run.config.get("lr", DEFAULT_LR))


def _commands(
    run: FinishedRun, kind: str, data: str, settings: Mapping[str, str | bool]
) -> tuple[Command, ...]:
    def again(name: str, **changes: str) -> Command:
        """Return the run with some settings changed, into a folder beside its own."""
        expert = {"expert": run.expert} if run.expert else {}
        out = {"out": f"{run.folder}-{name}"}
        return Command("warm_start", (data,), {**settings, **expert, **_given(run), **changes, **out})

    epochs, lr = int(run.config.get("epochs", 20)), _lr(run)
    gentler = again("gentle", lr=f"{lr / 3:.2g}")
    budget = run.config.get("time_budget")
    longer = (
        again("longer", time_budget=f"{_LONGER * float(budget):g}")
        if run.result["stopped"] == "time" and budget
        else again("longer", epochs=str(2 * epochs))
    )
    frozen = again("probe", strategy="linear-probe")
    tuned = again("tuned", strategy="lp-ft")
    compare, look = (Command(verb, (data,), settings) for verb in ("query", "check"))
    return {
        "diverged": (gentler, frozen),
        "probe": (tuned, compare),
        "probe-kept": (gentler, look, compare),
        "unfinished": (longer,),
        "over-fitting": (look, frozen, gentler),
        "gap": (look, compare, gentler),
        "under-fitting": (compare, longer),
        "uncertain": (look,),
        "good": (look,),
    }[kind]
