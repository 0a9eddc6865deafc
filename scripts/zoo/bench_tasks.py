"""The tasks of the benchmark zoo: few-shot problems on data that no expert of ours has learnt from.

What experts learn from and what tasks are made of are told apart by group (a font family, what an emoji
shows, one icon's name), so that nothing of a task's test part was seen by anybody but published networks.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo import bench_fonts as fonts
from zoo import bench_sources as sources
from zoo import bench_texts, pictures, texts
from zoo.labelled import Sample, distinct, generator, held_out, shuffled
from zoo.recipes import RECIPES

TRAIN, VALIDATION, TEST = 10, 3, 300
CLASSES = 16
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A problem in memory; `items` are (n, 3, 64, 64) uint8 or texts."""

    name: str
    modality: str
    items: Any
    labels: NDArray[np.int64]
    rows: Mapping[str, NDArray[np.int64]]
    source: str
    license: str

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.labels.max()) + 1


def for_tasks(sample: Sample) -> bool:
    """Tell whether a group is kept for tasks."""
    return zlib.crc32(sample.group.encode()) % 2 == 0


def unseen(starter: str, samples: Iterable[Sample], cache: Path) -> list[Sample]:
    """Return the samples of groups that a starter expert did not learn from."""
    recipe = RECIPES[starter]
    groups = {s.group for s in recipe.samples(cache)}
    learnt = groups - held_out(groups, recipe.held_out)
    return [s for s in samples if s.group not in learnt]


def _half(samples: Callable[[Path], Iterable[Sample]]) -> Callable[[Path], list[Sample]]:
    return lambda cache: [s for s in samples(cache) if for_tasks(s)]


def _emoji(samples: Callable[[Path], Iterable[Sample]]) -> Callable[[Path], list[Sample]]:
    return lambda cache: [s for s in samples(cache) if pictures.for_example(s)]


def _letters(alphabet: str, copies: int = 2) -> Callable[[Path], list[Sample]]:
    return lambda cache: fonts.debian_letters(alphabet, cache, copies=copies)


IMAGE_TASKS: Mapping[str, Callable[[Path], Iterable[Sample]]] = {
    "latin-upper": _letters("latin-upper"),
    "font-digits": _letters("digits"),
    "greek": _letters("greek"),
    "cyrillic": _letters("cyrillic"),
    "hebrew": _letters("hebrew"),
    "arabic": _letters("arabic", 3),
    "armenian": _letters("armenian", 4),
    "georgian": _letters("georgian", 4),
    "devanagari": _letters("devanagari", 4),
    "thai": _letters("thai"),
    "hiragana": _letters("hiragana"),
    "script-id": _half(fonts.script_letters),
    "italic": fonts.italics,
    "font-kind": fonts.kinds,
    "mnist": _half(pictures.handwriting),
    "sklearn-digits": sources.small_digits,
    "fashion": lambda cache: pictures.fashion("t10k", 1500, cache),
    "silhouettes": _half(sources.silhouettes),
    "emoji-category-twitter": _emoji(lambda cache: sources.emoji_fields("twitter", "category", cache)),
    "emoji-kind-facebook": _emoji(lambda cache: sources.emoji_fields("facebook", "subcategory", cache)),
    "skin-tone-google": _emoji(lambda cache: sources.skin_tones("google", cache)),
    "icons-oxygen": _half(lambda cache: sources.icons("oxygen", cache)),
    "icons-elementary": _half(lambda cache: sources.icons("elementary", cache)),
    "clipart": lambda cache: unseen("clipart", pictures.clipart(cache), cache),
    "stamps": _half(sources.stamps),
    "wesnoth-units": _half(sources.units),
    "wesnoth-terrain": _half(sources.terrain),
}

TEXT_TASKS: Mapping[str, Callable[[Path], Iterable[Sample]]] = {
    "noun-fields": _half(lambda cache: texts.glosses("noun", cache)),
    "verb-fields": _half(lambda cache: texts.glosses("verb", cache)),
    "computing-subjects": _half(bench_texts.computing),
    "fortune-topics": _half(bench_texts.fortunes),
    "german-fortunes": _half(bench_texts.german_fortunes),
    "stamp-languages": _half(bench_texts.stamp_texts),
    "package-sections": lambda cache: unseen("package-sections", texts.package_sections(), cache),
    "emoji-names": lambda cache: unseen("emoji-names", texts.emoji_names("en", cache), cache),
    "emoji-names-german": lambda cache: unseen("emoji-names", texts.emoji_names("de", cache), cache),
}

