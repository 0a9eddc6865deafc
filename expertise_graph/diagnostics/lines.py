"""The answer of a check as some twenty lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from expertise_graph.data import plural_of
from expertise_graph.diagnostics.findings import DataFindings, Duplicates, Group, Growth, Need, Noise

SHOWN = 3
_NAME = 32


def data_lines(findings: DataFindings) -> Iterator[str]:
    """Yield the lines, what matters most first, the advice last."""
    yield _title(findings)
    faults = list(_faults(findings))
    yield ""
    yield "To repair" if faults else "Nothing to repair was found."
    yield from faults
    yield from _facts(findings)
    if findings.need is not None:
        yield from _hardness(findings.need)
    if findings.growth is not None:
        yield from _growth(findings.growth)
    for note in findings.notes:
        yield f"note: {note}"
    if findings.interrupted:
        yield "interrupted: this is what was known until then"
    if findings.advice:
        yield ""
        yield "Advice"
        yield from (f"  {number}. {sentence}" for number, sentence in enumerate(findings.advice, 1))
    if findings.command:
        yield f"  {findings.command}"


def _title(findings: DataFindings) -> str:
    basics = findings.basics
    splits = ", ".join(f"{count:,} {split}" for split, count in basics.splits.items())
    parts = f" ({splits})" if len(basics.splits) > 1 else ""
    inputs = f"{basics.items:,} {plural_of(basics.modality)}"
    return f"{basics.name}: {inputs} in {len(basics.classes):,} classes{parts}"


def _faults(findings: DataFindings) -> Iterator[str]:
    basics = findings.basics
    if findings.duplicates is not None:
        yield from _duplicates(findings, findings.duplicates)
    if findings.noise is not None and findings.noise.suspects:
        yield from _noise(findings, findings.noise)
    if basics.skipped:
        shown = "; ".join(f"{shorten(what)} ({why[: 2 * _NAME]})" for what, why in basics.skipped[:SHOWN])
        yield f"  unusable    {count(len(basics.skipped), 'item')}: {shown}"
    for odd in findings.odd or ():
        yield f"  odd         {len(odd.items):,} {odd.kind}: {names(findings, odd.items)}"
    if basics.strange:
        shown = ", ".join(map(shorten, basics.strange[:SHOWN]))
        yield f"  classes     {len(basics.strange):,} in the test set only: {shown}"


def _duplicates(findings: DataFindings, found: Duplicates) -> Iterator[str]:
    if found.leaked:
        yield (
            f"  leakage     {len(found.leaked):,} of {count(found.held_out, 'item')} for validation or test "
            f"are in training too: {pairs(findings, [g for g in found.groups if g.leak])}"
        )
    if found.conflicts:
        yield (
            f"  conflicts   {count(len(found.conflicts), 'group')} of equal items with different labels: "
            f"{pairs(findings, found.conflicts, labels=True)}"
        )
    if found.exact_copies + found.near_copies:
        harmless = pairs(findings, [g for g in found.groups if not g.leak and not g.conflict])
        yield (
            f"  duplicates  {found.exact_copies:,} exact and {found.near_copies:,} near "
            f"{'copy' if found.exact_copies + found.near_copies == 1 else 'copies'} in all"
            f"{': ' + harmless if harmless else ''}"
        )


def _noise(findings: DataFindings, noise: Noise) -> Iterator[str]:
    shown = "; ".join(
        f"{shorten(findings.names[s.item])} is {shorten(s.given)}, looks like {shorten(s.suggested)}"
        for s in noise.suspects[:SHOWN]
    )
    doubt = "" if noise.clear else " (or are only hard)"
    yield f"  labels      {noise.found:,} of {noise.checked:,} look wrong{doubt}: {shown}"
    yield (
        f"              at most some {noise.estimated:,} are wrong; the search finds "
        f"{100 * noise.found_share:.0f} % of labels swapped on purpose"
    )


def _facts(findings: DataFindings) -> Iterator[str]:
    sizes = list(findings.basics.classes.items())
    yield ""
    if len(sizes) > 1:
        (most, high), (least, low) = sizes[0], sizes[-1]
        yield (
            f"Classes: {high:,} items in the largest ({shorten(most)}), {low:,} in the smallest "
            f"({shorten(least)}), {findings.basics.imbalance:.1f} to 1"
        )
    if findings.basics.traits:
        yield f"{findings.basics.modality.capitalize()}s: {'; '.join(findings.basics.traits)}"


def _hardness(need: Need) -> Iterator[str]:
    yield f"Accuracy of simple methods on held-out parts of {need.items:,} items (95 % interval)"
    for method in need.methods.values():
        yield f"  {method.value:6.1%}  ({method.low:.0%} to {method.high:.0%})  {method.method}"


def _growth(growth: Growth) -> Iterator[str]:
    steps = ", ".join(f"{a:.0%} with {n:,}" for a, n in zip(growth.accuracies, growth.sizes, strict=True))
    if growth.doubled is None or growth.low is None or growth.high is None:
        yield f"More data: {steps}; nothing is predicted: {growth.reason}"
    else:
        yield (
            f"More data: {steps}; about {growth.doubled:.0%} with twice as many "
            f"({growth.low:.0%} to {growth.high:.0%})"
        )


def pairs(findings: DataFindings, groups: Iterable[Group], *, labels: bool = False) -> str:
    """Return the first items of the first groups, with their labels if asked for."""
    shown = []
    for group in list(groups)[:SHOWN]:
        items = _telling(findings, group, labels)
        shown.append(" = ".join(_named(findings, i, labels) for i in items))
    return "; ".join(shown)


def _telling(findings: DataFindings, group: Group, labels: bool) -> Sequence[int]:
    """Return two items of a group, of different labels where that is the point."""
    first = group.items[0]
    others = [i for i in group.items[1:] if not labels or findings.labels[i] != findings.labels[first]]
    return (first, *others[:1])


def _named(findings: DataFindings, item: int, labels: bool) -> str:
    name = shorten(findings.names[item])
    return f"{name} ({shorten(findings.class_of(item))})" if labels else name


def names(findings: DataFindings, items: Sequence[int]) -> str:
    """Return the names of the first items."""
    more = ", ..." if len(items) > SHOWN else ""
    return ", ".join(shorten(findings.names[i]) for i in items[:SHOWN]) + more


def shorten(text: str, length: int = _NAME) -> str:
    """Return a text cut to some length; of a path the end is kept, as it tells items apart.

    Example:
        >>> shorten("a/b/cdef.png", 10), shorten("one of many", 7)
        ('...def.png', 'one ...')
    """
    if len(text) <= length:
        return text
    return f"...{text[3 - length :]}" if "/" in text else f"{text[: length - 3]}..."


def count(n: int, what: str) -> str:
    """Return a number with its noun.

    Example:
        >>> count(1, "item"), count(1200, "item")
        ('1 item', '1,200 items')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"
