"""The tables of the other benchmarks as questions: a task held out, and whose results are hidden besides."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "zoo")]

import replay  # noqa: E402
from published import Program, published, rows_of, workspace  # noqa: E402

from expertise_graph.core.stats import Z_80  # noqa: E402
from expertise_graph.retrieval.backtest_plan import BacktestPlan, read_plan  # noqa: E402
from expertise_graph.retrieval.backtesting import fold_of_experts  # noqa: E402
from expertise_graph.retrieval.history import History  # noqa: E402
from expertise_graph.retrieval.predict import predict  # noqa: E402
from expertise_graph.retrieval.ranking_metrics import pearson, regret, weighted_tau  # noqa: E402
from expertise_graph.retrieval.scale import log_odds, standardised_columns  # noqa: E402
from expertise_graph.store.store import Store  # noqa: E402

Array = NDArray[np.float64]
METRICS = ("pearson", "tau_w", "regret@1", "crps", "coverage")
Question = Callable[[], Array]
"""Gives the METRICS of the answer under the settings of the moment."""


class Table(Protocol):
    """Tasks that can be held out.

    Attributes:
        name: of the table; `family` is shared by those with the same truth.
        forgetful: whether results of other tasks play no part.
    """

    name: str
    family: str
    forgetful: bool

    @property
    def columns(self) -> list[int]:
        """Return the tasks."""

    def question(self, column: int, hidden: Sequence[int]) -> Question:
        """Return the question about one task, without the results of some others."""


def metrics(mean: Array, deviation: Array, standing: Array, truth: Array) -> Array:
    """Return the METRICS of one task.

    Args:
        mean: (n,) predicted, with its deviation (n,), in the unit of `standing` (n,).
        deviation: of the result that would be measured.
        standing: what was measured.
        truth: (n,) the same as an accuracy.

    References:
        Gneiting and Raftery 2007, the continuous ranked probability score of a Gaussian.
    """
    z = (standing - mean) / deviation
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    inside = np.array([math.erf(v / math.sqrt(2.0)) for v in z])
    crps = deviation * (z * inside + 2.0 * density - 1.0 / math.sqrt(math.pi))
    covered = np.abs(z) < Z_80
    found = pearson(mean, truth), weighted_tau(mean, truth), regret(mean, truth, k=1)
    return np.array([*found, float(crps.mean()), float(covered.mean())])


@dataclass
class Published:
    """A published table, predicted without running anything; `cold` also hides a fold of the experts."""

    name: str
    family: str
    history: History
    plan: BacktestPlan
    columns: list[int]
    cold: bool = False
    forgetful: bool = False

    def question(self, column: int, hidden: Sequence[int]) -> Question:
        """Return the question about one task, without the results of some others."""
        known = self.history
        for other in hidden:
            known = known.without(other)
        rows = np.flatnonzero(~np.isnan(self.plan.truth[:, column]) & ~self.plan.seen[:, column])
        standing = standardised_columns(self.history.outcomes[rows][:, [column]])[0][:, 0]
        truth = self.plan.truth[rows, column]

        def ask() -> Array:
            mean, deviation = self._predicted(known, column)
            return metrics(mean[rows], deviation[rows], standing, truth)

        return ask

    def _predicted(self, known: History, column: int) -> tuple[Array, Array]:
        if not self.cold:
            found = predict(known, column)
            return found.mean, found.deviation
        fold = fold_of_experts(len(known.experts), self.plan)
        mean, deviation = np.zeros(len(fold)), np.ones(len(fold))
        for number in np.unique(fold):
            found = predict(known.without_experts(fold == number), column)
            mean[fold == number] = found.mean[fold == number]
            deviation[fold == number] = found.deviation[fold == number]
        return mean, deviation


@dataclass
class Replayed:
    """Queries replayed on one modality of the recorded zoo."""

    name: str
    family: str
    zoo: replay.Zoo
    built: Path
    budget: int
    forgetful: bool

    @property
    def columns(self) -> list[int]:
        """The tasks."""
        return list(range(len(self.zoo.tasks)))

    def question(self, column: int, hidden: Sequence[int]) -> Question:
        """Return the question about one task, without the results of some others."""
        zoo = self.zoo
        others = [zoo.task(t).id for t in hidden]
        copy = self.built.with_name(f"{self.built.name}-copy-{os.getpid()}")
        store = replay.held_out(
            self.built, copy, zoo.task(column).id, history=not self.forgetful, unmeasured=others
        )
        search = replay.opened(zoo, store, column, budget=self.budget)
        store.close()
        items = int(zoo.tasks[column]["n_test"])

        def ask() -> Array:
            fresh = dataclasses.replace(search, evidence={}, responses={}, unusable={}, ran=0, stopped=None)
            answer = replay.answer(zoo, fresh, column)
            truth = zoo.truth[answer.rows, column]
            standing = np.array([log_odds(a, items) for a in truth])
            return metrics(answer.mean, answer.deviation, standing, truth)

        return ask


def published_tables() -> list[Table]:
    """Return the published tables, read by the program as in their own benchmarks."""
    bench, prompts = _script("transfergraph"), _script("prompts")
    folder = published("transfergraph_image")
    targets = sorted(path.name for path in (folder / "published_predictions").iterdir())
    tables: list[Table] = []
    with workspace() as program:
        bench.fill(program, folder)
        history, plan = _read(program)
    wanted = [c for c, t in enumerate(history.tasks) if plan.names.get(t, t) in targets]
    tables += [
        Published("TransferGraph, 8 targets", "TransferGraph", history, plan, wanted),
        Published("TransferGraph, cold models", "TransferGraph", history, plan, wanted, cold=True),
    ]
    tables.append(_recycling())
    for backbone in prompts.BACKBONES:
        folder = published("prompt_transferability")
        cosine = prompts.cosines(folder / f"prompts_{backbone}.npz")
        truth = prompts.results(folder / f"zero_shot_transfer_{backbone}.csv", set(cosine) - {"random"})
        with workspace() as program:
            prompts.fill(program, truth, cosine)
            history, plan = _read(program)
        columns = list(range(len(history.tasks)))
        tables.append(Published(f"prompts of {backbone}", "prompts", history, plan, columns))
    with workspace() as program:
        bench.fill_second(program, rows_of(published("tll") / "ranking_scores.csv"))
        history, plan = _read(program)
    tables.append(Published("Transfer-Learning-Library", "tll", history, plan, list(range(8))))
    return tables


def _recycling() -> Table:
    recycling, folder = _script("recycling"), published("model_recycling")
    rows, tasks = recycling.fine_tunes(folder, recycling.vanilla_results(folder))
    with workspace() as program:
        recycling.fill(program, rows, tasks)
        history, plan = _read(program)
    return Published("model-recycling", "model-recycling", history, plan, list(range(len(history.tasks))))


def _read(program: Program) -> tuple[History, BacktestPlan]:
    store = Store(program.folder / "workspace")
    try:
        return read_plan(store)
    finally:
        store.close()


def zoo_tables(folder: Path) -> list[Table]:
    """Return the recorded zoo: registries are written to a folder."""
    tables: list[Table] = []
    for modality in ("image", "text"):
        zoo = replay.read(BENCHMARKS / "zoo" / "record", modality)
        built, family = folder / modality, f"zoo {modality}"
        built.mkdir()
        replay.build(zoo, built)
        part = round(len(zoo.experts) / 4)
        for name, budget, forgetful in (
            ("25 %, no history", part, True),
            ("25 %, history", part, False),
            ("no run, history", 0, False),
        ):
            tables.append(Replayed(f"{family}, {name}", family, zoo, built, budget, forgetful))
    return tables


def _script(name: str) -> Any:
    """Return the program of another benchmark as a module."""
    loader = importlib.machinery.SourceFileLoader(f"{name}_run", str(BENCHMARKS / name / "run"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module
