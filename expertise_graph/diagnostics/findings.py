"""What a check finds: plain values, ready for a terminal, a page or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from expertise_graph.core import IntArray
from expertise_graph.data import Item, Odd


@dataclass(frozen=True, kw_only=True)
class Basics:
    """How much there is of what.

    Attributes:
        classes: items by class, largest first.
        splits: items by split.
        imbalance: items of the largest class over those of the smallest.
        per_class: median number of items of a class that may be learnt from.
        traits: one line each about sizes and kinds of the items.
        skipped: what the reader left out, and why.
        strange: classes that only the separate test set has.
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
    strange: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Group:
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
        copies: items that could be left out without losing any input: exact, and near ones.
        leaked: indices of items for validation or test that training has seen.
        held_out: how many items there are for validation and test.
        confirmed_by: how near-duplicates were told from look-alikes.
    """

    groups: tuple[Group, ...]
    exact_copies: int
    near_copies: int
    leaked: tuple[int, ...]
    held_out: int
    confirmed_by: str

    @property
    def conflicts(self) -> tuple[Group, ...]:
        """The groups with more than one label."""
        return tuple(group for group in self.groups if group.conflict)


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An item whose label a cross-validated probe confidently disagrees with."""

    item: int
    given: str
    suggested: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Labels that look wrong.

    Attributes:
        suspects: the most confident first, two hundred at most.
        found: how many there are in all.
        checked: how many items were checked.
        errors: how many of them the probe gets wrong; hard items are among them.
        found_share: of labels that were swapped on purpose, the share that the same search finds.
        estimated: how many labels are wrong if all suspects are; a share is missed.
    """

    suspects: tuple[Suspect, ...]
    found: int
    checked: int
    errors: int
    found_share: float
    estimated: int

    @property
    def clear(self) -> bool:
        """Whether the disagreements look like wrong labels rather than like hard items.

        Measured on our tasks: with clean labels up to .3 of the errors of a probe are confident ones, with a
        tenth of the labels swapped .4 to .75, so long as the probe is any good; of few errors the share says
        nothing.
        """
        return self.found >= max(3, 0.025 * self.checked) and self.found >= 0.4 * self.errors


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What a method reaches on items it was not fitted on, with its 95 % interval."""

    method: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Need:
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
    def network_adds(self) -> bool:
        """Whether the expert is not, within chance, as good as the raw input alone."""
        return self.gain_low is None or self.gain_low > 0


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How accuracy grows with the number of items.

    Attributes:
        sizes: items trained on, smallest first.
        accuracies: mean over folds and draws, for each size.
        doubled: predicted accuracy with twice the items; None where that cannot be told.
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


@dataclass(kw_only=True)
class DataFindings:
    """All that is known about a dataset so far; a part that could not be worked out is None.

    Attributes:
        notes: what was left out, and why.
        expert: the expert whose features were used; `expert_reason` says why it, or why none.
        sampled: how many items the parts with features rest on.
        advice: three sentences, empty until all parts are done.
        command: what to type next, or an empty text.
    """

    names: tuple[str, ...]
    labels: IntArray
    class_names: tuple[str, ...]
    items: tuple[Item, ...]
    basics: Basics
    odd: tuple[Odd, ...] | None = None
    duplicates: Duplicates | None = None
    noise: Noise | None = None
    need: Need | None = None
    growth: Growth | None = None
    expert: str | None = None
    expert_reason: str = ""
    sampled: int = 0
    advice: tuple[str, ...] = ()
    command: str = ""
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def class_of(self, item: int) -> str:
        """Return the label of an item."""
        return self.class_names[int(self.labels[item])]
