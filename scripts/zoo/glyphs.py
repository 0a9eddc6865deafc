"""Letters drawn from free fonts, labelled by letter, grouped by font family."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFont

from zoo import packages
from zoo.labelled import SIDE, Sample, generator

FONTSOURCE = "5.3.0"
STYLES = ("400-normal", "700-normal", "300-normal", "400-italic")
CANVAS = 3 * SIDE

ALPHABETS: Mapping[str, str] = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "digits": "0123456789",
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψω",
    "hebrew": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "devanagari": "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվ",
}

FAMILIES: Mapping[str, str] = {
    "latin": "roboto lato inter open-sans merriweather playfair-display lora pt-serif ubuntu nunito oswald "
    "raleway bitter crimson-text josefin-sans space-mono courier-prime libre-baskerville "
    "caveat dancing-script pacifico indie-flower special-elite abril-fatface fira-sans work-sans zilla-slab "
    "cormorant-garamond comfortaa arvo",
    "greek": "roboto inter open-sans gfs-didot fira-sans noto-serif comfortaa cardo caudex "
    "alegreya advent-pro jura tinos arimo cousine eb-garamond literata manrope play ubuntu "
    "commissioner anonymous-pro",
    "hebrew": "alef assistant heebo rubik frank-ruhl-libre david-libre secular-one suez-one varela-round "
    "amatic-sc arimo tinos cousine miriam-libre bellefair karantina noto-sans-hebrew noto-serif-hebrew "
    "ibm-plex-sans-hebrew fredoka open-sans",
    "devanagari": "poppins hind mukta kalam laila rajdhani teko khand yantramanav baloo-2 eczar martel "
    "sahitya arya dekko glegoo halant palanquin noto-sans-devanagari "
    "noto-serif-devanagari",
}

SCRIPTS: Mapping[str, str] = {
    "noto-sans-thai": "thai",
    "noto-sans-georgian": "georgian",
    "noto-sans-arabic": "arabic",
    "noto-sans-hebrew": "hebrew",
    "noto-sans-devanagari": "devanagari",
    "noto-sans-bengali": "bengali",
    "noto-sans-tamil": "tamil",
    "noto-sans-telugu": "telugu",
    "noto-sans-ethiopic": "ethiopic",
    "noto-sans-khmer": "khmer",
    "noto-sans-lao": "lao",
    "noto-sans-myanmar": "myanmar",
    "noto-sans-sinhala": "sinhala",
    "noto-sans-cherokee": "cherokee",
    "noto-sans-mongolian": "mongolian",
    "noto-sans-javanese": "javanese",
    "noto-sans-gothic": "gothic",
    "noto-sans-runic": "runic",
    "noto-sans-tifinagh": "tifinagh",
    "noto-sans-nko": "nko",
    "noto-serif": "cyrillic",
    "noto-sans": "greek",
    "lora": "latin",
    "caveat": "cyrillic",
}


@dataclass(frozen=True)
class Face:
    """One font file of a family, and where it comes from."""

    family: str
    path: Path
    origin: str
    license: str


def fontsource(families: Iterable[str], subset: str, cache: Path) -> list[Face]:
    """Return the faces of the web-font packages that hold a subset; all are under the OFL or Apache-2.0."""
    faces = []
    for family in families:
        package = f"@fontsource/{family}@{FONTSOURCE}"
        folder = packages.npm(package, cache) / "package" / "files"
        found = [folder / f"{family}-{subset}-{style}.woff" for style in STYLES]
        faces += [Face(family, path, f"npm:{package}", _license(folder)) for path in found if path.exists()]
    return faces


def debian(package: str, patterns: Mapping[str, str], license: str, cache: Path) -> list[Face]:
    """Return faces of a Debian font package; `patterns` gives the files of each family."""
    root = packages.deb(package, cache)
    return [
        Face(family, path, f"deb:{package}", license)
        for family, pattern in patterns.items()
        for path in sorted(root.rglob(pattern))
    ]


def letters(faces: Sequence[Face], alphabet: str, *, copies: int = 1) -> Iterator[Sample]:
    """Draw each letter of the alphabet in each face that has all of them."""
    for face in faces:
        if not covers(face, alphabet):
            continue
        for letter in alphabet:
            for copy in range(copies):
                image = draw(letter, face, generator(face.family, face.path.name, letter, copy))
                yield Sample(
                    value=image.convert("RGB"), label=letter_name(letter), group=face.family,
                    origin=f"{face.origin} U+{ord(letter):04X}", license=face.license,
                )  # fmt: skip


def any_letters(face: Face, count: int) -> list[Sample]:
    """Draw `count` letters of the script that the face is for."""
    letters_of = sorted(c for c in _characters(face) if c > 0x2FF and unicodedata.category(chr(c))[0] == "L")
    letters_of = letters_of or [ord(c) for c in ALPHABETS["latin"]]
    chosen = generator(face.family).choice(letters_of, count, replace=False)
    return list(letters([face], "".join(chr(c) for c in chosen)))


def covers(face: Face, alphabet: str) -> bool:
    """Tell whether the face has a glyph for every letter."""
    return {ord(letter) for letter in alphabet} <= _characters(face)


def letter_name(letter: str) -> str:
    """Return the letter's Unicode name without the script, ready for a folder.

    Example:
        >>> letter_name("բ")
        'ben'
    """
    words = unicodedata.name(letter).lower().split()
    words = [w for w in words[1:] if w not in {"small", "letter"}] or words[-1:]
    return "-".join(words)


def draw(letter: str, face: Face, rng: np.random.Generator) -> Image.Image:
    """Draw a letter in black on white, slightly turned, scaled and shifted."""
    font = ImageFont.truetype(str(face.path), int(rng.uniform(108, 150)))
    canvas = Image.new("L", (CANVAS, CANVAS), 255)
    left, top, right, bottom = font.getbbox(letter)
    across, down = rng.uniform(-9, 9, 2)
    place = ((CANVAS - left - right) / 2 + across, (CANVAS - top - bottom) / 2 + down)
    ImageDraw.Draw(canvas).text(place, letter, 0, font=font)
    turned = canvas.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, fillcolor=255)
    return turned.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _characters(face: Face) -> set[int]:
    with TTFont(face.path, lazy=True) as font:
        return set(font.getBestCmap())


def _license(folder: Path) -> str:
    text = (folder.parent / "LICENSE").read_text(encoding="utf-8", errors="replace")
    return "Apache-2.0" if "Apache License" in text else "OFL-1.1"
