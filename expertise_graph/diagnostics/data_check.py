"""The course of a check: from the files alone to what needs an expert, each part as soon as it is known."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from expertise_graph.core import (
    DatasetError,
    ExpertiseError,
    FloatArray,
    IntArray,
    Progress,
    first_line,
    silent,
)
from expertise_graph.data import MOST_PAIRS, Item, LabelledData, known_modalities, stratified_sample
from expertise_graph.diagnostics.baselines import NAMES, how_hard
from expertise_graph.diagnostics.collection import Collection, collect, short_path
from expertise_graph.diagnostics.duplicates import Pair, confirm, cosines, group, group_numbers
from expertise_graph.diagnostics.feature_extractor import Choose, features_of, no_expert
from expertise_graph.diagnostics.findings import Basics, DataFindings
from expertise_graph.diagnostics.label_errors import label_noise
from expertise_graph.diagnostics.learning_curve import learning_curve
from expertise_graph.diagnostics.probe import folds_of, reduced, too_small
from expertise_graph.diagnostics.recommend import next_command, recommend

LOOKED_AT = 20_000
LEARNT_FROM = 2_000


def check_data(
    data: LabelledData,
    *,
    test: LabelledData | None = None,
    choose: Choose = no_expert,
    options: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> DataFindings:
    """Find out what is wrong with a dataset, how hard it is, and what to do.

    Ctrl-C ends the check; what was found until then is returned.

    Args:
        data: may be too small to learn from, see `read_data(strict=False)`.
        test: a test set of its own, only compared with the data.
        choose: finds the expert to look through; without one the parts that need none are done.
        options: of the command line, that the advised command needs to read the data.
        seed: of samples, folds and draws.
        progress: told how far each part is.

    Raises:
        InvalidInputError: when the two datasets are of different kinds.
    """
    check = _Check(collect(data, test), choose, seed, progress)
    if data.stand_in:
        check.findings.notes.append(f"classes here are {data.stand_in}")
    try:
        check.run()
        check.findings.command = next_command(check.findings, data.locator, options)
    except KeyboardInterrupt:
        check.findings.interrupted = True
    return check.findings


class _Check:
    def __init__(self, collection: Collection, choose: Choose, seed: int, progress: Progress) -> None:
        self.collection, self.choose, self.seed, self.progress = collection, choose, seed, progress
        self.findings = DataFindings(
            names=collection.names,
            labels=collection.labels,
            class_names=collection.classes,
            items=collection.items,
            basics=_basics(collection),
        )
        self.hashes: list[str | None] = []
        self.modality = known_modalities[collection.modality]
        self.inspection = self.modality.inspection()

    def run(self) -> None:
        """Do all parts, those that need no expert first."""
        found = self.findings
        self._read_files()
        pairs = self.inspection.near_duplicates()
        if len(pairs) >= MOST_PAIRS:
            found.notes.append(f"near-duplicates: only the first {MOST_PAIRS:,} similar pairs were compared")
        self._group(pairs, {})
        sample = self._sample()
        reason = too_small(self.collection.labels[sample])
        if reason:
            found.notes.append(f"wrong labels, accuracies and the effect of more data are left out: {reason}")
        else:
            self._learn(sample, pairs)
        found.advice = recommend(found)

    def _read_files(self) -> None:
        n = len(self.collection)
        looked = set(stratified_sample(self.collection.labels, LOOKED_AT, seed=self.seed).tolist())
        if len(looked) < n:
            self.findings.notes.append(
                f"sizes, odd items and near-duplicates rest on {len(looked):,} of {n:,} items"
            )
        for i, item in enumerate(self.collection.items):
            self.hashes.append(_hash(item, self.collection.modality))
            if i in looked:
                self.inspection.look(i, item, modality=self.modality)
            self.progress("looking at the items", i + 1, n)
        self.findings.basics = dataclasses.replace(self.findings.basics, traits=self.inspection.traits())
        self.findings.odd = self.inspection.odd()

    def _group(self, pairs: list[Pair], near: dict[tuple[int, int], float]) -> None:
        by, certain = self.inspection.compared_by, self.inspection.certain
        if certain is not None:
            pairs = confirm(pairs, near, certain=certain)
            by = f"{by} and features of {self.findings.expert}" if near else by
        self.findings.duplicates = group(self.collection, self.hashes, pairs, confirmed_by=by)

    def _sample(self) -> IntArray:
        """Return the items to learn from: none of a test split, and those that can still be read."""
        pool = np.array([i for i in self.collection.learnable if self.hashes[i] is not None], dtype=np.int64)
        chosen = pool[stratified_sample(self.collection.labels[pool], LEARNT_FROM, seed=self.seed)]
        if len(chosen) < len(pool):
            self.findings.notes.append(
                f"wrong labels, accuracies and the effect of more data rest on {len(chosen):,} of "
                f"{len(pool):,} items"
            )
        self.findings.sampled = len(chosen)
        return chosen

    def _learn(self, sample: IntArray, pairs: list[Pair]) -> None:
        found, collection = self.findings, self.collection
        labels = collection.labels[sample]
        features = self._features(sample, pairs)
        assert found.duplicates is not None
        groups = group_numbers(len(collection), found.duplicates.groups)
        fold = folds_of(labels, [groups[i] for i in sample], seed=self.seed)
        self._tell("measuring simple methods", 0)
        raw = self._raw(sample)
        found.need = how_hard(raw, labels, fold, expert=features, name=found.expert or "")
        self._tell("measuring the effect of more data", 1)
        basis, method = features, found.expert or ""
        if basis is None or found.need.methods["raw"].value > found.need.methods["expert"].value:
            basis, method = reduced(raw), NAMES["raw"]
        found.growth = learning_curve(basis, labels, fold, seed=self.seed, method=method)
        self._tell("searching for wrong labels", 2)
        if features is not None:
            found.noise = label_noise(
                basis, labels, fold, items=sample, classes=collection.classes, seed=self.seed
            )
        self._tell("done", 3)

    def _features(self, sample: IntArray, pairs: list[Pair]) -> FloatArray | None:
        """Return features of the sample, and tell near-duplicates apart by features as well."""
        try:
            lens = self.choose()
            certain = self.inspection.certain or 0.0
            doubtful = [i for a, b, r in pairs if r < certain for i in (a, b)]
            extra = [i for i in dict.fromkeys(doubtful) if i not in set(sample.tolist())][:LEARNT_FROM]
            rows = [*sample.tolist(), *extra]
            features = features_of(lens, self.collection, rows, self.hashes)
        except ExpertiseError as error:
            self.findings.expert_reason = first_line(error)
            self.findings.notes.append(f"no expert was used, so wrong labels are not searched for: {error}")
            return None
        self.findings.expert, self.findings.expert_reason = lens.expert, lens.reason
        if self.inspection.certain is not None:
            places = {item: row for row, item in enumerate(rows)}
            self._group(pairs, cosines(pairs, places, features))
        return reduced(features[: len(sample)])

    def _raw(self, sample: IntArray) -> FloatArray:
        # In parts, as decoded images take far more room than what is kept of them.
        parts = np.array_split(sample, max(1, len(sample) // 256))
        return np.concatenate(
            [
                self.modality.raw_features([self.modality.decode(self.collection.items[i]) for i in part])
                for part in parts
            ]
        )

    def _tell(self, what: str, done: int) -> None:
        self.progress(what, done, 3)


def _basics(collection: Collection) -> Basics:
    own = [collection.label(i) for i in range(len(collection))]
    counts = dict(sorted(Counter(own).items(), key=lambda pair: (-pair[1], pair[0])))
    sizes = list(counts.values())
    return Basics(
        name=collection.name,
        modality=collection.modality,
        items=len(collection),
        classes=counts,
        splits=collection.split_sizes,
        imbalance=sizes[0] / sizes[-1] if sizes else 1.0,
        per_class=_per_class(collection),
        traits=(),
        skipped=tuple(
            (short_path(what, collection.locator), why.removeprefix(f"{what} "))
            for what, why in collection.skipped
        ),
        strange=collection.strange,
    )


def _per_class(collection: Collection) -> int:
    counts = np.bincount(collection.labels[collection.learnable])
    return int(np.median(counts[counts > 0])) if counts.any() else 0


def _hash(item: Item, modality: str) -> str | None:
    try:
        return hashlib.sha256(known_modalities[modality].to_bytes(item)).hexdigest()
    except DatasetError:
        return None
