"""What a check of a dataset finds: plain values, from which a report and JSON are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from expertise_graph.core import Command, IntArray
from expertise_graph.data import Item, UnusualItems


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """How much there is of what.

    Attributes:
        classes: items by class, largest first.
        splits: items by split.
        imbalance: items of the largest class over those of the smallest.
        per_class: median number of items of a class that may be learnt from.
        traits: one line each about sizes and formats of the items.
        skipped: what the reader left out, and why.
        only_in_test: classes that only the separate test set has.
    """

    name: str
    modality: str
    items: int
    classes: Mapping[str, int]
    splits: Mapping[str, int]
    imbalance: float
    per_class: int
    traits: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    only_in_test: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Items that are the same, or nearly so.

    Attributes:
        items: indices, two or more.
        exact: whether all are the same byte for byte.
        leak: whether they lie in more than one split.
        conflict: whether they have more than one label.
    """

    items: tuple[int, ...]
    exact: bool
    leak: bool
    conflict: bool


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Groups of items that are the same, or nearly so.

    Attributes:
        groups: the most harmful first.
        exact_copies: exact copies that could be left out without losing any input.
        near_copies: near-duplicates that could be left out as well.
        leaked: indices of validation and test items that are also in training.
        held_out: how many validation and test items there are.
        confirmed_by: how near-duplicates were told from look-alikes.
    """

    groups: tuple[DuplicateGroup, ...]
    exact_copies: int
    near_copies: int
    leaked: tuple[int, ...]
    held_out: int
    confirmed_by: str

    @property
    def conflicts(self) -> tuple[DuplicateGroup, ...]:
        """The groups with more than one label."""
        return tuple(group for group in self.groups if group.conflict)

    @property
    def copies(self) -> int:
        """How many items could be left out without losing any input."""
        return self.exact_copies + self.near_copies


# Measured (LOG.md, wrong labels): with clean labels up to .33 of the errors of a probe are confident ones,
# with a tenth of the labels swapped .38 to .73. Of few errors the share says nothing.
_CONFIDENT_ERRORS, _CONFIDENT_ITEMS, _FEWEST = 0.4, 0.025, 3


@dataclass(frozen=True, kw_only=True)
class SuspectedError:
    """An item whose label a cross-validated probe confidently disagrees with."""

    item: int
    given: str
    suggested: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """Labels that look wrong.

    Attributes:
        suspected: the most confident first, two hundred at most.
        found: how many there are in all.
        checked: how many items were checked.
        misclassified: how many of them the probe gets wrong; hard items are among them.
        recall: of labels that were swapped on purpose, the share that the same search finds.
        estimated: how many labels are wrong if all suspected ones are; some are missed.
    """

    suspected: tuple[SuspectedError, ...]
    found: int
    checked: int
    misclassified: int
    recall: float
    estimated: int

    @property
    def clear(self) -> bool:
        """Whether they look like wrong labels rather than like hard items."""
        return (
            self.found >= max(_FEWEST, _CONFIDENT_ITEMS * self.checked)
            and self.found >= _CONFIDENT_ERRORS * self.misclassified
        )


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What a method reaches on items it was not fitted on, with its 95 % interval."""

    method: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """How far methods of rising effort get, on the same folds.

    Attributes:
        methods: majority, centroid, raw and, where there is an expert, expert.
        gain: accuracy of the expert minus that on the raw input; None without an expert.
        gain_low: lower end of its 95 % interval (paired).
        gain_high: upper end.
    """

    methods: Mapping[str, Accuracy]
    items: int
    folds: int
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def best(self) -> Accuracy:
        """The most accurate of the methods."""
        return max(self.methods.values(), key=lambda method: method.value)

    @property
    def majority(self) -> Accuracy:
        """That of always guessing the most frequent class."""
        return self.methods["majority"]

    @property
    def nothing_learnt(self) -> bool:
        """Whether no method is better, beyond chance, than always guessing the most frequent class."""
        learning = [found for name, found in self.methods.items() if name != "majority"]
        return all(found.low <= self.majority.value for found in learning)

    @property
    def without_network(self) -> Accuracy:
        """The most accurate of the methods that use no expert."""
        simple = (found for name, found in self.methods.items() if name != "expert")
        return max(simple, key=lambda method: method.value)

    @property
    def simple(self) -> Accuracy:
        """The method without an expert to go by: the linear model on the raw input, unless another is better.

        Better beyond chance, that is: the best of several noisy accuracies is a forecast that is too high.
        """
        best, raw = self.without_network, self.methods["raw"]
        return best if best.low > raw.value else raw

    @property
    def network_adds(self) -> bool:
        """Whether the expert is not, within chance, as good as the raw input alone."""
        return self.gain_low is None or self.gain_low > 0


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """How accuracy grows with the number of items.

    Attributes:
        method: what was learnt.
        sizes: items trained on, smallest first.
        accuracies: mean over folds and draws, for each size.
        doubled: predicted accuracy with twice the items; None where nothing can be said.
        low: a cautious end of what twice the items may give.
        high: the other end.
        reason: why nothing is predicted, or an empty text.
    """

    method: str
    sizes: tuple[int, ...]
    accuracies: tuple[float, ...]
    doubled: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def predicted(self) -> tuple[float, float, float] | None:
        """Accuracy with twice the items: low, expected, high."""
        if self.doubled is None or self.low is None or self.high is None:
            return None
        return self.low, self.doubled, self.high


@dataclass(kw_only=True)
class DataFindings:
    """All that is known about a dataset so far; a part that could not be worked out is None.

    Attributes:
        names: what each item is called.
        notes: what was left out, and why.
        expert: the expert whose features were used; `expert_reason` says why it, or why none.
        sampled: how many items the parts with features rest on.
        advice: three sentences, empty until all parts are done.
        command: what to run next; None where there is nothing to start from.
    """

    names: tuple[str, ...]
    labels: IntArray
    class_names: tuple[str, ...]
    items: tuple[Item, ...]
    summary: DatasetSummary
    unusual: tuple[UnusualItems, ...] | None = None
    duplicates: Duplicates | None = None
    label_errors: LabelErrors | None = None
    baselines: Baselines | None = None
    learning_curve: LearningCurve | None = None
    expert: str | None = None
    expert_reason: str = ""
    sampled: int = 0
    advice: tuple[str, ...] = ()
    command: Command | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def class_of(self, item: int) -> str:
        """Return the label of an item."""
        return self.class_names[int(self.labels[item])]
