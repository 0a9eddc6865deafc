"""The files that come with the package: small experts, probe sets, example tasks, results, known models."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

# What is in the folder of an expert of a modality and in no other.
_PREPROCESSING = {"image": "preprocessor_config.json", "text": "tokenizer.json"}


def shipped() -> dict[str, Path]:
    """Return the folders of the shipped experts by name.

    Example:
        >>> "latin-letters" in shipped()
        True
    """
    return {path.name: path for path in _entries("experts") if (path / "config.json").is_file()}


def shipped_for(modality: str) -> list[str]:
    """Return the names of the shipped experts of a modality.

    Example:
        >>> "languages" in shipped_for("text"), "languages" in shipped_for("image")
        (True, False)
    """
    file = _PREPROCESSING.get(modality)
    return [name for name, folder in shipped().items() if file is not None and (folder / file).is_file()]


def probe_files() -> list[Path]:
    """Return the archives of the shipped probe sets."""
    return [path for path in _entries("probes") if path.suffix == ".zip"]


def task_archives() -> dict[str, Path]:
    """Return the archives of the example tasks by name."""
    return {path.stem: path for path in _entries("tasks") if path.suffix == ".zip"}


def fine_tunes() -> Path:
    """Return the table of fine-tunes that the package was measured with (benchmarks/gains).

    Columns: modality, strategy, task, expert, classes; trained, the items that it learnt from; probe, the
    leave-one-out accuracy of a ridge classifier on the expert's features of `probed` items; accuracy, on
    `tested` others.
    """
    with as_file(files(__package__)) as root:
        return root / "results" / "fine-tunes.csv"


def catalogue_folder() -> Path:
    """Return the folder of the catalogue of known models (scripts/build_catalogue)."""
    with as_file(files(__package__)) as root:
        return root / "catalogue"


def _entries(folder_name: str) -> list[Path]:
    # The package is always installed as files, so the path outlives the context.
    with as_file(files(__package__)) as root:
        folder = root / folder_name
    return sorted(folder.iterdir()) if folder.is_dir() else []
