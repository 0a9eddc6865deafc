"""Recorded trials: each is a transfer edge, found again by expert, data, splits and settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from expertise_graph.core import Edge, Expert
from expertise_graph.data import LabelledData, Splits
from expertise_graph.retrieval import AUTO
from expertise_graph.store import Store
from expertise_graph.training import METRICS, TrainConfig
from expertise_graph.tuning.result import CUT, DIVERGED, DONE, FAILED, PRUNED
from expertise_graph.tuning.space import differences
from expertise_graph.tuning.trial import Outcome

VERSION = "1"
# What would end alike again; a trial that was cut by time may go further with more of it.
FINAL = (DONE, PRUNED, DIVERGED, FAILED)

_STATUS = {"epochs": DONE, "early": DONE, "pruned": PRUNED, "nan": DIVERGED, FAILED: FAILED}


def status_of(outcome: Outcome) -> str:
    """Return what became of a trial."""
    return _STATUS.get(outcome.stopped, CUT)


def failed_outcome(data: LabelledData, note: str) -> Outcome:
    """Return the outcome of a training that could not be run: worth as much as a guess."""
    guess = 1.0 / max(len(data.outputs), 2)
    return Outcome(
        epochs=0,
        kept=0,
        steps=0,
        accuracy=guess,
        loss=float(np.log(max(len(data.outputs), 2))),
        temperature=1.0,
        seconds=0.0,
        stopped=FAILED,
        note=note,
        fits=np.full(1, guess),
        history=[],
        mirror=False,
        parts=1,
    )


class RecordedTrials:
    """The trials of one dataset in the registry."""

    def __init__(self, store: Store, data: LabelledData, splits: Splits) -> None:
        self.store, self.data, self.splits = store, data, splits
        found = store.edges("transfer", data.task.id)
        self._edges = {e.run: e for e in found if e.method == AUTO and e.meta["status"] in FINAL}

    def find(self, run: str) -> Outcome | None:
        """Return the outcome of a trial that is on record and ended by itself, its history left out."""
        edge = self._edges.get(run)
        if edge is None:
            return None
        meta = edge.meta
        names = ("epochs", "kept", "steps", "loss", "temperature", "stopped", "note", "mirror", "parts")
        rungs = [{"epoch": epoch, "validation_loss": loss} for epoch, loss in meta["losses"]]
        return Outcome(
            **{name: meta[name] for name in names},
            accuracy=edge.weight,
            seconds=edge.seconds or 0.0,
            fits=np.array(meta["fits"]),
            history=rungs,
        )

    def put(self, run: str, expert: Expert, config: TrainConfig, *, origin: str, outcome: Outcome) -> None:
        """Record a trial, in place of what was recorded of the same one."""
        edge = Edge(
            kind="transfer",
            source=expert.id,
            target=self.data.task.id,
            weight=outcome.accuracy,
            metric=METRICS[self.data.kind],
            method=AUTO,
            version=VERSION,
            seed=config.seed,
            n=len(self.splits.validation),
            seconds=outcome.seconds,
            run=run,
            meta=self._meta(config, outcome, origin),
        )
        with self.store.transaction():
            self.store.drop_run_edges(run)
            self.store.put_edges([edge])
        if status_of(outcome) in FINAL:
            self._edges[run] = edge

    def _meta(self, config: TrainConfig, outcome: Outcome, origin: str) -> dict[str, Any]:
        return {
            "split": "validation",
            "status": status_of(outcome),
            "origin": origin,
            "strategy": config.strategy,
            "settings": differences(config),
            "epochs": outcome.epochs,
            "kept": outcome.kept,
            "steps": outcome.steps,
            "loss": outcome.loss,
            "temperature": outcome.temperature,
            "stopped": outcome.stopped,
            "note": outcome.note,
            "mirror": outcome.mirror,
            "parts": outcome.parts,
            "n_train": len(self.splits.train),
            "losses": [[row["epoch"], row["validation_loss"]] for row in outcome.history],
            "fits": [round(float(fit), 5) for fit in outcome.fits],
        }
