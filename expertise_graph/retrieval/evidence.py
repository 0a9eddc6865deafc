"""What running an expert on a sample of the task tells: scores of its features, and its view of the task."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from expertise_graph import features, models, transferability
from expertise_graph.core import (
    LENGTHS,
    Expert,
    FloatArray,
    IntArray,
    InvalidInputError,
    Query,
    Score,
    Task,
    count,
    expert_errors,
    setting,
)
from expertise_graph.data import (
    DRAW_VERSION,
    Inputs,
    LabelledData,
    holdout,
    known_modalities,
    stratified_sample,
)
from expertise_graph.features import Context
from expertise_graph.registry import register, remembering
from expertise_graph.retrieval.coverage import distance_to_probes
from expertise_graph.retrieval.knowledge import is_known_model
from expertise_graph.retrieval.reliability import RIDGE
from expertise_graph.store import Store, features_key, response_key

TASK_METHOD, TASK_VERSION = "landmark-ridge", "2"

# A sample that has to grow for two items of each class grows up to this many: a few times what is usual, and
# the one-hot labels of half as many classes still take little memory.
_LARGEST = 4096
# Where the registry keeps how many bytes a second the last download had, and what is expected before one.
_RATE, _USUAL_RATE = "download bytes a second", 10e6

Evidence = Mapping[str, float]
"""Scores of one expert on the task sample, by estimator."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The labelled items that experts are run on; `inputs.sha256` stands for items and labels.

    Attributes:
        rows: (n,) where the items are in the dataset.
        trained: how many items a warm start would learn from.
        digests: of the contents of all items of the task, where they are known.
        asked: how many items were asked for, if it had to be another number.
    """

    task: Task
    inputs: Inputs
    labels: IntArray
    rows: IntArray
    trained: int
    seed: int
    digests: tuple[str, ...] = ()
    asked: int | None = None

    @cached_property
    def supported(self) -> int:
        """How many items have another one of their class: only these can be told from the others."""
        _, counts = np.unique(self.labels, return_counts=True)
        return int(counts[counts > 1].sum())

    @cached_property
    def usual_inputs(self) -> float:
        """How many usual inputs its items are as much work as."""
        return known_modalities[self.inputs.modality].usual_inputs(self.inputs.items)

    @property
    def notes(self) -> list[str]:
        """What is unusual about it, one line each."""
        _, counts = np.unique(self.labels, return_counts=True)
        alone, classes = int((counts == 1).sum()), len(counts)
        notes = []
        if self.asked is not None:
            found = f"{len(self.labels):,} items were looked at instead of {self.asked:,}"
            notes.append(f"{found}, for two of each class where there are two")
            if classes < len(self.task.classes):
                notes.append(f"only {classes:,} of {len(self.task.classes):,} classes were looked at")
        if alone:
            which = "each class has" if alone == classes else f"{alone:,} of {count(classes, 'class')} have"
            open_ = "no accuracy is known" if not self.supported else "how well those are told is not known"
            notes.append(
                f"{which} a single item to learn from: {open_}, and intervals are wide; "
                "give each class three items or more"
            )
        return notes


def draw_sample(data: LabelledData, query: Query) -> Sample:
    """Return the stratified sample of a dataset that experts are run on, test items left out.

    It is kept by the hash of the data, so its items and their order follow from the content alone.
    """
    splits, pool = holdout(data, seed=query.seed), data.by_content
    pool = pool[np.isin(pool, np.concatenate([splits.train, splits.validation]))]
    pool, wanted = _with_pairs(pool, data.labels[pool], query)
    chosen = pool[stratified_sample(data.labels[pool], wanted, seed=query.seed)]
    items = tuple(data.items[i] for i in chosen)
    drawn = f"{data.sha256}:{wanted}:{query.seed}:{DRAW_VERSION}"
    return Sample(
        task=data.task,
        inputs=Inputs(items=items, modality=data.modality, sha256=drawn),
        labels=data.labels[chosen],
        rows=chosen,
        trained=len(splits.train),
        seed=query.seed,
        digests=data.digests,
        asked=query.sample if wanted != query.sample else None,
    )


def _with_pairs(pool: IntArray, labels: IntArray, query: Query) -> tuple[IntArray, int]:
    """Return the items to sample from, and how many: enough for two of each class where there are two.

    A single item of a class is never told from the others. Of very many classes as many are drawn as fit.
    """
    classes, counts = np.unique(labels, return_counts=True)
    wanted = max(query.sample, int(np.minimum(counts, 2).sum()))
    if wanted <= max(query.sample, _LARGEST):
        return pool, wanted
    drawn = np.random.default_rng(query.seed).permutation(len(classes))
    drawn = drawn[np.argsort(counts[drawn] < 2, kind="stable")][: _LARGEST // 2]
    return pool[np.isin(labels, classes[drawn])], _LARGEST


def versions_of(estimators: Sequence[str]) -> dict[str, str]:
    """Return the estimators that are computed, with their versions.

    The accuracy of the ridge classifier is always among them: predicted accuracies and the embedding of the
    task rest on it, whether or not it takes part in ranking the experts.

    Raises:
        NotFoundError: for an estimator that is not registered.
        InvalidInputError: for one that needs more than features.
    """
    chosen = [transferability.estimators[name] for name in dict.fromkeys((*estimators, RIDGE))]
    for estimator in chosen:
        if estimator.needs != "features":
            raise InvalidInputError(
                f"{setting('estimators', estimator.name)} needs {estimator.needs}, and a query has features "
                "only; leave it out"
            )
    return {estimator.name: estimator.version for estimator in chosen}


class Runner(Protocol):
    """Runs experts on a task; the one of a query is `ProbeRunner`."""

    @property
    def probe_set(self) -> str:
        """The id of the probe set that experts are embedded on."""

    def run(self, expert: Expert, sample: Sample) -> Evidence:
        """Return the scores of an expert.

        Raises:
            SourceError, UntrustedError, NotFoundError: when it cannot be run.
        """

    def response(self, expert: Expert, sample: Sample) -> FloatArray:
        """Return what the task looks like to an expert that was run, (m,): see `respond`."""

    def seconds(self, expert: Expert, sample: Sample) -> float:
        """Return how long running an expert is expected to take."""

    def latency(self, expert: Expert) -> float | None:
        """Return the milliseconds that one input takes an expert, or None where that is not known.

        That of an expert that is not here is estimated.
        """

    def prefetch(self, wanted: Sequence[Expert]) -> None:
        """Begin to download known models together; `fetch` waits for the one that it is asked for."""
        ...

    def fetch(self, model: Expert) -> Expert:
        """Download a known model and register it; return the expert.

        Raises:
            SourceError, UntrustedError, NotFoundError, MissingExtraError: when it cannot be had or run.
        """

    def evict(self, expert: Expert) -> int:
        """Delete the weights of a downloaded expert, and return the bytes that this freed."""


class _Begun(NamedTuple):
    """A download under way: its place among those begun together, whether it was there before, and when."""

    downloads: models.Downloads
    place: int
    there: bool
    started: float


def _options(model: Expert) -> models.SourceOptions:
    """Return what is asked of a known model: the commit that was measured."""
    return models.SourceOptions(modality=model.modality, revision=model.revision)


@dataclass(frozen=True, kw_only=True)
class ProbeRunner:
    """Runs experts on this machine; scores are stored.

    Attributes:
        context: its prober gives features, its store keeps scores.
        probes: the probe set that experts are embedded on; its hash is its id.
        estimators: names of those that score the features.
        timings: how long experts took before, marked when the query began.
        unmeasured: a line for each expert whose latency could not be measured, by id.
        estimated: ids of experts that are not here, whose latency was estimated by their size.
        unknown: ids of those that are not here and have no known size.
        downloaded: ids of experts that were not in the cache of the Hub before.
        begun: downloads that are under way, by the id of the known model.
    """

    context: Context
    probes: Inputs
    estimators: tuple[str, ...]
    timings: features.Timings
    unmeasured: dict[str, str] = field(default_factory=dict)
    estimated: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    downloaded: set[str] = field(default_factory=set)
    begun: dict[str, _Begun] = field(default_factory=dict)

    @property
    def probe_set(self) -> str:
        """The id of the probe set that experts are embedded on."""
        return self.probes.sha256

    def run(self, expert: Expert, sample: Sample) -> Evidence:
        """Run an expert on the sample, store the task and its scores, and return them."""
        start = time.perf_counter()
        versions = versions_of(self.estimators)
        with features.remembered(self.context.store, expert, sample.task.id):
            given = self.context.prober.features(expert, sample.inputs)
            with expert_errors(expert.name):
                scores = transferability.score_many(given, sample.labels, versions)
        evidence = {name: values[0] for name, values in scores.items()}
        seconds = time.perf_counter() - start
        self.context.store.put_task(sample.task)
        if not sample.supported:
            return evidence  # it says nothing, and other tasks are not to learn from it
        self.context.store.put_scores(
            Score(
                expert=expert.id,
                task=sample.task.id,
                estimator=name,
                version=versions[name],
                value=value,
                n=len(sample.labels),
                seed=sample.seed,
                seconds=seconds,
            )
            for name, value in evidence.items()
        )
        return evidence

    def response(self, expert: Expert, sample: Sample) -> FloatArray:
        """Return the response of an expert that was run; its features are in the cache, or it is itself."""
        arrays, prober = self.context.store.features, self.context.prober
        keys = (features_key(expert, inputs.sha256) for inputs in (sample.inputs, self.probes))
        key = response_key(TASK_METHOD, TASK_VERSION, *keys)
        stored = arrays.get(key)
        # One with a note was pulled: it counts until the expert is run on the sample here.
        measured_here = arrays.note(key) and prober.stored(expert, sample.inputs) is not None
        if stored is not None and stored.shape == (LENGTHS[TASK_METHOD],) and not measured_here:
            return stored
        on_sample = prober.features(expert, sample.inputs)
        on_probes = prober.features(expert, self.probes)
        with expert_errors(expert.name):
            response = respond(on_sample, sample.labels, on_probes)
        arrays.put(key, response)
        return response

    def distance(self, expert: Expert, sample: Sample) -> float:
        """Return how far the sample is from the probes to an expert; NaN if it was not run here."""
        on_sample = self.context.prober.stored(expert, sample.inputs)
        on_probes = self.context.prober.stored(expert, self.probes)
        if on_sample is None or on_probes is None or len(on_sample) < 2:
            return math.nan
        return distance_to_probes(on_sample, on_probes)

    def seconds(self, expert: Expert, sample: Sample) -> float:
        """Return how long running an expert is expected to take on this machine, its download included."""
        download = 0.0
        if is_known_model(expert):
            known = self.context.store.state(_RATE)
            download = expert.bytes / (float(known) if known else _USUAL_RATE)
        elif features.cached(expert, sample.inputs, self.context.store.features):
            return 0.0
        starting = self.context.prober.starting_seconds(expert)
        return download + features.seconds_now(expert, sample.usual_inputs, self.timings, starting=starting)

    def fetch(self, model: Expert) -> Expert:
        """Download a known model at the commit that was measured, and register it; return the expert.

        That it cannot be had is remembered, where that is for good.
        """
        store = self.context.store
        with remembering(store, model.name, revision=model.revision):
            found = self._fetch(model)
        with remembering(store, model.name, revision=model.revision, found=True):
            return register(store, self.context.prober, found)

    def prefetch(self, wanted: Sequence[Expert]) -> None:
        """Begin to download known models together; `fetch` waits for the one that it is asked for."""
        downloads = models.Downloads([(m.name, _options(m)) for m in wanted], progress=self.context.progress)
        for place, model in enumerate(wanted):
            hub, _, repo = model.name.partition(":")
            there = hub != "hf" or models.is_cached(repo, model.revision)
            self.begun[model.id] = _Begun(downloads, place, there, time.perf_counter())
        downloads.begin()

    def _fetch(self, model: Expert) -> Expert:
        if model.id not in self.begun:
            self.prefetch([model])
        begun = self.begun.pop(model.id)
        self.context.progress(f"fetching {model.name}", 0, model.bytes)
        found, *_ = self.context.prober.resolve(model.name, begun.downloads.wait_for(begun.place))
        self.context.progress(f"fetching {model.name}", model.bytes, model.bytes)
        # Of several at a time the first is timed; the others were waited for with it.
        if found.bytes > 0 and begun.place == 0:
            seconds = time.perf_counter() - begun.started
            self.context.store.set_state(_RATE, repr(found.bytes / max(seconds, 1e-3)))
        if not begun.there:
            self.downloaded.add(found.id)
        return found

    def evict(self, expert: Expert) -> int:
        """Delete the weights of an expert that this query downloaded; features and scores stay."""
        if expert.id not in self.downloaded or expert.revision is None:
            return 0
        return models.evict(expert.locator, expert.revision)

    @cached_property
    def _estimate(self) -> features.Estimate:
        """What the latency of experts that are not here is estimated by."""
        return features.Estimate(self.timings)

    def latency(self, expert: Expert) -> float | None:
        """Return the milliseconds that one input takes an expert on this machine, measured once.

        Of an expert that is not here it is estimated by its size; None where that is not known either.
        """
        if not expert.runnable:
            found = self._estimate(expert)
            (self.unknown if found is None else self.estimated).add(expert.id)
            return found
        meter = features.Meter(
            store=self.context.store,
            prober=self.context.prober,
            probes=self.probes,
            unusable=self.unmeasured,
        )
        found = meter(expert)
        if found is not None:
            self._estimate.learn(expert, found)
        return found

    @property
    def latency_notes(self) -> list[str]:
        """What the limit of a latency rests on, in a few lines; none where there is no limit."""
        notes = list(self.unmeasured.values())
        if self.estimated:
            whose = count(len(self.estimated), "expert")
            notes.append(
                f"{setting('max_latency')}: {whose} not here, whose latency is estimated by size, give or "
                "take a factor of three; it is measured once they are registered"
            )
        if self.unknown:
            whose = count(len(self.unknown), "expert")
            notes.append(
                f"{setting('max_latency')}: {whose} left out because neither latency nor size is known"
            )
        return notes


def stored_evidence(store: Store, sample: Sample, estimators: Sequence[str]) -> dict[str, Evidence]:
    """Return the evidence of earlier queries with the same sample, by expert that has all of it."""
    versions = versions_of(estimators)
    found: dict[str, dict[str, float]] = {}
    for score in store.scores(sample.task.id):
        same_sample = (score.n, score.seed) == (len(sample.labels), sample.seed)
        if same_sample and versions.get(score.estimator) == score.version:
            found.setdefault(score.expert, {})[score.estimator] = score.value
    return {expert: scores for expert, scores in found.items() if len(scores) == len(versions)}


def score_column(evidence: Mapping[str, Evidence], experts: Sequence[str], name: str) -> FloatArray:
    """Return one score of every expert (E,), NaN for those that were not run."""
    values = [evidence[e].get(name, np.nan) if e in evidence else np.nan for e in experts]
    return np.array(values, dtype=np.float64)


def respond(task_features: FloatArray, labels: IntArray, probe_features: FloatArray) -> NDArray[np.float32]:
    """Return what a task looks like to one expert, as a sketch (m,) of a Gram matrix over the probes.

    A ridge classifier is fitted to the expert's features of the task sample and applied to its features of
    the probes: an expert made for the task would find those probes alike that get like answers.

    Args:
        task_features: (n, d).
        labels: (n,) int.
        probe_features: (p, d).
    """
    answers = transferability.ridge_predict(task_features, labels, probe_features).numpy()
    return features.sketch(features.centred_gram(answers))


def embed_task(responses: Sequence[FloatArray], accuracies: Sequence[float]) -> NDArray[np.float32] | None:
    """Return the (m,) embedding of a task, or None when no expert sees any structure in it.

    Args:
        responses: of the experts that were run.
        accuracies: of each; one counts by the square of its odds, so that the best experts dominate.
    """
    if not responses:
        return None
    # Odds of a perfect accuracy are infinite; .99 keeps one lucky expert from being the only one that counts.
    inside = np.clip(accuracies, 0.01, 0.99)
    weights = np.square(inside / (1.0 - inside))
    total = (weights / weights.sum()) @ np.stack(responses).astype(np.float64)
    return total.astype(np.float32) if total.any() else None
