"""The example tasks: folders to learn from, with a page on where they come from."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from PIL import Image

from zoo import glyphs, packages, pictures, texts
from zoo.labelled import Sample, distinct, per_label, png, shuffled

GLOSS_FIELDS = ("animal", "artifact", "body", "communication", "feeling", "food", "location", "person",
                "plant", "quantity", "state", "substance")  # fmt: skip
DEJAVU = {
    "dejavu-sans": "DejaVuSans*.ttf",
    "dejavu-sans-mono": "DejaVuSansMono*.ttf",
    "dejavu-serif": "DejaVuSerif*.ttf",
}


def armenian_letters(cache: Path) -> dict[str, bytes]:
    """Draw thirty small Armenian letters; the families to learn from are not those to be tested on."""
    alphabet = glyphs.ALPHABETS["armenian"]
    noto = glyphs.fontsource(["noto-sans-armenian", "noto-serif-armenian"], "armenian", cache)
    handjet = glyphs.fontsource(["handjet"], "armenian", cache)
    train = [*glyphs.letters(noto, alphabet, copies=2), *glyphs.letters(handjet, alphabet)]
    faces = [f for f in glyphs.debian("fonts-dejavu-core", DEJAVU, "Bitstream-Vera", cache)]
    faces += glyphs.debian("fonts-dejavu-extra", DEJAVU, "Bitstream-Vera", cache)
    test = per_label(shuffled(glyphs.letters(_once(faces), alphabet), 0), 12)
    return _image_files({"train": per_label(shuffled(train, 0), 10), "test": test}, grey=True)


def emoji_redrawn(cache: Path) -> dict[str, bytes]:
    """Take one vendor's emoji by category: ten a class to learn from, twenty-five to be tested on."""
    everything = pictures.emoji("twitter", "CC-BY-4.0", cache)
    # Some emoji of other names are drawn alike, such as the flags of a country and of its islands.
    others = {sample.content for sample in everything if not pictures.for_example(sample)}
    samples = [s for s in everything if pictures.for_example(s) and s.content not in others]
    splits = _by_group(shuffled(distinct(samples), 0), {"train": 10, "test": 25})
    return _image_files(splits, grey=False)


def glosses(cache: Path) -> dict[str, bytes]:
    """Take definitions of nouns by lexical field: ten a class to learn from, thirty to be tested on."""
    fitting = [
        s for s in texts.glosses("noun", cache) if s.label in GLOSS_FIELDS and 20 < len(str(s.value)) < 200
    ]
    splits = _by_group(shuffled(distinct(fitting), 0), {"train": 10, "test": 30})
    notice = packages.deb("wordnet-base", cache) / "usr/share/doc/wordnet-base/copyright"
    return {**{f"{name}.csv": _csv(part) for name, part in splits.items()}, "LICENSE": notice.read_bytes()}


BUILDERS: Mapping[str, Callable[[Path], dict[str, bytes]]] = {
    "armenian-letters": armenian_letters,
    "emoji-redrawn": emoji_redrawn,
    "glosses": glosses,
}

PAGES: Mapping[str, str] = {
    "armenian-letters": """# Armenian letters

Thirty small letters of the Armenian alphabet as 64x64 grey images, a folder per letter:
{train} images in `train`, {test} in `test`.

**Origin.** Drawn from fonts, each letter slightly turned, scaled and shifted. The training images come
from Noto Sans Armenian, Noto Serif Armenian and Handjet (npm `@fontsource/*` 5.3.0, SIL Open Font
License 1.1), the test images from the DejaVu Sans, Sans Mono and Serif families (Debian
`fonts-dejavu-*` 2.37, Bitstream Vera licence): no family is on both sides.

**Licence.** The drawings are dedicated to the public domain (CC0-1.0); the fonts are not included.

**Built by** `scripts/build_examples --only armenian-letters`. No expert shipped with the package has
seen an Armenian letter.
""",
    "emoji-redrawn": """# Emoji, redrawn

Twemoji drawings as 64x64 images, a folder per category of the Unicode standard:
{train} images in `train`, {test} in `test`.

**Origin.** npm `emoji-datasource-twitter` 16.0.0. Emoji that differ only in who shows them (man, woman,
person) are on one side of the split. None of these emoji was shown, in any vendor's drawing, to the
`emoji` expert shipped with the package.

**Licence.** CC-BY-4.0, copyright Twitter, Inc and other contributors (Twemoji); the images are unchanged
but for a white background.

**Built by** `scripts/build_examples --only emoji-redrawn`.
""",
    "glosses": """# Glosses

Definitions of English nouns with the lexical field of the noun, columns `text` and `label`:
{train} rows in `train.csv`, {test} in `test.csv`, twelve fields.

**Origin.** WordNet 3.0, Princeton University, as packaged by Debian (`wordnet-base`); the usage examples
of a definition are left out.

**Licence.** WordNet 3.0 licence, in the file `LICENSE` beside this page. WordNet 3.0 Copyright 2006 by
Princeton University. All rights reserved.

**Built by** `scripts/build_examples --only glosses`.
""",
}


def build(name: str, cache: Path) -> dict[str, bytes]:
    """Return the files of an example task, with its page."""
    files = BUILDERS[name](cache)
    counts = {part: _count(files, part) for part in ("train", "test")}
    return {**files, "README.md": PAGES[name].format(**counts).encode()}


def used(cache: Path) -> set[bytes]:
    """Return the content of every input of the example tasks: pixels, and texts in UTF-8."""
    content: set[bytes] = set()
    for build_files in BUILDERS.values():
        for name, data in build_files(cache).items():
            if name.endswith(".png"):
                content.add(Image.open(io.BytesIO(data)).convert("RGB").tobytes())
            elif name.endswith(".csv"):
                content |= {row["text"].encode() for row in csv.DictReader(io.StringIO(data.decode()))}
    return content


def _once(faces: Iterable[glyphs.Face]) -> list[glyphs.Face]:
    # The pattern of a family also fits its mono and condensed sisters; each file counts once.
    return list({face.path.name: face for face in faces if "Condensed" not in face.path.name}.values())


def _by_group(samples: Iterable[Sample], sizes: Mapping[str, int]) -> dict[str, list[Sample]]:
    parts: dict[str, list[Sample]] = {name: [] for name in sizes}
    side: dict[str, str] = {}
    filled: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        open_parts = [name for name, size in sizes.items() if filled[sample.label, name] < size]
        if not open_parts or side.setdefault(sample.group, open_parts[0]) not in open_parts:
            continue
        parts[side[sample.group]].append(sample)
        filled[sample.label, side[sample.group]] += 1
    return parts


def _image_files(splits: Mapping[str, list[Sample]], *, grey: bool) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for part, samples in splits.items():
        for sample in samples:
            assert isinstance(sample.value, Image.Image)
            number = sum(name.startswith(f"{part}/{sample.label}/") for name in files)
            name = f"{part}/{sample.label}/{number:02d}.png"
            files[name] = png(sample.value.convert("L") if grey else sample.value)
    return files


def _csv(samples: Iterable[Sample]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows(sorted((str(sample.value), sample.label) for sample in samples))
    return text.getvalue().encode()


def _count(files: Mapping[str, bytes], part: str) -> int:
    if f"{part}.csv" in files:
        return len(list(csv.DictReader(io.StringIO(files[f"{part}.csv"].decode()))))
    return sum(name.startswith(f"{part}/") for name in files)
