"""Looking at data before training, and at a run after it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from expertise_graph.core import InvalidInputError, NotFoundError, Query
from expertise_graph.data import Columns, LabelledData, read_data
from expertise_graph.diagnostics import DataFindings, Lens, RunFindings, RunRecord, check_data, check_run
from expertise_graph.models import download_dataset
from expertise_graph.workspace.base import NO_COLUMNS
from expertise_graph.workspace.querying import Querying

# Enough to look through; where to start from is what `query` is for.
_CHECK_QUERY = Query(budget=4, sample=256)


class Checking(Querying):
    """Advice."""

    def check(
        self,
        data: str | Path | LabelledData,
        *,
        test: str | Path | LabelledData | None = None,
        expert: str | None = None,
        columns: Columns = NO_COLUMNS,
        seed: int = 0,
        trust_code: bool = False,
    ) -> DataFindings:
        """Return what is wrong with a dataset, how hard it is, and what to do; see `advice.check_data`.

        Raises:
            NotFoundError: when the data, or the named expert, are not there.
            DatasetError: when the data cannot be read at all.
        """
        named = None if expert is None else self.store.find_runnable(expert)
        labelled = self._read_anything(data, columns)

        def choose() -> Lens:
            chosen, reason = named, "as asked for"
            if chosen is None:
                ranking = self.query(
                    labelled, dataclasses.replace(_CHECK_QUERY, seed=seed), trust_code=trust_code
                )
                if ranking.interrupted:
                    raise KeyboardInterrupt
                chosen, reason = ranking.start, f"best of a query that ran {ranking.experts_run} experts"
            if chosen is None or chosen.modality != labelled.modality:
                raise NotFoundError(f"there is no such expert for {labelled.modality}s; register one")
            prober = self._prober(trust_code)
            return Lens(expert=chosen.short, reason=reason, features=lambda x: prober.features(chosen, x))

        others = None if test is None else self._read_anything(test, columns)
        return check_data(
            labelled,
            test=others,
            choose=choose,
            options=_options(columns, trust_code),
            seed=seed,
            progress=self.progress,
        )

    def check_run(
        self,
        folder: str | Path,
        *,
        data: str | Path | LabelledData | None = None,
        columns: Columns = NO_COLUMNS,
        trust_code: bool = False,
    ) -> RunFindings:
        """Return how a finished warm start went, where it fails, and what to try; see `advice.check_run`.

        Args:
            folder: the `out` of the warm start.
            data: it was trained on; by default where the registry knows them to be.
            columns: of the data.
            trust_code: whether a model built by code of the user may be loaded.

        Raises:
            InvalidInputError: when the run has not finished.
        """

        def find(record: RunRecord) -> LabelledData:
            if data is not None:
                return self.read(data, columns=columns)
            found = self.read(self.store.find_task(record.task).locator, columns=columns)
            if found.task.id != record.task:
                raise InvalidInputError(
                    f"{found.locator} gives other items or labels than the run had: name its columns "
                    "as then, e.g. --target, or give the data as they were with --data"
                )
            return found

        return check_run(
            Path(folder).absolute(),
            find,
            options=_options(columns, trust_code),
            trust_code=trust_code,
            progress=self.progress,
        )

    def _read_anything(self, data: str | Path | LabelledData, columns: Columns) -> LabelledData:
        """Return a dataset in memory, even one that nothing can be learnt from."""
        if isinstance(data, LabelledData):
            return data
        return read_data(data, columns=columns, download=download_dataset, strict=False)


def _options(columns: Columns, trust_code: bool) -> list[str]:
    """Return what a command needs to read the same data."""
    return [*columns.options, *(["--trust-code"] if trust_code else [])]