TASKS = {**IMAGE_TASKS, **TEXT_TASKS}

HELD_OUT = (
    *("thai", "georgian", "fashion", "icons-oxygen", "emoji-category-twitter", "wesnoth-terrain"),
    *("verb-fields", "fortune-topics"),
)
"""Tasks that no setting of the training is chosen on."""


def build(name: str, cache: Path, per_class: int = TRAIN) -> Task:
    """Return a task, drawn from its source by rules that depend on nothing but names.

    Args:
        name: of the task.
        cache: for downloads.
        per_class: training items of a class, where its source has so many; for validation three tenths.
    """
    samples = shuffled(distinct(list(TASKS[name](cache))), 0)
    parts = _split(samples)
    labels = _enough(samples, parts)
    # Two classes of ten items would leave nothing to choose an epoch by.
    each = (
        max(least, -(-total // len(labels)))
        for least, total in ((per_class, 50), (max(2, round(VALIDATION / TRAIN * per_class)), 15), (1, TEST))
    )
    sizes = dict(zip(PARTS, each, strict=True))
    chosen = {part: _first(samples, parts, part, labels, size) for part, size in sizes.items()}
    index = np.cumsum([0, *(len(rows) for rows in chosen.values())])
    ordered = [s for rows in chosen.values() for s in rows]
    return Task(
        name=name,
        modality="image" if name in IMAGE_TASKS else "text",
        items=pixels(ordered) if name in IMAGE_TASKS else [str(s.value) for s in ordered],
        labels=np.array([labels.index(s.label) for s in ordered]),
        rows={part: np.arange(index[i], index[i + 1]) for i, part in enumerate(chosen)},
        source=" ".join(sorted({s.origin.split()[0] for s in ordered})[:3]),
        license=" AND ".join(sorted({s.license for s in ordered})),
    )


def pixels(samples: Iterable[Sample]) -> NDArray[np.uint8]:
    """Return images (n, 3, 64, 64)."""
    arrays = [np.asarray(s.value, dtype=np.uint8) for s in samples if isinstance(s.value, Image.Image)]
    return np.stack(arrays).transpose(0, 3, 1, 2)


def _split(samples: Iterable[Sample]) -> dict[str, str]:
    """Assign each group to a part, by the rank of its name among the groups of one label."""
    labels: dict[str, str] = {}
    for sample in samples:
        labels[sample.group] = min(labels.get(sample.group, sample.label), sample.label)
    parts = {}
    for label in set(labels.values()):
        groups = sorted((g for g in labels if labels[g] == label), key=_rank)
        train, validation = max(1, round(0.42 * len(groups))), max(1, round(0.13 * len(groups)))
        for place, group in enumerate(groups):
            parts[group] = PARTS[(place >= train) + (place >= train + validation)]
    return parts


def _rank(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()


def _enough(samples: list[Sample], parts: Mapping[str, str]) -> list[str]:
    """Return at most sixteen labels that have items in each part."""
    least = {"train": 8, "validation": 2, "test": 6}
    counts: dict[str, dict[str, int]] = {}
    for sample in samples:
        row = counts.setdefault(sample.label, dict.fromkeys(PARTS, 0))
        row[parts[sample.group]] += 1
    fitting = sorted(x for x, row in counts.items() if all(row[p] >= n for p, n in least.items()))
    order = generator("classes", *fitting).permutation(len(fitting))[:CLASSES]
    return sorted(fitting[i] for i in order)


def _first(
    samples: list[Sample], parts: Mapping[str, str], part: str, labels: list[str], size: int
) -> list[Sample]:
    taken: dict[str, int] = dict.fromkeys(labels, 0)
    kept = []
    for sample in samples:
        if sample.label in taken and parts[sample.group] == part and taken[sample.label] < size:
            taken[sample.label] += 1
            kept.append(sample)
    return kept
