"""Labelled pictures for the benchmark zoo, beside those the starter zoo is made of."""

from __future__ import annotations

import gzip
import json
import pickletools
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo import packages
from zoo.labelled import Sample, square
from zoo.pictures import EMOJI_RELEASE, emoji_group

ICON_THEMES = {
    "elementary": ("elementary-xfce-icon-theme", "usr/share/icons/elementary-xfce", "{context}/48"),
    "faenza": ("faenza-icon-theme", "usr/share/icons/Faenza", "{context}/48"),
    "gnome": ("gnome-icon-theme", "usr/share/icons/gnome/48x48", "{context}"),
    "oxygen": ("oxygen-icon-theme", "usr/share/icons/oxygen/base/48x48", "{context}"),
}
CONTEXTS = {"actions": "actions", "apps": "apps", "categories": "categories", "devices": "devices",
            "mimes": "types", "mimetypes": "types", "places": "places", "status": "status"}  # fmt: skip
UNITS = (
    "drakes", "dunefolk", "dwarves", "elves-wood", "human-loyalists", "human-magi", "human-outlaws",
    "merfolk", "monsters", "orcs", "saurians", "trolls", "undead", "undead-skeletal",
)  # fmt: skip
TERRAIN = (
    "castle", "cave", "chasm", "embellishments", "flat", "forest", "frozen", "grass", "hills",
    "interior", "mountains", "sand", "swamp", "unwalkable", "village", "walls", "water",
)  # fmt: skip
STAMPS = (
    "animals", "clothes", "food", "hobbies", "household", "military", "naturalforces", "people",
    "plants", "seasonal", "space", "sports", "symbols", "town", "vehicles",
)  # fmt: skip
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}


def emoji_fields(vendor: str, field: str, cache: Path) -> Iterator[Sample]:
    """Return the emoji of a vendor, labelled by a field of their table, grouped by what they show."""
    for entry, root in _emoji_table(vendor, cache):
        if entry[f"has_img_{vendor}"]:
            label = entry[field].lower().replace(" & ", "-and-").replace(" ", "-")
            yield _emoji(entry["image"], label, entry["name"], root, vendor)


def skin_tones(vendor: str, cache: Path) -> Iterator[Sample]:
    """Return emoji of people in five tones of skin, grouped by what they show."""
    for entry, root in _emoji_table(vendor, cache):
        for tone, variation in entry.get("skin_variations", {}).items():
            if tone in TONES and variation[f"has_img_{vendor}"]:
                yield _emoji(variation["image"], TONES[tone], entry["name"], root, vendor)


def icons(theme: str, cache: Path) -> Iterator[Sample]:
    """Return the icons of a theme, labelled by context, grouped by the name they share between themes."""
    package, base, pattern = ICON_THEMES[theme]
    root = packages.deb(package, cache) / base
    for context, label in CONTEXTS.items():
        for path in _pictures(root / pattern.format(context=context)):
            group = re.sub(r"[-_.].*", "", path.stem) if label == "types" else path.stem
            yield _sample(path, label, group, f"deb:{package}", "GPL or LGPL")


def units(cache: Path) -> Iterator[Sample]:
    """Return fighters of a game, labelled by people, grouped by the fighter shown."""
    package, root = _wesnoth(cache)
    for label in UNITS:
        for path in _pictures(root / "units" / label):
            name = path.relative_to(root / "units" / label).parts[0].removesuffix(".png")
            yield _sample(
                path, label, f"{label} {re.split(r'[-+]', name)[0]}", f"deb:{package}", "GPL-2.0-or-later"
            )


def terrain(cache: Path) -> Iterator[Sample]:
    """Return map tiles of a game, labelled by kind, grouped by what the tile is called."""
    package, root = _wesnoth(cache)
    for label in TERRAIN:
        for path in _pictures(root / "terrain" / label):
            name = re.sub(r"\d+$|-(n|s|ne|nw|se|sw|tile|A\d+|\d+)\b.*", "", path.stem)
            yield _sample(path, label, f"{label} {name}", f"deb:{package}", "GPL-2.0-or-later")


