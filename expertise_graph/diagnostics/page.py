"""A page of HTML in one file: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from expertise_graph.core import DatasetError, InvalidInputError
from expertise_graph.data import Item, known_modalities

MARK = '<meta name="generator" content="expertise-graph check">'
THUMBNAIL = 64
MOST_THUMBNAILS = 60
_CELL = 300

_PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8">$mark
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --soft: #5a6472; --line: #d8dde4;
  --one: #2f6db5; --two: #c2571a; --three: #2a8a57; --four: #8a4fb0; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ee; --soft: #a3adba;
  --line: #353d49; --one: #6fa8e8; --two: #f0955c; --three: #63c492; --four: #c394e6; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--soft); }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left;
  vertical-align: top; } td:first-child { overflow-wrap: anywhere; min-width: 9rem; }
main { overflow-x: auto; } @media (max-width: 40rem) { td:first-child { min-width: 3rem; } }
svg text { fill: var(--ink); font-size: 12px; } svg { max-width: 100%; height: auto; }
.legend { list-style: none; padding: 0; } .legend li { display: inline-block; margin-right: 1.2rem; }
.key { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; }
.advice { border-left: 4px solid var(--one); padding: .2rem 1rem .2rem 2.2rem; } .note { color: var(--soft); }
img { image-rendering: auto; background: #fff; }
</style></head>
<body><main><h1>$title</h1>
$body
</main></body></html>
"""
)


@dataclass(frozen=True)
class Html:
    """A piece of markup whose texts are escaped already."""

    text: str


Cell = str | int | float | Html


def page(title: str, parts: Sequence[Html]) -> str:
    """Return the whole page."""
    return _PAGE.substitute(mark=MARK, title=escape(title), body="\n".join(part.text for part in parts))


def heading(text: str) -> Html:
    """Return a heading of a section."""
    return Html(f"<h2>{escape(text)}</h2>")


def paragraph(text: str, kind: str = "") -> Html:
    """Return a paragraph; `kind` is the class of its style."""
    return Html(f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>")


def numbered(texts: Sequence[str]) -> Html:
    """Return a numbered list of advice."""
    return Html('<ol class="advice">' + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ol>")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Html:
    """Return a table with a caption and a scope for each head cell, or nothing without rows."""
    if not rows:
        return Html("")
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return Html(
        f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


class Thumbnails:
    """Small pictures of items that can be shown, up to a number in all, or their names."""

    def __init__(self, items: Sequence[Item], modality: str) -> None:
        self.items, self.modality = items, known_modalities[modality]
        self.left = MOST_THUMBNAILS

    def show(self, item: int, name: str) -> Html:
        """Return a picture with its name, or the name alone."""
        label = escape(_cut(name))
        if self.modality.picture is None or not self.left:
            return Html(label)
        try:
            data = thumbnail(self.modality.picture(self.modality.decode(self.items[item])))
        except DatasetError:
            return Html(label)
        self.left -= 1
        source = base64.b64encode(data).decode("ascii")
        return Html(f'<img alt="" src="data:image/png;base64,{source}"> {label}')


def thumbnail(image: Image.Image) -> bytes:
    """Return a PNG of at most 64 x 64 pixels."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def check_writable(path: Path) -> None:
    """Refuse to overwrite anything but an earlier report.

    Raises:
        InvalidInputError: when `path` is a folder, another file, or in no folder.
    """
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder: give a file as --out, e.g. {path / 'report.html'}")
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no folder {path.parent}: make it, or give another --out")
    if path.exists():
        with path.open("rb") as file:
            if MARK.encode() not in file.read(400):
                raise InvalidInputError(f"{path} is not a report of an earlier check: give another --out")


def write(path: Path, content: str | bytes) -> None:
    """Write a file that others see whole or not at all."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cell(cell: Cell) -> str:
    if isinstance(cell, Html):
        return cell.text
    return escape(_cut(cell) if isinstance(cell, str) else f"{cell:,}")


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 3] + "..."
