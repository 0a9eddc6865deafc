"""The experts of the benchmark zoo that are trained here: what on, how well, and how they are read back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from zoo import bench_fonts as fonts
from zoo import bench_sources as sources
from zoo import bench_texts, pictures, texts
from zoo.bench_nets import ARCHITECTURES
from zoo.bench_tasks import for_tasks, pixels
from zoo.bench_training import Classified, Prepare, accuracy, fit, fresh, preparation
from zoo.labelled import Sample, distinct, held_out, per_label, shuffled

Samples = Callable[[Path], Iterable[Sample]]


@dataclass(frozen=True, kw_only=True)
class Expert:
    """A network in memory and what is known about it; `prepare` turns task items into its inputs."""

    name: str
    modality: str
    architecture: str
    module: nn.Module
    prepare: Prepare
    source: str
    source_task: str = ""
    source_accuracy: float | None = None
    quality: str = "good"
    license: str = "CC0-1.0"
    origin: str = "trained by benchmarks/zoo/build"


@dataclass(frozen=True)
class Source:
    """What experts learn from, and which tasks are of the same kind of data."""

    samples: Samples
    tasks: str = ""
    flip: bool = False


def _other(samples: Samples) -> Samples:
    return lambda cache: [s for s in samples(cache) if not for_tasks(s)]


def _no_example(samples: Samples) -> Samples:
    return lambda cache: [s for s in samples(cache) if not pictures.for_example(s)]


def _web(script: str, alphabet: str) -> Samples:
    return lambda cache: fonts.web_letters(script, alphabet, cache)


IMAGE_SOURCES: Mapping[str, Source] = {
    "latin": Source(_web("latin", "latin"), "latin-upper"),
    "digits": Source(_web("latin", "digits"), "font-digits"),
    "greek": Source(_web("greek", "greek"), "greek"),
    "cyrillic": Source(_web("cyrillic", "cyrillic"), "cyrillic"),
    "arabic": Source(_web("arabic", "arabic"), "arabic"),
    "thai": Source(_web("thai", "thai"), "thai"),
    "katakana": Source(_web("japanese", "katakana")),
    "scripts": Source(_other(fonts.script_letters), "script-id"),
    "clothes": Source(lambda cache: pictures.fashion("train", 4000, cache), "fashion", True),
    "handwriting": Source(_other(pictures.handwriting), "mnist"),
    "silhouettes": Source(_other(sources.silhouettes), "silhouettes", True),
    "emoji-twitter": Source(
        _no_example(lambda c: sources.emoji_fields("twitter", "category", c)), "emoji-category-twitter", True
    ),
    "emoji-facebook": Source(
        _no_example(lambda c: sources.emoji_fields("facebook", "subcategory", c)), "emoji-kind-facebook", True
    ),
    "skin-apple": Source(_no_example(lambda c: sources.skin_tones("apple", c)), "", True),
    "icons-faenza": Source(_other(lambda c: sources.icons("faenza", c)), "", True),
    "icons-gnome": Source(_other(lambda c: sources.icons("gnome", c)), "", True),
    "units": Source(_other(sources.units), "wesnoth-units", True),
    "terrain": Source(_other(sources.terrain), "wesnoth-terrain", True),
    "stamps": Source(_other(sources.stamps), "stamps", True),
}

TEXT_SOURCES: Mapping[str, Source] = {
    "nouns": Source(_other(lambda c: texts.glosses("noun", c)), "noun-fields"),
    "verbs": Source(_other(lambda c: texts.glosses("verb", c)), "verb-fields"),
    "computing": Source(_other(bench_texts.computing), "computing-subjects"),
    "fortunes": Source(_other(bench_texts.fortunes), "fortune-topics"),
    "german": Source(_other(bench_texts.german_fortunes), "german-fortunes"),
    "stamp-texts": Source(_other(bench_texts.stamp_texts), "stamp-languages"),
}

SOURCES = {**IMAGE_SOURCES, **TEXT_SOURCES}

QUALITIES: Mapping[str, tuple[int, float]] = {
    "good": (12, 1.0), "one-epoch": (1, 1.0), "tenth": (60, 0.1), "untrained": (0, 0.0),
}  # fmt: skip
"""Epochs, and the share of the data, by name."""


def plan() -> dict[str, tuple[str, str, str]]:
    """Return (architecture, source, quality) by the name of the expert, the most telling ones first."""
    kinds = list(ARCHITECTURES)
    rows = [(kinds[i % 5], source, "good") for i, source in enumerate(IMAGE_SOURCES)]
    rows += [("tiny-bert", source, "good") for source in TEXT_SOURCES]
    poor = ("latin", "scripts", "clothes", "emoji-twitter", "units", "icons-faenza")
    rows += [(kinds[i % 5], source, "tenth") for i, source in enumerate(poor)]
    rows += [(kinds[(i + 1) % 5], source, "one-epoch") for i, source in enumerate(poor[:4])]
    rows += [("tiny-bert", "nouns", "tenth"), ("tiny-bert", "computing", "one-epoch")]
    rows += [(kind, "none", "untrained") for kind in ("vgg", "resnet", "attention", "tiny-bert")]
    again = [(kinds[(i + 2) % 5], source, "good") for i, source in enumerate(IMAGE_SOURCES)]
    rows += sorted(again, key=lambda row: row[0] == "attention")
    return {
        "-".join(part for part in (source, kind, quality if quality != "good" else "") if part): (
            kind, source, quality,
        )
        for kind, source, quality in rows
    }  # fmt: skip


def obtain(name: str, cache: Path, folder: Path) -> Expert:
    """Return an expert of the plan, trained now unless `folder` has it."""
    kind, source, quality = plan()[name]
    modality = "text" if kind == "tiny-bert" else "image"
    path = folder / f"{name}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        module, accuracy = train(kind, source, quality, cache)
        save_file(
            {k: v.contiguous() for k, v in module.state_dict().items()},
            path,
            {"accuracy": json.dumps(accuracy)},
        )
    module = fresh(kind)
    module.load_state_dict(load_file(path))
    known = SOURCES.get(source, Source(lambda cache: []))
    return Expert(
        name=name, modality=modality, architecture=kind, module=module.eval(), prepare=preparation(kind),
        source=source, source_task=known.tasks, source_accuracy=_noted(path), quality=quality,
    )  # fmt: skip


def train(kind: str, source: str, quality: str, cache: Path) -> tuple[nn.Module, float | None]:
    """Return a network trained on its source, and its accuracy on groups held out of it."""
    epochs, share = QUALITIES[quality]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{kind} {source} {quality}".encode()))
        module = fresh(kind)
        if not epochs:
            return module.eval(), None
        known = SOURCES[source]
        samples = _taken(known, cache)
        classes = sorted({s.label for s in samples})
        labels = torch.tensor([classes.index(s.label) for s in samples])
        away = held_out((s.group for s in samples), 0.15)
        learn, test = (
            np.array([i for i, s in enumerate(samples) if (s.group in away) == x]) for x in (False, True)
        )
        items: Any = [str(s.value) for s in samples] if kind == "tiny-bert" else pixels(samples)
        inputs = preparation(kind)(items)
        model = Classified(module, len(classes), known.flip)
        fit(model, inputs, labels, rows=learn[: max(100, int(share * len(learn)))], epochs=epochs)
        return module, accuracy(model, inputs, labels, rows=test)


def _taken(source: Source, cache: Path) -> list[Sample]:
    samples = shuffled(distinct(list(source.samples(cache))), 1)
    labels = {s.label for s in samples}
    counts = {label: sum(s.label == label for s in samples) for label in labels}
    kept = [s for s in samples if counts[s.label] >= 12]
    return per_label(kept, max(30, 2400 // len({s.label for s in kept})))


def _noted(path: Path) -> float | None:
    with path.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(size))
    accuracy: float | None = json.loads(header["__metadata__"]["accuracy"])
    return accuracy
