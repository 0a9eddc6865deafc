"""The nouns of the package as frozen dataclasses: nodes, edges, arrays' descriptions and answers.

Times are ISO 8601 in UTC, sizes in bytes, durations in seconds, accuracies fractions of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core.text import shorten

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

UNKNOWN = "unknown"

METADATA = "metadata"
"""Source of an expert that is known by name only: it has history, but no weights here."""


# What the annotations of an expert's fields admit.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "bool": (bool,),
    "tuple[str, ...]": (tuple,),
    "Mapping[str, Any]": (Mapping,),
}


@dataclass(frozen=True, kw_only=True)
class Expert:
    """A pretrained model as a node of the graph.

    `id` is ``scheme:`` followed by what pins the weights; `locator` is what the source needs to
    find them again; `revision` the resolved commit, if the source has any. `weights_sha` and
    `preprocessing_sha` are the keys under which features are cached.
    """

    id: str
    name: str
    source: str
    locator: str
    modality: str
    architecture: str
    params: int
    bytes: int
    dim: int
    weights_sha: str
    preprocessing_sha: str
    revision: str | None = None
    license: str = UNKNOWN
    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    trusted_code: bool = False
    weights_format: str = "safetensors"
    meta: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""

    @classmethod
    def named(cls, name: str) -> Expert:
        """Return the node of an expert of which only the name is known."""
        return cls(
            id=f"meta:{name}",
            name=name,
            source=METADATA,
            locator=name,
            modality=UNKNOWN,
            architecture=UNKNOWN,
            params=0,
            bytes=0,
            dim=0,
            weights_sha="",
            preprocessing_sha="",
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Expert:
        """Return the node that `dataclasses.asdict` gave, even after it was JSON.

        Raises:
            TypeError: when a value is missing or of another type.
        """
        known = {f.name: str(f.type) for f in fields(cls)}
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known
        }
        for name, value in plain.items():
            if not isinstance(value, _TYPES[known[name]]):
                raise TypeError(f"{name} is {shorten(repr(value), 40)}")
        return cls(**plain)

    @property
    def short(self) -> str:
        """Name and the first characters of what pins the weights, for people."""
        return f"{self.name}@{self.weights_sha[:8]}" if self.runnable else self.name

    @property
    def runnable(self) -> bool:
        """Whether there are weights to run; if not, only imported metadata know the expert."""
        return self.source != METADATA


@dataclass(frozen=True, kw_only=True)
class Task:
    """A labelled dataset as a node; `id` is ``task:`` and the hash of its content."""

    id: str
    name: str
    modality: str
    classes: tuple[str, ...]
    n: int
    locator: str
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """An immutable set of `n` unlabelled inputs of one modality, shared by all experts of it."""

    id: str
    name: str
    version: str
    modality: str
    n: int
    license: str
    created_at: str = ""


LENGTHS = {"cka-sketch": 1024, "landmark-ridge": 1024}
"""Length of the vectors that each method of ours makes; one of another length is damaged."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A vector (m,) float32 that stands for an expert or a task in the space of a probe set."""

    owner: str
    kind: str
    probe_set: str
    method: str
    version: str
    vector: FloatArray
    seed: int
    n: int
    created_at: str = ""


CARD_METHOD = "model card, self-reported"
"""Method of a lineage edge that only the child's card, or the configuration beside it, stands behind."""


SELF_REPORTED = "self-reported"
"""Method of a result that the author of the expert claims, and nobody else has measured."""


USER_METHOD = "user"
"""Method of what the user says of two experts."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A weighted relation of two nodes.

    `kind` is similarity, lineage (parent to child), transfer, suspected (the weights are close, and nobody
    says why), or unset (the user says that `target` is no child of `source`). `weight` is debiased CKA for
    similarity, one for lineage, the metric's value for transfer, and for suspected one less the relative
    distance of the weights.
    """

    kind: str
    source: str
    target: str
    weight: float
    method: str
    version: str
    metric: str | None = None
    probe_set: str | None = None
    seed: int | None = None
    n: int | None = None
    seconds: float | None = None
    run: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""

    @property
    def is_claim(self) -> bool:
        """Whether it is a result that only the author of the expert stands behind."""
        return self.kind == "transfer" and self.method == SELF_REPORTED


