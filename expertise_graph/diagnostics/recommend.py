"""Three sentences of advice, by rules from what was found."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from expertise_graph.data import plural_of
from expertise_graph.diagnostics.findings import Accuracy, DataFindings, Need

FEW = 5
UNEVEN = 10.0
SHARE = 0.05
SOLVED = 0.97


def recommend(findings: DataFindings) -> tuple[str, str, str]:
    """Return what to fix first, what to start from, and what to expect.

    Args:
        findings: all parts that could be worked out.
    """
    return fix_first(findings), start_from(findings), expect(findings)


def fix_first(findings: DataFindings) -> str:
    """Return the most harmful of what can be repaired; the first rule that fires counts."""
    for sentence in _faults(findings):
        return sentence
    return "Nothing has to be fixed first."


def _faults(findings: DataFindings) -> Iterator[str]:
    basics, copies, noise = findings.basics, findings.duplicates, findings.noise
    if not basics.items:
        yield f"First make the items readable: none of {len(basics.skipped):,} can be used."
    if len(basics.classes) == 1:
        yield "First add items of a second class: with one class there is nothing to tell apart."
    if copies is not None and copies.leaked:
        yield (
            f"First take the {_count(len(copies.leaked), 'item')} for validation or test that training has "
            "seen out of one of the two, as a measured accuracy is too good with them."
        )
    if copies is not None and copies.conflicts:
        n = len(copies.conflicts)
        yield f"First decide on one label for {_count(n, 'group')} of equal items that bear different ones."
    if noise is not None and noise.clear:
        yield (
            f"First look through the list of {_count(noise.found, 'label')} that look wrong, "
            "the most confident first."
        )
    if basics.strange:
        n = len(basics.strange)
        yield f"First put {_count(n, 'class')} that only the test set has into training as well."
    if len(basics.skipped) > SHARE * basics.items:
        yield f"First repair or remove the {_count(len(basics.skipped), 'item')} that cannot be read."
    yield from _small_classes(findings)
    removable = 0 if copies is None else copies.exact_copies + copies.near_copies
    if removable > SHARE * basics.items:
        yield f"First remove the {_count(removable, 'copy')}, which count some items several times."
    if findings.odd and sum(len(odd.items) for odd in findings.odd) > SHARE * basics.items:
        yield f"First look at the odd items: {len(findings.odd[0].items):,} are {findings.odd[0].kind}."


def _small_classes(findings: DataFindings) -> Iterator[str]:
    classes = findings.basics.classes
    small = [name for name, count in classes.items() if count < FEW]
    if small:
        yield (
            f"First collect more of {_count(len(small), 'class')} with fewer than {FEW} items, "
            f"such as {list(classes)[-1]!r} with {min(classes.values())}."
        )
    if findings.basics.imbalance > UNEVEN:
        yield (
            f"First collect more of the rare classes, as {next(iter(classes))!r} has "
            f"{findings.basics.imbalance:.0f} times the items of {list(classes)[-1]!r}."
        )


def start_from(findings: DataFindings) -> str:
    """Return what to start from, and the strategy for the number of items a class."""
    need = findings.need
    if need is None:
        return "What to start from cannot be told from so little, so add items and check again."
    if findings.expert is None:
        return (
            f"Register experts for {plural_of(findings.basics.modality)} and check again, to see whether "
            f"they beat the {_percent(need.methods['raw'].value)} of a linear model on the raw input."
        )
    if not need.network_adds:
        return (
            f"Begin without a network, as a linear model on the raw input reaches "
            f"{_percent(_raw(need).value)} and "
            f"{findings.expert} does not clearly add to it ({_percent(need.methods['expert'].value)})."
        )
    _, why = strategy_for(findings)
    return f"Start from {findings.expert} {why}."


def strategy_for(findings: DataFindings) -> tuple[str, str]:
    """Return the strategy of a warm start, and why, from the items a class and the accuracy of a probe."""
    per_class = findings.basics.per_class
    need = findings.need
    if need is not None and need.methods["expert"].value >= SOLVED:
        return "linear-probe", "with a linear probe, which leaves little to gain"
    if per_class < 10:
        return "linear-probe", f"with a linear probe, as {per_class} items a class are too few to train more"
    if per_class < 500:
        return "lp-ft", f"with a linear probe and then fine-tuning, as suits {per_class} items a class"
    return "full", f"with full fine-tuning, as {per_class} items a class allow"


def next_command(findings: DataFindings, locator: str, options: Sequence[str] = ()) -> str:
    """Return the warm start to type, with `options`, or an empty text if nothing is to be started from."""
    need = findings.need
    if need is None or findings.expert is None or not need.network_adds:
        return ""
    strategy, _ = strategy_for(findings)
    words = ["expertise-graph", "warm-start", locator, "--expert", findings.expert, *options]
    words += [] if strategy == "lp-ft" else ["--strategy", strategy]
    return shlex.join([*words, "--out", "runs/first"])


def expect(findings: DataFindings) -> str:
    """Return the accuracy to expect, and whether more data helps."""
    if findings.need is None:
        return "What accuracy to expect cannot be told yet."
    best = _basis(findings)
    tuned = findings.expert is not None and findings.need.network_adds and best.value < SOLVED
    more = " or more after fine-tuning" if tuned else ""
    start = (
        f"Expect an accuracy of about {_percent(best.value)} ({_percent(best.low)} to {_percent(best.high)})"
        f"{more} on items like these, and "
    )
    return start + _more_data(findings)


def _more_data(findings: DataFindings) -> str:
    growth = findings.growth
    if growth is None:
        return "whether more data helps cannot be told."
    if growth.doubled is None or growth.low is None or growth.high is None:
        return f"what more data would add cannot be told, as {growth.reason}."
    now = growth.accuracies[-1]
    low, middle, high = (100 * (value - now) for value in (growth.low, growth.doubled, growth.high))
    points = "point" if round(middle) == 1 else "points"
    what = f"about {middle:.0f} {points} ({low:.0f} to {high:.0f})" if high >= 1 else "under one point"
    return f"twice as many items would add {what}."


def _basis(findings: DataFindings) -> Accuracy:
    need = findings.need
    assert need is not None
    return need.methods.get("expert", need.best) if need.gain_low and need.gain_low > 0 else need.best


def _raw(need: Need) -> Accuracy:
    return max((need.methods[m] for m in ("majority", "centroid", "raw")), key=lambda found: found.value)


def _count(n: int, what: str) -> str:
    plurals = {"class": "classes", "copy": "copies"}
    return f"{n:,} {what if n == 1 else plurals.get(what, what + 's')}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
