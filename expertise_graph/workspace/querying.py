"""Asking: which expert to start from for a dataset."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import numpy as np

from expertise_graph.core import Query, Ranking
from expertise_graph.data import DRAW_VERSION, Columns, Inputs, LabelledData, holdout, stratified_sample
from expertise_graph.features import Meter, Timings
from expertise_graph.features import probe_sets as probes
from expertise_graph.retrieval import ProbeRunner, Registry, Sample, answer_query
from expertise_graph.training import Race
from expertise_graph.workspace.base import NO_COLUMNS, Opened

_DEFAULT_QUERY = Query()


class Querying(Opened):
    """The query."""

    def query(
        self,
        data: str | Path | LabelledData,
        query: Query = _DEFAULT_QUERY,
        *,
        columns: Columns = NO_COLUMNS,
        trust_code: bool = False,
    ) -> Ranking:
        """Return the experts ranked by predicted accuracy on the dataset.

        Items that a warm start with the same seed would test on are not looked at.

        Raises:
            DatasetError: when the dataset cannot be used.
            NotFoundError: when no expert fits.
        """
        labelled = self.read(data, columns=columns)
        registry, runner, meter = self._retrieval(labelled.modality, trust_code)
        after = self._race(labelled.as_classes, query, trust_code)
        ranking = answer_query(registry, runner, draw_sample(labelled, query), query, after=after)
        ranked_by = f"experts were ranked by how well they tell apart {labelled.stand_in}"
        return dataclasses.replace(
            ranking,
            command=self._command(labelled, columns, ranking),
            candidates=ranking.candidates[: query.top],
            notes=(*ranking.notes, *meter.unusable.values(), *([ranked_by] if labelled.stand_in else [])),
        )

    def _retrieval(self, modality: str, trust_code: bool) -> tuple[Registry, ProbeRunner, Meter]:
        probe_set = probes.current(self.store, modality)
        inputs = probes.inputs(self.store, probe_set)
        meter = Meter(store=self.store, probes=inputs, trust_code=trust_code)
        registry = Registry(store=self.store, probe_set=probe_set.id, latency=meter, progress=self.progress)
        runner = ProbeRunner(
            store=self.store,
            prober=self._prober(trust_code),
            probes=inputs,
            timings=Timings(self.store),
        )
        return registry, runner, meter

    def _race(self, data: LabelledData, query: Query, trust_code: bool) -> Race | None:
        if not query.race:
            return None
        return Race(
            store=self.store,
            data=data,
            size=query.race,
            seed=query.seed,
            trust_code=trust_code,
            progress=self.progress,
        )

    def _command(self, data: LabelledData, columns: Columns, ranking: Ranking) -> str:
        """Return what to type next: start from the best, or register it where only its name is known."""
        expert = ranking.best.expert
        if not expert.runnable:
            reference = expert.name if ":" in expert.name else f"hf:{expert.name}"
            return shlex.join(["expertise-graph", "register", reference])
        words = ["expertise-graph", "warm-start", data.locator, "--expert", expert.short]
        words += columns.options
        words += ["--trust-code"] if expert.trusted_code else []
        return shlex.join([*words, "--out", f"runs/{data.name}"])


def draw_sample(data: LabelledData, query: Query) -> Sample:
    """Return the stratified sample of a dataset that experts are run on, test items left out.

    It is kept by the hash of the data, so its items and their order follow from the content alone.
    """
    splits, pool = holdout(data, seed=query.seed), data.by_content
    pool = pool[np.isin(pool, np.concatenate([splits.train, splits.validation]))]
    chosen = pool[stratified_sample(data.labels[pool], query.sample, seed=query.seed)]
    items = tuple(data.items[i] for i in chosen)
    drawn = f"{data.sha256}:{query.sample}:{query.seed}:{DRAW_VERSION}"
    return Sample(
        task=data.task,
        inputs=Inputs(items=items, modality=data.modality, sha256=drawn),
        labels=data.labels[chosen],
        seed=query.seed,
        digests=data.digests,
    )