@dataclass(frozen=True, kw_only=True)
class Score:
    """A transferability score of one expert on one task; higher is better."""

    expert: str
    task: str
    estimator: str
    version: str
    value: float
    n: int
    seed: int
    seconds: float
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskDistance:
    """How far one task (by id) is from another; smaller is nearer, `method` says in what sense."""

    task: str
    other: str
    value: float
    method: str
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """An expert near another one, with the debiased CKA of the two.

    Attributes:
        duplicate: whether it has the same weights or responses as the other one.
        same_as: near-duplicates that it stands for.
    """

    expert: Expert
    cka: float
    duplicate: bool
    same_as: tuple[Expert, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked of the graph about a dataset.

    Attributes:
        budget: how many experts may have been run on the task, those of earlier queries included;
            None for as many as the time allows.
        seconds: how long experts may be run in this query; None for any time.
        sample: how many labelled items are looked at.
        seed: of the sample and of the draws behind `p_best`.
        licenses: only these; empty for any.
        max_latency: milliseconds that one input may take on this machine.
        min_dim: least width of the features.
        max_dim: largest width of the features.
        kinds: only these of original, fine-tune, adapter, merge, quantised; empty for any.
        languages: only experts known to be made for one of these codes of ISO 639; empty for any.
        race: how many of the most promising are fine-tuned briefly before the answer.
        estimators: names of the transferability estimators that score the experts that are run.
        fits: whether published models are left out whose fine-tuning needs more memory than is free here.
        max_memory: bytes that fine-tuning may take at its peak, as estimated.
        max_minutes: minutes that fine-tuning on this machine may take, all epochs run, as estimated.
        strategy: name of the training strategy that memory and minutes are estimated for.
        starter_knowledge: whether published models and their results elsewhere take part.
        self_reported: whether results count that only authors of experts claim, on their cards.
        here: whether only registered experts are ranked; published results of theirs count.
        fetch: how many published models may be downloaded, registered and run, beside the budget.
        max_download: bytes that these downloads may take together.
        explain_sources: whether the answer says which places its results are from, and what each changes.
        evict: whether the weights are deleted again once their features are known.
        one_per_family: whether of experts that lineage connects, be it claimed or suspected, only the best is
            listed, which names the others.
    """

    top: int = 5
    budget: int | None = 8
    seconds: float | None = None
    sample: int = 512
    seed: int = 0
    max_params: int | None = None
    max_bytes: int | None = None
    licenses: tuple[str, ...] = ()
    excluded_licenses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_latency: float | None = None
    min_dim: int | None = None
    max_dim: int | None = None
    kinds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    race: int = 0
    estimators: tuple[str, ...] = ("logme", "ridge_accuracy", "kernel_target_alignment")
    fits: bool = True
    max_memory: int | None = None
    max_minutes: float | None = None
    strategy: str = "lp-ft"
    starter_knowledge: bool = True
    self_reported: bool = True
    here: bool = False
    fetch: int = 0
    max_download: int = 2_000_000_000
    evict: bool = False
    explain_sources: bool = False
    one_per_family: bool = False


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a task yields without any expert."""

    name: str
    predicted: float


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What fine-tuning an expert on a dataset is likely to take on this machine.

    Attributes:
        memory: peak bytes of the process that trains.
        minutes: of the whole training, all epochs run.
        inference: peak bytes of a process that runs the expert without training it.
        known_by: what the estimate rests on: runs (of this architecture, here), configuration, or size alone.
    """

    memory: float
    minutes: float
    inference: float
    known_by: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One expert in an answer: predicted accuracy with its 80 % interval, and why.

    `same_as` are ids of near-duplicates that it stands for; `family`, where one of each was asked for, those
    of other candidates that lineage connects it with. `needs` is what fine-tuning it here is likely to take.
    """

    expert: Expert
    predicted: float
    low: float
    high: float
    p_best: float
    ran: bool
    tied: bool = False
    evidence: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    needs: Needs | None = None


@dataclass(frozen=True)
class Command:
    """A step to take next: a verb of the workspace, what it is applied to, and settings for it.

    Settings bear the names that Python callers use; None leaves one out. A face of the program, such as the
    command line, writes the command in its own form.

    Example:
        >>> print(Command("warm_start", ("my pets",), {"strategy": "lp-ft"}))
        warm_start('my pets', strategy='lp-ft')
    """

    verb: str
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str | float | bool | None] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the command as a call in Python."""
        settings = (f"{name}={value!r}" for name, value in self.settings.items())
        return f"{self.verb}({', '.join([*map(repr, self.arguments), *settings])})"


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """The best expert that one constraint alone keeps out of an answer."""

    constraint: str
    candidate: Candidate


@dataclass(frozen=True, kw_only=True)
class EvidenceSource:
    """A place that results on other tasks are from, and what the answer would be without them.

    Attributes:
        origin: a file, a public table, a registry of others, or measured here.
        results: how many.
        experts: on how many experts.
        tasks: on how many tasks.
        change: mean change of the predicted accuracies that are listed.
        first_without: name of the expert that would be first.
    """

    origin: str
    results: int
    experts: int
    tasks: int
    change: float
    first_without: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A smaller network that meets the limits of a query, started from an expert that does not.

    Attributes:
        expert: what it would start from.
        into: the architecture, as a training takes it.
        params: how many parameters it has.
        needs: what its training is likely to take.
        predicted: accuracy, with an 80 % interval from `low` to `high`.
        reason: what is proposed, and what the prediction rests on.
        command: trains it.
    """

    expert: Expert
    into: str
    params: int
    needs: Needs | None
    predicted: float
    low: float
    high: float
    reason: str
    command: Command


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The answer to a query, best candidate first.

    Attributes:
        command: the step to take next: a warm start from the best, or its registration.
        unit: of the predictions: accuracy, or percentile where the level of the task is unknown.
        here: place and prediction of the best expert with weights, where it is not among the candidates.
        together: a few experts to try side by side, chosen to complement each other.
        excluded: the best expert that each constraint alone keeps out.
        failed: experts that cannot be run on the data, by id: a line that says why.
        interrupted: whether the search was cut short by Ctrl-C.
        sources: where the results on other tasks are from, if that was asked for.
        too_large: the best experts with weights here that only a limit on size, memory or minutes keeps out.
        proposal: a smaller network from one of `too_large`, where that promises more than the candidates.
        shared_names: names of experts in it that other experts have, too.
        order: ids of all experts that were ranked, also beyond the candidates listed: for each place the one
            listed, then those that it stands for.
    """

    task: Task
    experts_run: int
    baseline: Baseline
    candidates: tuple[Candidate, ...]
    command: Command | None = None
    unit: str = "accuracy"
    here: tuple[int, Candidate] | None = None
    together: tuple[Expert, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    sources: tuple[EvidenceSource, ...] = ()
    too_large: tuple[Candidate, ...] = ()
    proposal: Proposal | None = None
    shared_names: frozenset[str] = frozenset()
    order: tuple[tuple[str, ...], ...] = ()

    def called(self, expert: Expert) -> str:
        """Return what to call an expert: its name, with the hash where others have that name, too."""
        return expert.short if expert.name in self.shared_names else expert.name

    @property
    def best(self) -> Candidate:
        """The first candidate."""
        return self.candidates[0]

    @property
    def start(self) -> Expert | None:
        """The best expert that has weights here, or None when all are known by name only."""
        found = next((c.expert for c in self.candidates if c.expert.runnable), None)
        return self.here[1].expert if found is None and self.here is not None else found


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """The result of a fine-tune from an expert; `accuracy` is the value of `metric` on the test split.

    `note` says what went wrong or was special, e.g. that the loss became NaN and which epoch was kept.
    `lr` is the peak learning rate of the head, None for a linear probe; `lr_search` has what was measured to
    choose it, see `TrainResult`.
    """

    run: str
    expert: str
    child: str
    task: str
    strategy: str
    metric: str
    accuracy: float
    cold_accuracy: float | None
    seed: int
    epochs: int
    seconds: float
    path: str
    note: str = ""
    lr: float | None = None
    lr_search: tuple[Mapping[str, Any], ...] = ()

    @property
    def transfer_gain(self) -> float | None:
        """Accuracy of the warm start minus that of the cold start, if one was run."""
        return None if self.cold_accuracy is None else self.accuracy - self.cold_accuracy


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run as the registry knows it; `status` is running, done, failed or interrupted."""

    id: str
    expert: str
    task: str
    child: str | None
    status: str
    strategy: str
    seed: int
    path: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    started_at: str
    finished_at: str | None
