"""Letters for the benchmark zoo: web fonts for experts, Debian's font packages for tasks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache as remembered
from pathlib import Path

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

from zoo import packages
from zoo.glyphs import ALPHABETS, FAMILIES, Face, draw, fontsource, letters
from zoo.labelled import Sample, generator

PACKAGES = """
    culmus fonts-adf-accanthis fonts-adf-baskervald fonts-adf-gillius fonts-adf-libris fonts-adf-mekanus
    fonts-adf-tribun fonts-adf-universalis fonts-agave fonts-aksharyogini2 fonts-arabeyes fonts-arundina
    fonts-averia-sans-gwf fonts-averia-serif-gwf fonts-b612 fonts-bpg-georgian fonts-cabin fonts-cantarell
    fonts-clear-sans fonts-comic-neue fonts-crosextra-caladea fonts-dejavu-core fonts-dejavu-extra
    fonts-deva-extra fonts-dosis fonts-droid-fallback fonts-dustin fonts-ecolier-court fonts-essays1743
    fonts-fantasque-sans fonts-farsiweb fonts-freefarsi fonts-freefont-ttf fonts-gargi
    fonts-georgewilliams fonts-gfs-artemisia fonts-gfs-baskerville fonts-gfs-bodoni-classic
    fonts-gfs-complutum fonts-gfs-gazis fonts-gfs-neohellenic fonts-gfs-olga fonts-gfs-porson
    fonts-gfs-solomos fonts-gfs-theokritos fonts-go fonts-hack fonts-hermit fonts-hosny-thabit
    fonts-ipaexfont-gothic fonts-ipaexfont-mincho fonts-ipafont-gothic fonts-ipafont-mincho
    fonts-jetbrains-mono fonts-junicode fonts-kacst fonts-kacst-one fonts-kalapi fonts-karla fonts-kiloji
    fonts-konatu fonts-lindenhill fonts-linuxlibertine fonts-lohit-deva fonts-monapo fonts-monofur
    fonts-mononoki fonts-morisawa-bizud-gothic fonts-morisawa-bizud-mincho fonts-motoya-l-cedar
    fonts-motoya-l-maruberi fonts-mph-2b-damase fonts-nafees fonts-nakula fonts-noto-core
    fonts-oldstandard fonts-paktype fonts-prociono fonts-quattrocento fonts-quicksand fonts-sahadeva
    fonts-samyak-deva fonts-sarai fonts-sawarabi-gothic fonts-sawarabi-mincho fonts-seto fonts-sil-andika
    fonts-sil-charis fonts-sil-ezra fonts-sil-galatia fonts-sil-gentium fonts-sjfonts fonts-takao-gothic
    fonts-takao-mincho fonts-texgyre fonts-tiresias fonts-tlwg-garuda-ttf fonts-tlwg-kinnari-ttf
    fonts-tlwg-laksaman-ttf fonts-tlwg-loma-ttf fonts-tlwg-mono-ttf fonts-tlwg-norasi-ttf
    fonts-tlwg-purisa-ttf fonts-tlwg-sawasdee-ttf fonts-tlwg-typewriter-ttf fonts-tlwg-typist-ttf
    fonts-tlwg-typo-ttf fonts-tlwg-umpush-ttf fonts-tlwg-waree-ttf fonts-tuffy fonts-umeplus
    fonts-unikurdweb fonts-vlgothic fonts-vollkorn fonts-yanone-kaffeesatz
"""
"""Debian packages of free fonts."""


WEB: Mapping[str, str] = {
    **FAMILIES,
    "cyrillic": "roboto inter open-sans merriweather playfair-display lora pt-serif ubuntu nunito oswald "
    "raleway comfortaa fira-sans jura play tinos arimo cousine manrope alegreya eb-garamond "
    "literata commissioner",
    "arabic": "cairo tajawal almarai amiri changa el-messiri lateef scheherazade-new mada reem-kufi "
    "harmattan markazi-text lemonada vazirmatn noto-sans-arabic noto-kufi-arabic "
    "noto-naskh-arabic aref-ruqaa",
    "thai": "sarabun prompt kanit mitr mali niramit pridi sriracha trirong chonburi taviraj itim "
    "bai-jamjuree fahkwang noto-sans-thai noto-serif-thai pattaya",
    "japanese": "m-plus-1p kosugi kosugi-maru shippori-mincho zen-maru-gothic zen-old-mincho "
    "dela-gothic-one potta-one yusei-magic rampart-one reggae-one stick hachi-maru-pop "
    "klee-one dotgothic16 yomogi",
}  # fmt: skip

LETTERS: Mapping[str, str] = {
    **ALPHABETS,
    "latin-upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "latin-lower": "abcdefghijklmnopqrstuvwxyz",
    "cyrillic": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "thai": "กขคฆงจฉชซญฎฐณดตถทธนบปผฝพฟภมยรลวศสหอฮ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "hiragana": "あいうえおかきくけこさしすせそたちつてとなにぬねの"
    "はひふへほまみむめもやゆよらりるれろわをん",
    "katakana": "アイウエオカキクケコサシスセソタチツテトナニヌネノ"
    "ハヒフヘホマミムメモヤユヨラリルレロワヲン",
}

SCRIPTS = (
    "Bengali", "Tamil", "Telugu", "Kannada", "Gujarati", "Gurmukhi", "Malayalam", "Sinhala", "Khmer",
    "Lao", "Myanmar", "Ethiopic", "Cherokee", "Thaana", "Oriya", "Coptic",
)  # fmt: skip


# Fonts that share their kana with another one, or are its other widths.
_KANA_TWICE = (
    "takao", "ipaex", "ipagp", "ipamp", "umeplus", "monapo", "vl", "konatut", "bizudp", "kilojib", "kilojid",
    "kilojip",
)  # fmt: skip
# Close relatives of web fonts under other names.
_COPIES = ("carlito", "liberation", "khmeros", "notosans", "notoserif", "notomono")
_STYLE = re.compile(r"(regular|bold|italic|oblique|light|medium|book|black|condensed|semi|demi|extra|thin)")


def web_letters(script: str, alphabet: str, cache: Path, *, copies: int = 1) -> list[Sample]:
    """Return letters in web fonts, which experts learn from."""
    return list(letters(fontsource(WEB[script].split(), script, cache), LETTERS[alphabet], copies=copies))


def debian_letters(alphabet: str, cache: Path, *, copies: int = 2) -> list[Sample]:
    """Return letters in Debian's fonts of other families, which tasks are made of."""
    # No expert has seen these two scripts, so the Noto families are of use for them.
    unseen = alphabet in {"armenian", "georgian"}
    faces = [f for f in _faces(cache) if unseen or not _is_web(f)]
    copies_of = _KANA_TWICE if alphabet == "hiragana" else ()
    faces = [f for f in faces if _holds(f, LETTERS[alphabet]) and not f.family.startswith(copies_of)]
    return list(letters(_few(faces), LETTERS[alphabet], copies=copies))