def stamps(cache: Path) -> Iterator[Sample]:
    """Return the photographs and drawings of a children's program by theme."""
    package = "tuxpaint-stamps-default"
    root = packages.deb(package, cache) / "usr/share/tuxpaint/stamps"
    for label in STAMPS:
        for path in _pictures(root / label):
            group = re.split(r"[-_\d]", path.stem)[0]
            yield _sample(path, label, group, f"deb:{package}", "GPL-2.0")


def silhouettes(cache: Path) -> Iterator[Sample]:
    """Return outlines of ten kinds of animals."""
    root = packages.wheel("animal-mnist==0.4", cache) / "animal_mnist/data/Animal_MNIST"
    images = np.frombuffer(_buffer(root / "animal_data_version_3.gz"), np.uint8)
    labels = np.frombuffer(_buffer(root / "animal_label_version_3.gz"), np.uint8)
    side = round((len(images) / 10_000) ** 0.5)
    images, labels = images.reshape(10_000, side, side), labels.reshape(10_000, -1)[:, 0]
    for number in range(0, 10_000, 2):
        value = square(Image.fromarray(images[number]))
        yield Sample(
            value=value, label=str(labels[number]), group=str(number),
            origin=f"pip:animal-mnist==0.4 {number}", license="MIT",
        )  # fmt: skip


def small_digits(cache: Path) -> Iterator[Sample]:
    """Return the handwritten digits of scikit-learn, 8x8 pixels enlarged."""
    package = "scikit-learn==1.7.2"
    path = packages.wheel(package, cache) / "sklearn/datasets/data/digits.csv.gz"
    with gzip.open(path, "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",")
    for number, row in enumerate(rows):
        pixels = Image.fromarray((row[:-1].reshape(8, 8) * 15.9).astype(np.uint8))
        yield Sample(
            value=square(pixels), label=str(int(row[-1])), group=str(number),
            origin=f"pip:{package} digits {number}", license="BSD-3-Clause",
        )  # fmt: skip


PICTURES: dict[str, Callable[[Path], Iterator[Sample]]] = {
    "units": units, "terrain": terrain, "stamps": stamps, "silhouettes": silhouettes,
}  # fmt: skip


def _emoji_table(vendor: str, cache: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    root = packages.npm(f"emoji-datasource-{vendor}@{EMOJI_RELEASE}", cache) / "package"
    for entry in json.loads((root / "emoji.json").read_text(encoding="utf-8")):
        if entry["category"] != "Component":
            yield entry, root / "img" / vendor / "64"


def _emoji(image: str, label: str, name: str, root: Path, vendor: str) -> Sample:
    licenses = {"google": "Apache-2.0", "twitter": "CC-BY-4.0"}
    return Sample(
        value=square(Image.open(root / image)), label=label, group=emoji_group(name),
        origin=f"npm:emoji-datasource-{vendor}@{EMOJI_RELEASE} {image}",
        license=licenses.get(vendor, "local use only"),
    )  # fmt: skip


def _wesnoth(cache: Path) -> tuple[str, Path]:
    package = "wesnoth-1.16-data"
    return package, packages.deb(package, cache) / "usr/share/games/wesnoth/1.16/data/core/images"


def _pictures(folder: Path) -> Iterator[Path]:
    found = sorted(chain(folder.rglob("*.png"), folder.rglob("*.webp")))
    return (
        path for path in found if path.is_file() and not path.is_symlink() and path.stat().st_size < 300_000
    )


def _sample(path: Path, label: str, group: str, origin: str, license: str) -> Sample:
    with Image.open(path) as image:
        return Sample(
            value=square(image), label=label, group=group, origin=f"{origin} {path.name}", license=license
        )


def _buffer(path: Path) -> bytes:
    """Return the largest run of bytes in a pickled array, without running what the pickle says."""
    with gzip.open(path) as content:
        runs = (arg for _, arg, _ in pickletools.genops(content.read()) if isinstance(arg, bytes | bytearray))
        return bytes(max(runs, key=len))
