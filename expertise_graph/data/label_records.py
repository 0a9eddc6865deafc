"""Labels in records, as annotation tools write them: `{"choices": ["law", "art"]}`."""

from __future__ import annotations

from collections.abc import Sequence

from expertise_graph.data.label_lists import is_list, written_value


def held_by_records(cells: Sequence[object], *, written: bool) -> list[object]:
    """Return the cells of a label column; where they are records of one field, what that field holds.

    Records of several fields are returned as such. Texts beside records of lists are lists of one: tools
    write a single label without a record.

    Args:
        cells: n cells, None where there is none.
        written: whether records may be written out, in JSON or as Python does.

    Example:
        >>> held_by_records(['{"choices": ["law", "art"]}', "law", None], written=True)
        [['law', 'art'], ['law'], None]
        >>> held_by_records(["{law}", "{art}"], written=True)
        ['{law}', '{art}']
    """
    read = [_record(cell) if written and isinstance(cell, str) else cell for cell in cells]
    records = [cell for cell in read if isinstance(cell, dict) and cell]
    others = [cell for cell in read if cell is not None and not isinstance(cell, dict)]
    if not records or len(records) + len(others) + read.count(None) < len(read):
        return list(cells)
    field, *more = {name for record in records for name in record}
    alone = not more
    if others:
        of_lists = alone and all(is_list(record[field]) for record in records)
        if not of_lists or not all(isinstance(cell, str) for cell in others):
            return list(cells)
        return [_listed(cell, field) for cell in read]
    # A name says what a record is, whatever else stands in it.
    if not alone or field == "name":
        return read
    return [cell[field] if isinstance(cell, dict) else None for cell in read]


def _listed(cell: object, field: object) -> object:
    if isinstance(cell, dict):
        return cell[field]
    return None if cell is None else [cell]


def _record(text: str) -> object:
    """Return the record that a text writes out, and other texts as they are."""
    braces = text.strip()[:1] == "{" and text.strip()[-1:] == "}"
    found = written_value(text.strip()) if braces else None
    return found if isinstance(found, dict) else text
