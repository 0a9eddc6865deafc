"""The findings about a dataset as a report and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from expertise_graph.core import count, percent, shorten
from expertise_graph.data import plural_of
from expertise_graph.diagnostics.charts import BarChart, ChartLine, LineChart
from expertise_graph.diagnostics.findings import (
    Baselines,
    DataFindings,
    DuplicateGroup,
    Duplicates,
    LabelErrors,
    LearningCurve,
)
from expertise_graph.diagnostics.items import separate_test_named
from expertise_graph.diagnostics.report import (
    NAME,
    Cell,
    ItemName,
    Point,
    Report,
    ReportTable,
    Section,
    Wording,
)

# Examples in a line of a terminal, which they are to fill and not to flood.
SHOWN = 3

# Rows and classes in tables of the page, and items of a group or kind in a cell: a page is read, not
# searched; JSON lists a hundred of each.
_ROWS, _CLASSES, _IN_CELL = 30, 100, 4
LISTED = 100


def report_on_data(findings: DataFindings, wording: Wording = str) -> Report:
    """Return the report on a dataset.

    Args:
        findings: of `check_data`.
        wording: puts settings and commands into the form of the program's face.
    """
    summary = findings.summary
    splits = ", ".join(f"{n:,} {split}" for split, n in _splits(findings, wording).items())
    parts = f" ({splits})" if len(summary.splits) > 1 else ""
    held = f"{summary.items:,} {plural_of(summary.modality)} in {count(len(summary.classes), 'class')}"
    sections = list(_DataSections(findings, wording).all())
    sound = findings.duplicates is not None and not any(section.problem for section in sections)
    return Report(
        title=f"Check of {summary.name}",
        headline=[f"{summary.name}: {held}{parts}", *(["no problems found"] if sound else [])],
        sections=sections,
        advice=findings.advice,
        commands=[] if findings.command is None else [wording(findings.command)],
        notes=[wording(note) for note in findings.notes],
        interrupted=findings.interrupted,
        items=findings.items,
        modality=summary.modality,
    )


class _DataSections:
    def __init__(self, findings: DataFindings, wording: Wording) -> None:
        self.findings, self.summary = findings, findings.summary
        self.names = [separate_test_named(name, wording) for name in findings.names]

    def all(self) -> Iterator[Section]:
        """Yield the sections, problems first."""
        found = self.findings
        if found.duplicates is not None and found.duplicates.groups:
            yield self.duplicates(found.duplicates)
        if found.label_errors is not None and found.label_errors.suspected:
            yield self.label_errors(found.label_errors)
        if self.summary.skipped or found.unusual or self.summary.only_in_test:
            yield self.items()
        if found.baselines is not None:
            yield _baselines(found.baselines)
        if found.learning_curve is not None:
            yield _learning_curve(found.learning_curve)
        yield self.contents()

    def duplicates(self, found: Duplicates) -> Section:
        rows = [
            (
                self.cell(group.items),
                len(group.items),
                "identical" if group.exact else "nearly identical",
                ", ".join(sorted({self.findings.class_of(i) for i in group.items})),
                "; ".join(["in several splits"] * group.leak + ["different labels"] * group.conflict)
                or "copy",
            )
            for group in found.groups[:_ROWS]
        ]
        table = ReportTable(
            caption=f"The first {len(rows)} of {count(len(found.groups), 'group')}",
            head=("items", "how many", "how similar", "labels", "problem"),
            rows=rows,
        )
        points = list(self.duplicate_points(found))
        return Section(title="Duplicates and leakage", points=points, tables=[table], problem=True)

    def duplicate_points(self, found: Duplicates) -> Iterator[Point]:
        if found.leaked:
            text = f"{len(found.leaked):,} of {found.held_out:,} validation and test items also in training"
            near = {i for group in found.groups if not group.exact for i in group.items}
            if nearly := len(near.intersection(found.leaked)):
                text += f", {'all' if nearly == len(found.leaked) else f'{nearly:,}'} as near-duplicates"
            yield Point("leakage", text, self.pairs(g for g in found.groups if g.leak))
        if found.conflicts:
            text = f"{count(len(found.conflicts), 'group')} of duplicates with different labels"
            yield Point("conflicts", text, self.pairs(found.conflicts, labels=True))
        if found.copies:
            copies = "copy" if found.copies == 1 else "copies"
            text = (
                f"{found.exact_copies:,} exact and {found.near_copies:,} near-duplicate {copies}, "
                f"compared by {found.confirmed_by}"
            )
            yield Point(
                "duplicates", text, self.pairs(g for g in found.groups if not g.leak and not g.conflict)
            )

    def label_errors(self, found: LabelErrors) -> Section:
        rows = [
            (self.cell((error.item,)), error.given, error.suggested, percent(error.confidence))
            for error in found.suspected[:_ROWS]
        ]
        examples = "; ".join(
            f"{self.short(i.item)} is {shorten(i.given, NAME)}, looks like {shorten(i.suggested, NAME)}"
            for i in found.suspected[:SHOWN]
        )
        doubt = "probably wrong" if found.clear else "possibly wrong, or only hard"
        points = [
            Point("labels", f"{found.found:,} of {found.checked:,} {doubt}", examples),
            Point(
                "",
                f"at most about {found.estimated:,} in all, as the search finds {percent(found.recall)} of "
                "labels swapped on purpose",
            ),
        ]
        table = ReportTable(
            caption="Labels that a cross-validated probe contradicts, the most confident first",
            head=("item", "label given", "label suggested", "confidence"),
            rows=rows,
        )
        return Section(title="Label errors", points=points, tables=[table], problem=True)

    def items(self) -> Section:
        skipped, unusual = self.summary.skipped, self.findings.unusual or ()
        points = []
        if skipped:
            shown = "; ".join(f"{shorten(what, NAME)} ({why[: 2 * NAME]})" for what, why in skipped[:SHOWN])
            points.append(Point("unusable", count(len(skipped), "item"), shown))
        for kind in unusual:
            points.append(Point("unusual", f"{len(kind.items):,} {kind.kind}", self.first(kind.items)))
        if self.summary.only_in_test:
            classes = self.summary.only_in_test
            shown = ", ".join(shorten(name, NAME) for name in classes[:SHOWN])
            points.append(Point("classes", f"{count(len(classes), 'class')} only in the test set: {shown}"))
        tables = [
            ReportTable(
                caption=f"{count(len(skipped), 'item')} that cannot be used",
                head=("item", "why"),
                rows=skipped[:_ROWS],
            ),
            ReportTable(
                caption="Unusual items",
                head=("first items", "how many", "what is unusual"),
                rows=[(self.cell(kind.items), len(kind.items), kind.kind) for kind in unusual],
            ),
        ]
        return Section(title="Unusable and unusual items", points=points, tables=tables, problem=True)

    def contents(self) -> Section:
        summary, classes = self.summary, list(self.summary.classes.items())
        points = []
        if len(classes) > 1:
            (most, high), (least, low) = classes[0], classes[-1]
            text = (
                f"{high:,} items in the largest ({shorten(most, NAME)}), {low:,} in the smallest "
                f"({shorten(least, NAME)}), {summary.imbalance:.1f} to 1"
            )
            points.append(Point("classes", text))
        if summary.traits:
            points.append(Point(plural_of(summary.modality), "; ".join(summary.traits)))
        if self.findings.expert:
            points.append(Point("features", f"of {self.findings.expert} ({self.findings.expert_reason})"))
        table = ReportTable(
            caption=f"The first {min(_CLASSES, len(classes)):,} of {count(len(classes), 'class')}",
            head=("class", "items"),
            rows=classes[:_CLASSES],
        )
        return Section(title="Contents", points=points, tables=[table])

    def pairs(self, groups: Iterable[DuplicateGroup], *, labels: bool = False) -> str:
        """Return two items of each of the first groups; of different labels if these are asked for."""
        shown = []
        for group in list(groups)[:SHOWN]:
            first, *others = group.items
            if labels:
                others = [i for i in others if self.findings.labels[i] != self.findings.labels[first]]
            sign = " = " if group.exact else " ~ "
            shown.append(sign.join(self.short(i, label=labels) for i in (first, *others[:1])))
        return "; ".join(shown)

    def first(self, items: Sequence[int]) -> str:
        return ", ".join(self.short(i) for i in items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")

    def short(self, item: int, *, label: bool = False) -> str:
        labelled = f" ({shorten(self.findings.class_of(item), NAME)})" if label else ""
        return shorten(self.names[item], NAME) + labelled

    def cell(self, items: Sequence[int]) -> Cell:
        return tuple(ItemName(i, self.names[i]) for i in items[:_IN_CELL])


def _baselines(found: Baselines) -> Section:
    methods = found.methods.values()
    folds = f"cross-validated in {found.folds} folds, duplicates kept together"
    return Section(
        title="Baselines",
        text=[f"accuracy on {found.items:,} items, {folds}"],
        charts=[
            BarChart(
                title="Accuracy of the baselines with 95 % intervals",
                bars=[(method.method, method.value, method.low, method.high) for method in methods],
            )
        ],
        tables=[
            ReportTable(
                caption="Accuracy of the baselines",
                head=("method", "accuracy", "95 % interval"),
                rows=[
                    (m.method, f"{100 * m.value:.1f} %", f"{100 * m.low:.0f} to {percent(m.high)}")
                    for m in methods
                ],
                brief=len(methods),
            )
        ],
    )


def _learning_curve(found: LearningCurve) -> Section:
    points = list(zip(found.sizes, found.accuracies, strict=True))
    lines = [ChartLine("measured", points)]
    steps = ", ".join(f"{percent(accuracy)} with {size:,}" for size, accuracy in points)
    if found.predicted is None:
        ahead = f"no prediction for more items: {found.reason}"
    else:
        low, doubled, high = found.predicted
        lines.append(ChartLine("predicted", [points[-1], (2.0 * found.sizes[-1], doubled)], dashed=True))
        ahead = (
            f"about {percent(doubled)} predicted with twice as many like these "
            f"({percent(low)} to {percent(high)})"
        )
    chart = LineChart(title="Accuracy by number of items", lines=lines, across="items to learn from")
    return Section(title="Learning curve", text=[f"{steps} items; {ahead}"], charts=[chart])


def data_json(findings: DataFindings, wording: Wording = str) -> dict[str, Any]:
    """Return the documented JSON form; items are named, lists of items are cut to a hundred.

    Args:
        findings: of `check_data`.
        wording: puts settings and commands into the form of the program's face.
    """
    names = [separate_test_named(name, wording) for name in findings.names]
    summary = asdict(findings.summary)
    skipped, only_in_test = summary.pop("skipped"), summary.pop("only_in_test")
    return {
        "kind": "data",
        **summary,
        "splits": _splits(findings, wording),
        "strange": only_in_test,
        "skipped": [{"item": what, "reason": why} for what, why in skipped],
        "odd": None
        if findings.unusual is None
        else [
            {"kind": u.kind, "count": len(u.items), "items": _listed(names, u.items)}
            for u in findings.unusual
        ],
        "duplicates": findings.duplicates and _duplicates_json(findings, findings.duplicates, names),
        "noise": findings.label_errors and _label_errors_json(findings.label_errors, names),
        "need": findings.baselines and asdict(findings.baselines),
        "growth": findings.learning_curve and asdict(findings.learning_curve),
        "expert": findings.expert,
        "expert_reason": findings.expert_reason,
        "sampled": findings.sampled,
        "advice": list(findings.advice),
        "command": "" if findings.command is None else wording(findings.command),
        "notes": [wording(note) for note in findings.notes],
        "interrupted": findings.interrupted,
    }


def _duplicates_json(findings: DataFindings, found: Duplicates, names: Sequence[str]) -> dict[str, Any]:
    return {
        "exact_copies": found.exact_copies,
        "near_copies": found.near_copies,
        "held_out": found.held_out,
        "leaked": len(found.leaked),
        "leaked_items": _listed(names, found.leaked),
        "conflicts": len(found.conflicts),
        "confirmed_by": found.confirmed_by,
        "groups": [
            {
                "items": _listed(names, group.items),
                "labels": sorted({findings.class_of(i) for i in group.items}),
                "exact": group.exact,
                "leak": group.leak,
                "conflict": group.conflict,
            }
            for group in found.groups[:LISTED]
        ],
    }


def _label_errors_json(found: LabelErrors, names: Sequence[str]) -> dict[str, Any]:
    return {
        "suspects": [{**asdict(error), "item": names[error.item]} for error in found.suspected],
        "found": found.found,
        "checked": found.checked,
        "errors": found.misclassified,
        "found_share": found.recall,
        "estimated": found.estimated,
        "clear": found.clear,
    }


def _listed(names: Sequence[str], items: Sequence[int]) -> list[str]:
    return [names[i] for i in items[:LISTED]]


def _splits(findings: DataFindings, wording: Wording) -> dict[str, int]:
    return {wording(split): n for split, n in findings.summary.splits.items()}
