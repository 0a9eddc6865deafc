"""The report of a search: what was tried, what won and why, and where the time went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from expertise_graph.core import inline
from expertise_graph.data import LabelledData
from expertise_graph.tuning.result import AutoResult


def report_of(result: AutoResult, data: LabelledData, names: Mapping[str, str]) -> str:
    """Return the report as Markdown.

    Args:
        result: of the search.
        data: what it was for.
        names: of experts, by id.
    """
    parts = [_head(result, data, names), _members(result, names), _trials(result), _time(result)]
    found = [lines for part in parts if (lines := list(part))]
    return "\n".join(line for lines in found for line in (*lines, ""))


def _head(result: AutoResult, data: LabelledData, names: Mapping[str, str]) -> Iterator[str]:
    model = result.model
    metric = model.metric.replace("_", " ")
    yield f"# A model for {inline(data.name)}"
    yield ""
    expert = inline(names.get(model.expert, model.expert))
    what = f"{len(result.members)} networks together" if result.members else f"{model.strategy} from {expert}"
    yield f"{what}: test {metric} {result.accuracy:.3f}."
    yield f"{result.reason[:1].upper()}{result.reason[1:]}."
    yield "Trials were judged on the validation split; the test split was looked at once, for this model."
    yield from (f"{note}." for note in result.notes)
    if result.interrupted:
        yield "The search was interrupted: this is the best until then."


def _members(result: AutoResult, names: Mapping[str, str]) -> Iterator[str]:
    if not result.members:
        return
    numbers = {trial.run: number for number, trial in enumerate(result.trials, 1)}
    yield "| network | of trial | expert | strategy | counts | alone, on the test split |"
    yield "|---|---|---|---|---|---|"
    for member in result.members:
        expert = inline(names.get(member.expert, member.expert))
        cells = (
            f"`{member.path}`",
            str(numbers[member.run]),
            expert,
            member.strategy,
            f"{member.weight:.2f}",
            f"{member.accuracy:.3f}",
        )
        yield f"| {' | '.join(cells)} |"


def _trials(result: AutoResult) -> Iterator[str]:
    yield "| | expert | why tried | settings | epochs | validation score | loss | seconds | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for number, trial in enumerate(result.trials, 1):
        won = "**" if trial.run in result.chosen else ""
        remarks = (trial.status, "on record" if trial.recorded else "", trial.note)
        cells = (
            f"{won}{number}{won}",
            inline(trial.name),
            trial.origin,
            trial.settings_text,
            str(trial.epochs),
            f"{trial.accuracy:.3f}",
            f"{trial.loss:.3f}",
            f"{trial.seconds:.1f}",
            inline(", ".join(filter(None, remarks))),
        )
        yield f"| {' | '.join(cells)} |"


def _time(result: AutoResult) -> Iterator[str]:
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.spent.items())
    yield (
        f"Time: {result.seconds:.1f} of {result.time_budget:g} s; {spent}. "
        f"The query ran {result.experts_run} experts."
    )
