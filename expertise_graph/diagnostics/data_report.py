"""The page about a dataset."""

from __future__ import annotations

from collections.abc import Iterator

from expertise_graph.data import plural_of
from expertise_graph.diagnostics.charts import Line, bar_chart, line_chart
from expertise_graph.diagnostics.findings import DataFindings, Duplicates, Growth, Need, Noise
from expertise_graph.diagnostics.page import Cell, Html, Thumbnails, heading, numbered, page, paragraph, table

_ROWS = 30
_CLASSES = 100
_IN_GROUP = 3


def data_page(findings: DataFindings) -> str:
    """Return the report on a dataset as one page of HTML."""
    return page(f"Check of {findings.basics.name}", list(_parts(findings)))


def _parts(findings: DataFindings) -> Iterator[Html]:
    thumbnails = Thumbnails(findings.items, findings.basics.modality)
    if findings.interrupted:
        yield paragraph("The check was interrupted: this is what was known until then.", "note")
    if findings.advice:
        yield heading("Advice")
        yield numbered(findings.advice)
        yield paragraph(findings.command, "note")
    if findings.duplicates is not None and findings.duplicates.groups:
        yield from _duplicates(findings, findings.duplicates, thumbnails)
    if findings.noise is not None:
        yield from _noise(findings, findings.noise, thumbnails)
    yield from _files(findings, thumbnails)
    if findings.need is not None:
        yield from _need(findings.need)
    if findings.growth is not None:
        yield from _growth(findings.growth)
    yield from _basics(findings)
    if findings.notes:
        yield heading("Notes")
        yield from (paragraph(note, "note") for note in findings.notes)


def _duplicates(findings: DataFindings, found: Duplicates, thumbnails: Thumbnails) -> Iterator[Html]:
    yield heading("Duplicates")
    yield paragraph(
        f"{len(found.leaked):,} of {found.held_out:,} items for validation or test are in training too; "
        f"{len(found.conflicts):,} groups bear different labels; {found.exact_copies:,} items are exact "
        f"copies, {found.near_copies:,} near ones (told apart by {found.confirmed_by})."
    )
    rows: list[list[Cell]] = [
        [
            Html("<br>".join(thumbnails.show(i, findings.names[i]).text for i in g.items[:_IN_GROUP])),
            len(g.items),
            "equal" if g.exact else "nearly equal",
            ", ".join(sorted({findings.class_of(i) for i in g.items})),
            "; ".join(["in several splits"] * g.leak + ["different labels"] * g.conflict) or "copy",
        ]
        for g in found.groups[:_ROWS]
    ]
    yield table(
        f"The first {len(rows)} of {len(found.groups):,} groups",
        ("items", "how many", "how alike", "labels", "problem"),
        rows,
    )


def _noise(findings: DataFindings, noise: Noise, thumbnails: Thumbnails) -> Iterator[Html]:
    yield heading("Labels that look wrong")
    yield paragraph(
        f"{noise.found:,} of {noise.checked:,} labels are confidently contradicted by a probe "
        "that has not seen the item. Of labels swapped on purpose the same search finds "
        f"{100 * noise.found_share:.0f} %, so at most some {noise.estimated:,} are wrong; "
        "hard but rightly labelled items are among them" + ("." if noise.clear else ", here probably most.")
    )
    rows: list[list[Cell]] = [
        [thumbnails.show(s.item, findings.names[s.item]), s.given, s.suggested, f"{s.confidence:.0%}"]
        for s in noise.suspects[:_ROWS]
    ]
    yield table("The most confident first", ("item", "label given", "label suggested", "confidence"), rows)


def _files(findings: DataFindings, thumbnails: Thumbnails) -> Iterator[Html]:
    skipped = findings.basics.skipped
    if not skipped and not findings.odd:
        return
    yield heading("Files")
    yield table(
        f"{len(skipped):,} items cannot be used", ("item", "why"), [list(pair) for pair in skipped[:_ROWS]]
    )
    rows: list[list[Cell]] = [
        [
            odd.kind,
            len(odd.items),
            Html("<br>".join(thumbnails.show(i, findings.names[i]).text for i in odd.items[:4])),
        ]
        for odd in findings.odd or ()
    ]
    yield table("Odd items", ("kind", "how many", "the first"), rows)


def _need(need: Need) -> Iterator[Html]:
    yield heading("How hard the task is")
    bars = {found.method: (found.value, found.low, found.high) for found in need.methods.values()}
    yield Html(bar_chart("Accuracy of simple methods with 95 % intervals", bars))
    rows = [[m.method, f"{m.value:.1%}", f"{m.low:.1%} to {m.high:.1%}"] for m in need.methods.values()]
    caption = f"Accuracy on {need.folds} held-out parts of {need.items:,} items, duplicates kept together"
    yield table(caption, ("method", "accuracy", "95 % interval"), rows)


def _growth(growth: Growth) -> Iterator[Html]:
    yield heading("Would more data help?")
    points = list(zip(growth.sizes, growth.accuracies, strict=True))
    lines = [Line("measured", points)]
    if growth.doubled is not None:
        lines.append(Line("predicted", [points[-1], (2.0 * growth.sizes[-1], growth.doubled)], dashed=True))
    yield Html(line_chart("Accuracy against number of items", lines, across="items to learn from"))
    if growth.doubled is None or growth.low is None or growth.high is None:
        yield paragraph(f"Nothing is predicted: {growth.reason}.")
    else:
        yield paragraph(
            f"With twice as many items about {growth.doubled:.0%} ({growth.low:.0%} to {growth.high:.0%}), "
            "if the new ones are like these."
        )


def _basics(findings: DataFindings) -> Iterator[Html]:
    basics = findings.basics
    yield heading("What there is")
    splits = ", ".join(f"{count:,} in {split}" for split, count in basics.splits.items())
    yield paragraph(
        f"{basics.items:,} {plural_of(basics.modality)} in {len(basics.classes):,} classes: {splits}."
    )
    yield from (paragraph(trait) for trait in basics.traits)
    rows: list[list[Cell]] = [[name, count] for name, count in list(basics.classes.items())[:_CLASSES]]
    yield table(f"The first {len(rows)} of {len(basics.classes):,} classes", ("class", "items"), rows)
    if findings.expert:
        yield paragraph(f"Expert: {findings.expert} ({findings.expert_reason}).", "note")
