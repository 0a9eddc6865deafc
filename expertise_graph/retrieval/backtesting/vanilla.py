"""What starting from the vanilla model gives on each task: the zero of transfer gain."""

from __future__ import annotations

from collections.abc import Mapping

from expertise_graph.core import InvalidInputError
from expertise_graph.registry import File, cell, number, read_table
from expertise_graph.retrieval.history_loader import Results


def read_baseline(file: File, column: str = "value") -> dict[str, float]:
    """Return the value of the vanilla start by task, as a table has it.

    Args:
        file: CSV or TSV with the columns `task` and `column`.
        column: where the values are.

    Raises:
        InvalidInputError: when a column is not there, a value is no number, or a task comes twice.
    """
    table = read_table(file)
    value_place = table.find("value", {"value": column})
    task_place = table.find("task", {})
    if task_place is None or value_place is None:
        raise InvalidInputError(f"{table.name} has no column 'task'; {table.there_are}; rename the one meant")
    found: dict[str, float] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        task, text = cell(row, task_place), cell(row, value_place)
        value = number(text)
        if not task or value is None:
            raise InvalidInputError(f"{table.name} line {line}: {task!r} with {column} {text!r}; correct it")
        if task in found:
            raise InvalidInputError(f"{table.name} line {line}: {task!r} once more; keep one line a task")
        found[task] = value
    return found


def oriented_baseline(
    given: Mapping[str, float], results: Mapping[str, Results], names: Mapping[str, str]
) -> dict[str, float]:
    """Return the baseline by task id, such that higher is better as in the results.

    Args:
        given: by task id or name; other tasks than those with results are ignored.
        results: by task id.
        names: of the tasks, by id.

    Raises:
        InvalidInputError: when it names none of the tasks, or is in percent and the results are not.
    """
    found: dict[str, float] = {}
    for task, measured in results.items():
        name = next((n for n in (task, names.get(task, task)) if n in given), None)
        if name is None:
            continue
        value = given[name]
        fractions = all(0.0 <= v <= 1.0 for v in measured.values.values())
        if fractions and 1.0 < value <= 100.0 and not measured.lower_is_better:
            raise InvalidInputError(
                f"the baseline of {name} is {value:g} but its results are fractions; divide it by 100"
            )
        found[task] = -value if measured.lower_is_better else value
    if given and not found:
        some = ", ".join(sorted(names.get(t, t) for t in results)[:5])
        raise InvalidInputError(f"the baseline names none of the tasks with results; those are: {some}, ...")
    return found