def script_letters(cache: Path) -> Iterator[Sample]:
    """Return letters of sixteen scripts, labelled by script, grouped by character."""
    root = packages.deb("fonts-noto-core", cache)
    for script in SCRIPTS:
        for style in ("Sans", "Serif"):
            for path in sorted(root.rglob(f"Noto{style}{script}-[RB][eo][gl]*.ttf")):
                face = Face(script.lower(), path, "deb:fonts-noto-core", "OFL-1.1")
                yield from _of_script(face, script.upper())


def italics(cache: Path) -> list[Sample]:
    """Return Latin letters labelled upright or italic, grouped by family."""
    return _styled(cache, lambda path: "italic" if re.search("ital|obli", path.name, re.I) else "upright")


def kinds(cache: Path) -> list[Sample]:
    """Return Latin letters labelled serif, sans or mono, grouped by family."""
    return _styled(cache, _kind)


def _styled(cache: Path, label: Callable[[Path], str | None]) -> list[Sample]:
    samples = []
    for face in _faces(cache):
        name = label(face.path)
        if name is None or _is_web(face) or not _holds(face, LETTERS["latin"]):
            continue
        rng = generator("styled", face.path.name)
        for letter in rng.choice(list(LETTERS["latin"]), 12, replace=False):
            image = draw(str(letter), face, rng).convert("RGB")
            samples.append(
                Sample(value=image, label=name, group=face.family, origin=face.origin, license=face.license)
            )
    return samples


def _kind(path: Path) -> str | None:
    with TTFont(path, lazy=True, fontNumber=0) as font:
        if font["post"].isFixedPitch or "mono" in path.name.lower():
            return "mono"
        panose = font["OS/2"].panose
        if panose.bFamilyType != 2 or panose.bSerifStyle < 2:
            return None
        return "sans" if panose.bSerifStyle >= 11 else "serif"


def _of_script(face: Face, script: str) -> Iterator[Sample]:
    names = {c: unicodedata.name(chr(c), "") for c in sorted(_characters(face.path))}
    own = [
        c
        for c, n in names.items()
        if n.startswith((f"{script} LETTER", f"{script} SYLLABLE", f"{script} CAPITAL"))
    ]
    for code in own[:60]:
        image = draw(chr(code), face, generator(face.path.name, code)).convert("RGB")
        yield Sample(
            value=image, label=face.family, group=f"U+{code:04X}", origin=face.origin, license=face.license
        )


@remembered
def _faces(cache: Path) -> tuple[Face, ...]:
    found: dict[str, Face] = {}
    for package in PACKAGES.split():
        root = packages.deb(package, cache)
        for path in sorted(p for p in root.rglob("*") if p.suffix in {".ttf", ".otf"} and p.is_file()):
            if "condensed" not in path.name.lower():
                found.setdefault(path.name, Face(_family(path), path, f"deb:{package}", "free fonts"))
    return tuple(found.values())


def _family(path: Path) -> str:
    stem = path.stem.lower().partition("-")[0]
    return _STYLE.sub("", re.sub(r"[^a-z0-9]", "", stem))[:12] or stem


def _is_web(face: Face) -> bool:
    web = {name.replace("-", "") for families in WEB.values() for name in families.split()}
    # A prefix that is too short would also match strangers.
    return face.family.startswith((*_COPIES, *(name[:12] for name in web if len(name) > 3)))


def _holds(face: Face, alphabet: str) -> bool:
    return {ord(letter) for letter in alphabet} <= _characters(face.path)


@remembered
def _characters(path: Path) -> frozenset[int]:
    with TTFont(path, lazy=True, fontNumber=0) as font:
        table = font.getBestCmap() or {}
        return frozenset(table)


def _few(faces: Sequence[Face], *, each: int = 3, most: int = 40) -> list[Face]:
    """Return at most `each` faces of a family and `most` in all."""
    taken: dict[str, int] = {}
    kept = []
    for face in faces:
        taken[face.family] = taken.get(face.family, 0) + 1
        if taken[face.family] <= each:
            kept.append(face)
    order = generator("few", len(kept)).permutation(len(kept))
    return [kept[i] for i in order[:most]]
