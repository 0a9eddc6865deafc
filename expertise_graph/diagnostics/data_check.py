"""A check of a dataset: from the files alone to what needs an expert, each part as soon as it is known."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from expertise_graph.core import (
    DatasetError,
    ExpertiseError,
    FloatArray,
    IntArray,
    Progress,
    first_line,
    sha256_of_bytes,
    silent,
)
from expertise_graph.data import MOST_PAIRS, Item, LabelledData, known_modalities, stratified_sample
from expertise_graph.diagnostics.advice import advise, next_command
from expertise_graph.diagnostics.duplicates import (
    Pair,
    confirm,
    cosines,
    group_duplicates,
    group_numbers,
)
from expertise_graph.diagnostics.findings import DataFindings, DatasetSummary
from expertise_graph.diagnostics.items import CheckedItems, Choose, checked_items, no_expert, short_path
from expertise_graph.diagnostics.label_errors import find_label_errors
from expertise_graph.diagnostics.learning_curve import measure_learning_curve
from expertise_graph.diagnostics.probe import NAMES, folds_of, measure_baselines, reduced, too_small

# Items that are opened and compared pair by pair: about a minute of images, and 60 MB of small versions.
LOOKED_AT = 20_000

# Items that probes are fitted to: some sixty fits take a minute, and intervals are narrow by then.
LEARNT_FROM = 2_000

# Items decoded at a time, as decoded images take far more room than what is kept of them.
_DECODED = 256


def check_data(
    data: LabelledData,
    *,
    test: LabelledData | None = None,
    choose: Choose = no_expert,
    settings: Mapping[str, str | bool] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> DataFindings:
    """Find out what is wrong with a dataset, how hard it is, and what to do.

    Ctrl-C ends the check; what was found until then is returned.

    Args:
        data: may be too small to learn from, see `read_data(strict=False)`.
        test: a separate test set, only compared with the data.
        choose: finds the expert whose features are used; without one the parts that need none are done.
        settings: that a command needs to read the data.
        seed: random seed of samples, folds and draws.
        progress: called with how far each part is.

    Raises:
        InvalidInputError: when the two datasets are of different kinds.
    """
    check = _DataCheck(checked_items(data, test), choose, seed, progress)
    if data.stand_in:
        check.findings.notes.append(f"classes here are {data.stand_in}")
    try:
        check.run()
        check.findings.command = next_command(check.findings, data.locator, settings or {})
    except KeyboardInterrupt:
        check.findings.interrupted = True
    return check.findings


class _DataCheck:
    def __init__(self, checked: CheckedItems, choose: Choose, seed: int, progress: Progress) -> None:
        self.checked, self.choose, self.seed, self.progress = checked, choose, seed, progress
        self.findings = DataFindings(
            names=checked.names,
            labels=checked.labels,
            class_names=checked.classes,
            items=checked.items,
            summary=_summary(checked),
        )
        self.hashes: list[str | None] = []
        self.modality = known_modalities[checked.modality]
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
        reason = too_small(self.checked.labels[sample])
        if reason:
            found.notes.append(f"label errors, baselines and the learning curve are left out: {reason}")
        else:
            self._learn(sample, pairs)
        found.advice = advise(found)

    def _read_files(self) -> None:
        n = len(self.checked)
        looked = set(stratified_sample(self.checked.labels, LOOKED_AT, seed=self.seed).tolist())
        if len(looked) < n:
            self.findings.notes.append(
                f"sizes, unusual items and near-duplicates rest on {len(looked):,} of {n:,} items"
            )
        for i, item in enumerate(self.checked.items):
            self.hashes.append(self._hash(item))
            if i in looked:
                self.inspection.look(i, item, modality=self.modality)
            self.progress("looking at the items", i + 1, n)
        self.findings.summary = dataclasses.replace(self.findings.summary, traits=self.inspection.traits())
        self.findings.unusual = self.inspection.unusual()

    def _hash(self, item: Item) -> str | None:
        try:
            return sha256_of_bytes(self.modality.to_bytes(item))
        except DatasetError:
            return None

    def _group(self, pairs: list[Pair], near: dict[tuple[int, int], float]) -> None:
        by, certain = self.inspection.compared_by, self.inspection.certain
        if certain is not None:
            pairs = confirm(pairs, near, certain=certain)
            by = f"{by} and features of {self.findings.expert}" if near else by
        self.findings.duplicates = group_duplicates(self.checked, self.hashes, pairs, confirmed_by=by)

    def _sample(self) -> IntArray:
        """Return the items to learn from: none of a test split, and those that can still be read."""
        pool = np.array([i for i in self.checked.learnable if self.hashes[i] is not None], dtype=np.int64)
        chosen = pool[stratified_sample(self.checked.labels[pool], LEARNT_FROM, seed=self.seed)]
        if len(chosen) < len(pool):
            self.findings.notes.append(
                f"label errors, baselines and the learning curve rest on {len(chosen):,} of "
                f"{len(pool):,} items"
            )
        self.findings.sampled = len(chosen)
        return chosen

    def _learn(self, sample: IntArray, pairs: list[Pair]) -> None:
        found, labels = self.findings, self.checked.labels[sample]
        features = self._features(sample, pairs)
        assert found.duplicates is not None
        groups = group_numbers(len(self.checked), found.duplicates.groups)
        fold = folds_of(labels, [groups[i] for i in sample], seed=self.seed)
        self.progress("measuring baselines", 0, 3)
        raw = self._raw(sample)
        found.baselines = measure_baselines(raw, labels, fold, expert=features, name=found.expert or "")
        self.progress("measuring the learning curve", 1, 3)
        methods = found.baselines.methods
        basis, method = features, found.expert or ""
        if basis is None or methods["raw"].value > methods["expert"].value:
            basis, method = reduced(raw), NAMES["raw"]
        found.learning_curve = measure_learning_curve(basis, labels, fold, seed=self.seed, method=method)
        self.progress("searching for label errors", 2, 3)
        if features is not None:
            found.label_errors = find_label_errors(
                basis, labels, fold, items=sample, classes=self.checked.classes, seed=self.seed
            )
        self.progress("done", 3, 3)

    def _features(self, sample: IntArray, pairs: list[Pair]) -> FloatArray | None:
        """Return features of the sample, and tell near-duplicates apart by features as well."""
        try:
            extractor = self.choose()
            sampled, certain = set(sample.tolist()), self.inspection.certain or 0.0
            doubtful = dict.fromkeys(i for a, b, similarity in pairs if similarity < certain for i in (a, b))
            extra = [i for i in doubtful if i not in sampled][:LEARNT_FROM]
            rows = [*sample.tolist(), *extra]
            features, note = extractor.of(self.checked, rows, self.hashes)
        except ExpertiseError as error:
            self.findings.expert_reason = first_line(error)
            self.findings.notes.append(f"no expert was used, so label errors are not searched for: {error}")
            return None
        self.findings.notes += [note] if note else []
        self.findings.expert, self.findings.expert_reason = extractor.expert, extractor.reason
        if self.inspection.certain is not None:
            self._group(pairs, cosines(pairs, {item: row for row, item in enumerate(rows)}, features))
        return reduced(features[: len(sample)])

    def _raw(self, sample: IntArray) -> FloatArray:
        """Return the raw features (n, d) of the sample."""
        decode, items = self.modality.decode, self.checked.items
        parts = np.array_split(sample, max(1, len(sample) // _DECODED))
        return np.concatenate([self.modality.raw_features([decode(items[i]) for i in p]) for p in parts])


def _summary(checked: CheckedItems) -> DatasetSummary:
    counts = Counter(checked.classes[label] for label in checked.labels)
    classes = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    sizes = list(classes.values())
    return DatasetSummary(
        name=checked.name,
        modality=checked.modality,
        items=len(checked),
        classes=classes,
        splits=checked.split_sizes,
        imbalance=sizes[0] / sizes[-1] if sizes else 1.0,
        per_class=_per_class(checked),
        traits=(),
        skipped=tuple(
            (short_path(what, checked.locator), why.removeprefix(f"{what} ")) for what, why in checked.skipped
        ),
        only_in_test=checked.only_in_test,
    )


def _per_class(checked: CheckedItems) -> int:
    counts = np.bincount(checked.labels[checked.learnable])
    return int(np.median(counts[counts > 0])) if counts.any() else 0
