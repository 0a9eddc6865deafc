"""The probe sets: many kinds of inputs of one modality, with origin and licence of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from zoo import examples, glyphs, packages, pictures, texts
from zoo.labelled import Sample, distinct, generator, png, shuffled

SIZE = 384
VERSION = "1"
MODULES = ("textwrap.py", "statistics.py", "random.py", "calendar.py", "shutil.py", "heapq.py",
           "fractions.py", "difflib.py", "zipfile.py", "locale.py")  # fmt: skip
TRANSLATIONS = (
    "eng", "deu_1996", "fra", "spa", "por_PT", "ita", "nld", "swe", "pol", "ces", "hun", "fin",
    "ell_monotonic", "rus", "ukr", "tur", "arb", "heb", "hin", "ben", "tam", "tha", "vie", "ind", "swh",
    "jpn", "kor", "kat", "amh", "eus",
)  # fmt: skip
NAMED_IN = ("en", "de", "fr", "es", "ru", "ja", "ar", "hi", "zh", "pt", "ko", "el", "he", "th", "pl", "tr")


def images(cache: Path) -> list[Sample]:
    """Return images: photographs, drawings, emoji, icons, letters, clothes, digits, textures."""
    emoji = [s for s in pictures.emoji("google", "Apache-2.0", cache) if not pictures.for_example(s)]
    clothes = list(pictures.fashion("t10k", 2000, cache))[1000:]
    parts = [
        (list(pictures.photo_crops(6, cache)), 70),
        (list(pictures.clipart(cache)), 56),
        (emoji, 40),
        (list(pictures.icons(cache)), 40),
        (_glyphs(cache), 72),
        (clothes, 28),
        (list(pictures.handwriting(cache)), 24),
        (list(pictures.textures(60)), 54),
    ]
    return _composed(parts, examples.used(cache))


def sentences(cache: Path) -> list[Sample]:
    """Return texts: sentences, paragraphs, words, definitions, names, questions, code, docstrings."""
    library = [sample for module in MODULES for sample in texts.python_library(module)]
    rights = [s for code in TRANSLATIONS for s in _some(texts.declarations(code, cache), 4, 12, 600)]
    names = [s for code in NAMED_IN for s in _some(texts.emoji_names(code, cache), 3, 3, 120)]
    glosses = [
        s for part in ("noun", "verb", "adj", "adv") for s in _some(texts.glosses(part, cache), 40, 15, 200)
    ]
    parts = [
        (rights, 120),
        (names, 48),
        (glosses, 72),
        (texts.words(cache), 36),
        (list(texts.questions(40, cache)), 32),
        ([s for s in library if s.label == "code"], 36),
        ([s for s in library if s.label == "docstring"], 40),
    ]
    return _composed(parts, examples.used(cache))


BUILDERS: Mapping[str, Callable[[Path], list[Sample]]] = {"image": images, "text": sentences}


def build(modality: str, cache: Path) -> dict[str, bytes]:
    """Return the files of a probe set: the manifest, and for images the images."""
    samples = BUILDERS[modality](cache)
    files: dict[str, bytes] = {}
    items: list[dict[str, str]] = []
    for number, sample in enumerate(samples):
        content, entry = _item(sample, number)
        if "file" in entry:
            files[entry["file"]] = content
        items.append({**entry, "sha256": hashlib.sha256(content).hexdigest()})
    manifest = {
        "name": modality, "version": VERSION, "modality": modality,
        "license": " AND ".join(sorted({sample.license for sample in samples})),
        "notices": _notices(samples, cache), "items": items,
    }  # fmt: skip
    files["manifest.json"] = (json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode()
    return files


def _item(sample: Sample, number: int) -> tuple[bytes, dict[str, str]]:
    source = {"origin": sample.origin, "license": sample.license}
    if isinstance(sample.value, Image.Image):
        return png(sample.value), {"file": f"items/{number:04d}.png", **source}
    return sample.value.encode(), {"text": sample.value, **source}


def _composed(parts: Sequence[tuple[Sequence[Sample], int]], excluded: set[bytes]) -> list[Sample]:
    # The order mixes the kinds, so that the first n items are a fair sample of the set as well.
    chosen: list[Sample] = []
    for samples, count in parts:
        fresh = [sample for sample in distinct(list(samples)) if sample.content not in excluded]
        if len(fresh) < count:
            raise ValueError(f"{fresh[0].label}: {len(fresh)} inputs, {count} are needed")
        chosen += shuffled(fresh, 1)[:count]
    chosen = distinct(chosen)
    if len(chosen) != SIZE:
        raise ValueError(f"{len(chosen)} distinct inputs, {SIZE} are needed")
    return shuffled(chosen, 2)


def _some(samples: Iterable[Sample], count: int, shortest: int, longest: int) -> list[Sample]:
    fitting = [sample for sample in samples if shortest <= len(str(sample.value)) <= longest]
    rng = generator("some", fitting[0].origin)
    return [fitting[i] for i in rng.permutation(len(fitting))[:count]]


def _glyphs(cache: Path) -> list[Sample]:
    faces = (glyphs.fontsource([family], subset, cache)[0] for family, subset in glyphs.SCRIPTS.items())
    return [sample for face in faces for sample in glyphs.any_letters(face, 3)]


def _notices(samples: Sequence[Sample], cache: Path) -> list[str]:
    # The licence of WordNet asks for its text on all copies.
    if all(sample.license != texts.WORDNET_LICENSE for sample in samples):
        return []
    return [
        (packages.deb("wordnet-base", cache) / "usr/share/doc/wordnet-base/copyright").read_text(
            encoding="utf-8"
        )
    ]
