"""Making new experts: warm starts, merges, deltas."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import Expert, Query, WarmStart
from expertise_graph.data import Columns, LabelledData
from expertise_graph.deltas import Applied, ApplySettings, DeltaReport, Packing, apply_deltas, share
from expertise_graph.merging import MergeResult, MergeSettings, merge
from expertise_graph.training import TrainConfig
from expertise_graph.training import registered as training
from expertise_graph.tuning import AutoResult, AutoSettings, Tools, auto
from expertise_graph.workspace.base import NO_COLUMNS
from expertise_graph.workspace.querying import Querying

_DEFAULT_CONFIG = TrainConfig()
_DEFAULT_MERGE = MergeSettings()
_DEFAULT_PACKING = Packing()
_DEFAULT_APPLY = ApplySettings()


class Training(Querying):
    """Whatever leaves a new expert behind."""

    def warm_start(
        self,
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        expert: str | None = None,
        config: TrainConfig = _DEFAULT_CONFIG,
        compare_cold: bool = False,
        columns: Columns = NO_COLUMNS,
        trust_code: bool = False,
        tracker: str = "tensorboard",
        launcher: tuple[str, ...] | None = None,
        report: training.Report | None = None,
    ) -> WarmStart:
        """Fine-tune from an expert, by default the best of a query, and register the child.

        `launcher` holds arguments for ``accelerate launch``, for training by several processes.

        Raises:
            DatasetError, NotFoundError: as `query`.
            InvalidInputError: when `out` holds something else.
        """
        labelled, out = self.read(data, columns=columns), Path(out).absolute()
        if expert is not None:
            chosen = self.store.find_runnable(expert)
        else:
            begun = training.begun_from(self.store, labelled, out, config)
            chosen = begun or self._best_start(labelled, seed=config.seed, trust_code=trust_code)
        plan = training.Plan(
            expert=chosen,
            data=labelled,
            out=out,
            config=config,
            compare_cold=compare_cold,
            trust_code=trust_code,
            tracker=tracker,
            launcher=launcher,
            architecture=self._architecture(config.into),
            columns=columns,
        )
        return training.execute(self.store, self._prober(trust_code), plan, report)

    def merge(
        self,
        experts: Sequence[str],
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        settings: MergeSettings = _DEFAULT_MERGE,
        columns: Columns = NO_COLUMNS,
        trust_code: bool = False,
    ) -> MergeResult:
        """Merge children of one parent, measured on the dataset, and register the result.

        Args:
            experts: registered experts, or folders of finished runs.
            data: decides on its validation split, and measures on its test split.
            out: folder to write, new or empty.
            settings: method and numbers.
            columns: which columns of a table hold what.
            trust_code: whether code that comes with an expert may be run.

        Raises:
            InvalidInputError: when they do not fit each other or the data, or `out` is taken.
            NotFoundError, DatasetError: as `warm_start`.
        """
        return merge(
            self.store,
            self._prober(trust_code),
            experts,
            self.read(data, columns=columns),
            out=Path(out),
            settings=settings,
            trust_code=trust_code,
        )

    def auto(
        self,
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        settings: AutoSettings,
        columns: Columns = NO_COLUMNS,
        trust_code: bool = False,
        started: float | None = None,
    ) -> AutoResult:
        """Choose expert and settings together within a time budget, and register the child; see `auto.auto`.

        The budget is counted from now, or from `started`, a time of `time.perf_counter`.

        Raises:
            DatasetError, NotFoundError: as `query`.
            InvalidInputError: when `out` holds something else.
            MissingExtraError: without optuna (extra `auto`).
        """
        tools = Tools(
            started=time.perf_counter() if started is None else started,
            store=self.store,
            prober=self._prober(trust_code),
            ask=lambda labelled, query: self.query(labelled, query, trust_code=trust_code),
            trust_code=trust_code,
            progress=self.progress,
        )
        return auto(tools, self.read(data, columns=columns), out=Path(out).absolute(), settings=settings)

    def make_delta(
        self,
        child: str,
        out: str | Path,
        *,
        parent: str | None = None,
        packing: Packing = _DEFAULT_PACKING,
        head: bool = True,
        items: int | None = None,
        trust_code: bool = False,
    ) -> DeltaReport:
        """Write what a child learnt since its parent as a small file; see `merging.share`."""
        return share(
            self.store,
            child,
            Path(out),
            parent=parent,
            packing=packing,
            head=head,
            items=items,
            trust_code=trust_code,
        )

    def apply_deltas(
        self,
        parent: str,
        files: Sequence[str | Path],
        out: str | Path,
        *,
        settings: ApplySettings = _DEFAULT_APPLY,
        trust_code: bool = False,
    ) -> Applied:
        """Add deltas, averaged, to their parent and register the result; see `merging.apply_deltas`."""
        return apply_deltas(
            self.store,
            self._prober(trust_code),
            parent,
            [Path(file) for file in files],
            out=Path(out),
            settings=settings,
            trust_code=trust_code,
        )

    def _best_start(self, data: LabelledData, *, seed: int, trust_code: bool) -> Expert:
        """Return what a query puts first of what can be run."""
        ranking = self.query(data, Query(seed=seed), trust_code=trust_code)
        if ranking.interrupted:
            raise KeyboardInterrupt
        return ranking.start or self.store.find_runnable(ranking.best.expert.id)

    def _architecture(self, named: str | None) -> Expert | None:
        """Return the registered expert that is named as an architecture; other names have a scheme."""
        if named is None or named.partition(":")[0] in ("shrink", "hf", "dir", "timm", "factory"):
            return None
        return self.store.find_runnable(named)
