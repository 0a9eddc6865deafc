"""A report on data or on a run: built once, then written as lines for a terminal or as a page of HTML."""

from __future__ import annotations

import base64
import glob
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from expertise_graph.core import (
    Command,
    DatasetError,
    InvalidInputError,
    check_no_workspace,
    check_output,
    setting,
    shorten,
    write_bytes,
)
from expertise_graph.data import Item, known_modalities
from expertise_graph.diagnostics.charts import BarChart, LineChart

Wording = Callable[[str | Command], str]
"""Writes a text that names settings, or a command, in the form of a face of the program.

The form of Python, which is that of the texts themselves, is `str`.
"""

# By these words a file is known as a report of ours, which alone is overwritten without asking.
GENERATOR = "expertise-graph check"
_MARK, _HEAD_BYTES = f'content="{GENERATOR}"'.encode(), 400

# Pixels; 64 tell most images apart, and sixty of them keep a page below half a megabyte.
THUMBNAIL = 64
MOST_THUMBNAILS = 60

# Characters of a name in a line of a terminal, of a cell of a table there, and of a cell of the page, where
# long texts wrap.
NAME, _BRIEF_CELL, _CELL = 32, 44, 300

# Width of the labels before the points of a section in a terminal.
_LABEL = 11


@dataclass(frozen=True)
class ItemName:
    """An item of the data in a table; the page shows a thumbnail where the item has a picture."""

    index: int
    name: str


Cell = str | int | tuple[ItemName, ...]


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table of the page; the terminal shows its first `brief` rows, which may be none."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    brief: int = 0


@dataclass(frozen=True)
class Point:
    """One finding with a label of a word; without one it goes on with the finding before.

    `examples` are shown where no table lists them.
    """

    label: str
    text: str
    examples: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One subject of a report; `problem` where it is something to repair."""

    title: str
    points: Sequence[Point] = ()
    text: Sequence[str] = ()
    charts: Sequence[LineChart | BarChart] = ()
    tables: Sequence[ReportTable] = ()
    problem: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is said about data or a run.

    Attributes:
        title: of the page.
        headline: what it is about, in a line or a few.
        sections: what matters most first.
        advice: sentences; a page begins with them, a terminal ends with them.
        commands: to run next, ready to be typed.
        notes: what was left out, and why.
        items: that thumbnails are made of.
        modality: of the items.
        attachments: files to write beside the page, by the end of their names.
    """

    title: str
    headline: Sequence[str]
    sections: Sequence[Section]
    advice_title: str = "Advice"
    advice: Sequence[str] = ()
    commands: Sequence[str] = ()
    notes: Sequence[str] = ()
    interrupted: bool = False
    items: Sequence[Item] = ()
    modality: str = ""
    attachments: Mapping[str, bytes] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield some twenty lines for a terminal: findings first, then notes, the advice last."""
        yield from self.headline
        problems = [section for section in self.sections if section.problem]
        if problems:
            yield ""
            yield "Problems"
        for section in problems:
            yield from _body(section)
        yield ""
        for section in self.sections:
            if not section.problem:
                yield from _titled(section)
        yield from (f"note: {note}" for note in self.notes)
        if self.interrupted:
            yield "interrupted: this is what was known until then"
        if self.advice or self.commands:
            yield ""
            yield self.advice_title
        yield from (f"  {number}. {sentence}" for number, sentence in enumerate(self.advice, 1))
        yield from (f"  {command}" for command in self.commands)

    def page(self) -> str:
        """Return the report as one file of HTML: no script, nothing from elsewhere, every text escaped."""
        template = _ENVIRONMENT.get_template("report.html")
        thumbnail = _Thumbnails(self.items, self.modality)
        return template.render(report=self, generator=GENERATOR, thumbnail=thumbnail)

    def write(self, path: Path) -> list[Path]:
        """Write the page, and what belongs beside it; return the files, the page first."""
        files = {path: self.page().encode("utf-8", "replace")}
        files |= {path.with_name(f"{path.stem}-{end}"): content for end, content in self.attachments.items()}
        for file, content in files.items():
            write_bytes(file, content)
        return list(files)


def _titled(section: Section) -> Iterator[str]:
    body = list(_body(section))
    if section.text:
        yield f"{section.title}: {section.text[0]}"
    elif body:
        yield section.title
    yield from body


def _body(section: Section) -> Iterator[str]:
    for point in section.points:
        examples = f": {point.examples}" if point.examples else ""
        yield f"  {point.label:<{_LABEL}} {point.text}{examples}"
    yield from (f"  {text}" for text in section.text[1:])
    for table in section.tables:
        if table.brief and table.rows:
            yield from _aligned([table.head, *table.rows[: table.brief]])


def _aligned(rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    texts = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        yield "  " + "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _plain(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return ", ".join(shorten(item.name, NAME) for item in cell)
    return shorten(cell, _BRIEF_CELL) if isinstance(cell, str) else f"{cell:,}"


def check_writable(path: Path) -> None:
    """Refuse to overwrite anything but an earlier report.

    Raises:
        InvalidInputError: when `path` is a folder, another file, or in no folder.
    """
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder: give a file as {setting('out', path / 'report.html')}")
    if not path.parent.is_dir():
        raise InvalidInputError(
            f"there is no folder {path.parent}: make it, or choose another {setting('out')}"
        )
    check_no_workspace(path)
    if path.is_file():
        with path.open("rb") as file:
            if _MARK not in file.read(_HEAD_BYTES):
                raise InvalidInputError(
                    f"{path} is not a report of an earlier check: choose another {setting('out')}"
                )
        return
    # What is written beside a report is replaced with it only.
    for beside in (path, *path.parent.glob(f"{glob.escape(path.stem)}-*.png")):
        check_output(beside)


class _Thumbnails:
    """Small pictures of items, up to a number in all."""

    def __init__(self, items: Sequence[Item], modality: str) -> None:
        self.items, self.modality = items, known_modalities[modality]
        self.left = MOST_THUMBNAILS

    def __call__(self, index: int) -> str:
        """Return a PNG in base64, or nothing where there is no picture or there were enough."""
        if self.modality.picture is None or not self.left:
            return ""
        try:
            small = self.modality.picture(self.modality.decode(self.items[index])).copy()
        except DatasetError:
            return ""
        self.left -= 1
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        small.save(buffer, format="PNG", optimize=True)
        return base64.b64encode(buffer.getvalue()).decode("ascii")


def _sentence(text: str) -> str:
    """Return a text that begins with a capital and ends with a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ":", "?", "!")) else ".")


def _cut(text: str, length: int = _CELL) -> str:
    return shorten(text, length)


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("expertise_graph.diagnostics"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"sentence": _sentence, "cut": _cut}
