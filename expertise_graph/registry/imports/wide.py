"""Tables with one column for each task or estimator."""

from __future__ import annotations

from collections.abc import Sequence

from expertise_graph.core import InvalidInputError
from expertise_graph.registry.imports.table import Table
from expertise_graph.registry.imports.values import number


def value_columns(table: Table, used: Sequence[int | None], ignore: Sequence[str]) -> list[int]:
    """Return the places of the columns with values: all that are neither used nor ignored.

    Raises:
        InvalidInputError: when there are none, or one holds no number in any row.
    """
    places = table.others(used, ignore)
    text = [table.columns[i] for i in places if not any(number(row[i]) is not None for row in table.rows)]
    if text:
        options = " ".join(f"--ignore {name!r}" for name in text)
        raise InvalidInputError(
            f"{table.name}: {len(text)} columns hold no numbers; leave them out: {options}"
        )
    if not places:
        raise InvalidInputError(f"{table.name} has no column with values; {table.there_are}")
    return places
