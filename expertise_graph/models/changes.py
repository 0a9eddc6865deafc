"""Whether the folder of a registered expert was touched since: by sizes and times, which is quick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from expertise_graph.core import Expert
from expertise_graph.models.layout import DESCRIPTIONS, PREPROCESSING

_NAMES = ("config.json", "model.safetensors", "model.safetensors.index.json", *PREPROCESSING, *DESCRIPTIONS)


def stamps(root: Path) -> dict[str, list[int]]:
    """Return size and time of change of the files that decide the features of a checkpoint, by place."""
    return dict(_stamps(root))


def _stamps(root: Path) -> Iterator[tuple[str, list[int]]]:
    places = [root, *sorted(p for p in root.iterdir() if p.is_dir() and p.name[:1].isdigit())]
    for place in places:
        for name in _NAMES:
            path = place / name
            if path.is_file():
                state = path.stat()
                yield path.relative_to(root).as_posix(), [state.st_size, state.st_mtime_ns]


def is_touched(expert: Expert) -> bool:
    """Tell whether files in the folder of an expert are gone or changed; not where nothing was noted."""
    noted = expert.meta.get("files")
    if expert.source != "dir" or not isinstance(noted, Mapping):
        return False
    root = Path(expert.locator)
    return not root.is_dir() or stamps(root) != {name: list(stamp) for name, stamp in noted.items()}
