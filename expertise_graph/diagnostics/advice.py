"""Three sentences of advice on a dataset, by fixed rules from what was found, and the command to run next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from expertise_graph.core import Command, count, percent
from expertise_graph.data import plural_of
from expertise_graph.diagnostics.findings import Accuracy, DataFindings

# Classes with fewer items leave less than one item in some of the five folds.
FEW = 5

# Items of the largest class over those of the smallest from which on accuracy says little of the latter.
UNEVEN = 10.0

# Of all items: fewer that cannot be used, are copies or look unusual change no figure by a point that counts.
SHARE = 0.05

# Accuracy of a linear probe that fine-tuning can hardly raise.
SOLVED = 0.97

# Median items of a class from which on more than the head is trained, and from which on all layers at once;
# docs/warm-start.md has the strategies compared.
_TUNED_FROM, _FULL_FROM = 10, 500


def advise(findings: DataFindings) -> tuple[str, str, str]:
    """Return what to fix first, what to start from, and what to expect.

    Args:
        findings: all parts that could be worked out.
    """
    return _first_repair(findings), _start_from(findings), _expect(findings)


def next_command(findings: DataFindings, locator: str, settings: Mapping[str, str | bool]) -> Command | None:
    """Return the warm start to run next, or None if nothing is to be started from.

    Args:
        findings: all parts that could be worked out.
        locator: of the data.
        settings: that the command needs to read them.
    """
    baselines = findings.baselines
    if baselines is None or findings.expert is None or not baselines.network_adds or baselines.nothing_learnt:
        return None
    strategy, _ = _strategy(findings)
    # The default needs no words.
    named = {} if strategy == "lp-ft" else {"strategy": strategy}
    return Command(
        "warm_start", (locator,), {"expert": findings.expert, **settings, **named, "out": "runs/first"}
    )


def _first_repair(findings: DataFindings) -> str:
    """Return what to do first: whatever stands in the way, else the repair that concerns the most items."""
    summary = findings.summary
    if not summary.items:
        return f"First make the items readable: none of {len(summary.skipped):,} can be used."
    if len(summary.classes) == 1:
        return "First add items of a second class: with one class there is nothing to tell apart."
    # Of equally many the one that is named first.
    repairs = sorted(_repairs(findings), key=lambda repair: -repair[0])
    further = (text for _, text in repairs)
    return next(further, None) or next(_to_collect(findings), "Nothing has to be fixed first.")


def _repairs(findings: DataFindings) -> Iterator[tuple[int, str]]:
    """Yield what can be repaired, with the number of items that are wrong."""
    summary, duplicates, labels = findings.summary, findings.duplicates, findings.label_errors
    if duplicates is not None and duplicates.leaked:
        n = len(duplicates.leaked)
        yield (
            n,
            f"First remove the {count(n, 'leaked item')} from training or from validation and test: items "
            "in both make the measured accuracy too high.",
        )
    if duplicates is not None and duplicates.conflicts:
        n = len(duplicates.conflicts)
        items = sum(len(group.items) for group in duplicates.conflicts)
        yield items, f"First decide on one label for {count(n, 'group')} of duplicates with different labels."
    if labels is not None and labels.clear:
        text = f"First review the {count(labels.found, 'label')} that look wrong, the most confident first."
        yield labels.found, text
    if len(summary.skipped) > SHARE * summary.items:
        n = len(summary.skipped)
        yield n, f"First repair or remove the {count(n, 'item')} that cannot be used."
    if duplicates is not None and duplicates.copies > SHARE * summary.items:
        n = duplicates.copies
        yield n, f"First remove the {count(n, 'copy')}, which give some items more weight."
    unusual = sum(len(kind.items) for kind in findings.unusual or ())
    if findings.unusual and unusual > SHARE * summary.items:
        first = findings.unusual[0]
        yield unusual, f"First look at the unusual items: {len(first.items):,} are {first.kind}."


def _to_collect(findings: DataFindings) -> Iterator[str]:
    """Yield what is too little of, the most harmful first."""
    summary = findings.summary
    if summary.only_in_test:
        n = len(summary.only_in_test)
        yield f"First add items of {count(n, 'class')} that only the test set has to training."
    small = [name for name, n in summary.classes.items() if n < FEW]
    if small:
        yield (
            f"First collect more of {count(len(small), 'class')} with fewer than {FEW} items, "
            f"such as {list(summary.classes)[-1]!r} with {min(summary.classes.values())}."
        )
    if summary.imbalance > UNEVEN:
        yield (
            f"First collect more of the rare classes, as {next(iter(summary.classes))!r} has "
            f"{summary.imbalance:.0f} times the items of {list(summary.classes)[-1]!r}."
        )


def _start_from(findings: DataFindings) -> str:
    baselines = findings.baselines
    if baselines is None:
        return "There are too few items to tell what to start from, so add some and check again."
    if baselines.nothing_learnt:
        return (
            "Nothing beats always guessing the most frequent class "
            f"({percent(baselines.majority.value)}): look at the labels, and at whether the inputs show what "
            "they say, before training anything."
        )
    if findings.expert is None:
        simple = baselines.simple
        which = "a linear model on the raw input" if simple is baselines.methods["raw"] else simple.method
        if simple.value >= SOLVED:
            return (
                f"Begin without a network, as {which} reaches {percent(simple.value)}, which leaves little "
                "to gain."
            )
        return (
            f"Register experts for {plural_of(findings.summary.modality)} and check again, to see whether "
            f"they beat the {percent(simple.value)} of {which}."
        )
    if not baselines.network_adds:
        return (
            f"Begin without a network, as a simple model on the raw input reaches "
            f"{percent(baselines.simple.value)} and {findings.expert} is not clearly better "
            f"({percent(baselines.methods['expert'].value)})."
        )
    _, why = _strategy(findings)
    return f"Start from {findings.expert} {why}."


def _strategy(findings: DataFindings) -> tuple[str, str]:
    """Return the strategy of a warm start, and why, from the items a class and the accuracy of a probe."""
    n, baselines = findings.summary.per_class, findings.baselines
    if baselines is not None and baselines.methods["expert"].value >= SOLVED:
        return "linear-probe", "with a linear probe, which leaves little to gain"
    if n < _TUNED_FROM:
        return "linear-probe", f"with a linear probe, as {n} items per class are too few to train more"
    if n < _FULL_FROM:
        return "lp-ft", f"with a linear probe and then fine-tuning, as suits {n} items per class"
    return "full", f"with full fine-tuning, as {n} items per class allow"


def _expect(findings: DataFindings) -> str:
    if findings.baselines is None:
        return "What accuracy to expect is not known yet."
    best = _best(findings)
    if findings.baselines.nothing_learnt:
        return f"Expect no more than the {percent(findings.baselines.majority.value)} of that guess."
    tuned = findings.expert is not None and findings.baselines.network_adds and best.value < SOLVED
    more = " or more after fine-tuning" if tuned else ""
    return (
        f"Expect an accuracy of about {percent(best.value)} ({percent(best.low)} to {percent(best.high)})"
        f"{more} on items like these, and {_more_data(findings)}"
    )


def _best(findings: DataFindings) -> Accuracy:
    """Return the accuracy of the expert where it is better for sure, else that of the simple model."""
    baselines = findings.baselines
    assert baselines is not None
    sure = baselines.gain_low is not None and baselines.gain_low > 0
    return baselines.methods.get("expert", baselines.simple) if sure else baselines.simple


def _more_data(findings: DataFindings) -> str:
    curve = findings.learning_curve
    if curve is None:
        return "whether more data helps is not known."
    if curve.predicted is None:
        return f"what more data would add is not known, as {curve.reason}."
    low, middle, high = (100 * (value - curve.accuracies[-1]) for value in curve.predicted)
    points = "point" if round(middle) == 1 else "points"
    what = f"about {middle:.0f} {points} ({low:.0f} to {high:.0f})" if high >= 1 else "under one point"
    return f"twice as many items would add {what}."
