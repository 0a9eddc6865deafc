"""Labelled texts for the benchmark zoo, beside those the starter zoo is made of."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from zoo import packages
from zoo.labelled import Sample

FORTUNES = (
    "computers", "definitions", "education", "food", "humorists", "kids", "law", "linuxcookie", "love",
    "medicine", "men-women", "people", "politics", "science", "songs-poems", "sports", "startrek",
    "wisdom", "work", "zippy", "tao", "art", "platitudes", "pratchett",
)  # fmt: skip
STAMP_LANGUAGES = (
    "ca", "cs", "da", "de", "el", "es", "eu", "fi", "fr", "hu", "it", "ja", "lt", "nl", "pl", "pt",
    "ru", "sk", "sv", "tr", "vi", "ro", "sl", "gl",
)  # fmt: skip


def computing(cache: Path) -> list[Sample]:
    """Return entries of a dictionary of computing, labelled by subject."""
    path = packages.deb("dict-foldoc", cache) / "usr/share/dictd/foldoc.dict.dz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as content:
        entries = re.split(r"\n(?=\S)", content.read())
    samples = []
    for entry in entries:
        head, _, body = entry.partition("\n")
        match = re.match(r"\s*<([a-z ]+)[^>]*>\s*(.*)", body, re.DOTALL)
        if match and len(match[2]) > 30:
            text = " ".join(re.sub(r"[{}]|\(\d{4}-\d\d-\d\d\)", "", match[2]).split())[:250]
            samples.append(
                Sample(value=text, label=match[1], group=head, origin="deb:dict-foldoc", license="GFDL-1.2")
            )
    return _commonest(samples, 12)


def fortunes(cache: Path) -> Iterator[Sample]:
    """Return sayings by topic."""
    root = packages.deb("fortunes", cache) / "usr/share/games/fortunes"
    for topic in FORTUNES:
        yield from _sayings(root / topic, topic, "deb:fortunes")


def german_fortunes(cache: Path) -> list[Sample]:
    """Return German sayings by topic."""
    root = packages.deb("fortunes-de", cache) / "usr/share/games/fortunes/de"
    files = sorted(p for p in root.iterdir() if not p.suffix and p.is_file() and not p.is_symlink())
    samples = [
        s for path in files if path.name != "asciiart" for s in _sayings(path, path.name, "deb:fortunes-de")
    ]
    return _commonest(samples, 16)


def stamp_texts(cache: Path) -> Iterator[Sample]:
    """Return what the stamps of a children's program show, labelled by language, grouped by stamp."""
    root = packages.deb("tuxpaint-stamps-default", cache) / "usr/share/tuxpaint/stamps"
    for path in sorted(root.rglob("*.txt")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            language, _, text = line.partition(".utf8=")
            if language in STAMP_LANGUAGES and len(text.split()) > 1:
                yield Sample(
                    value=text.strip(), label=language, group=path.stem,
                    origin="deb:tuxpaint-stamps-default", license="GPL-2.0",
                )  # fmt: skip


def _sayings(path: Path, topic: str, origin: str) -> Iterator[Sample]:
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, saying in enumerate(re.split(r"\n%\n", text)):
        value = " ".join(saying.split())
        if 20 < len(value) < 350:
            yield Sample(
                value=value,
                label=topic,
                group=f"{topic} {number}",
                origin=origin,
                license="various, see package",
            )


def _commonest(samples: list[Sample], count: int) -> list[Sample]:
    kept = {label for label, _ in Counter(s.label for s in samples).most_common(count)}
    return [s for s in samples if s.label in kept]
