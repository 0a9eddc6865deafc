"""Write what the commands answer today about the fixtures: `python -m tests.compat.record`.

Only to be run where an answer is meant to change; what the versions that made the fixtures said
(`made` in workspaces/*.json) is not touched.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.compat import material
from tests.program import invoke


def main() -> None:
    """Record everything anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _workspaces(folder)
        _runs(folder)
        _commands(folder)


def _workspaces(folder: Path) -> None:
    for name in material.EXPERT:
        path = material.WORKSPACES / f"{name}.json"
        on_record = material.recorded(path)
        if name not in ("schema1", "schema2"):
            copy = material.workspace(name, folder)
            on_record["answers"] = material.answers(name, copy)
        material.write(path, on_record)


def _runs(folder: Path) -> None:
    found = {}
    for name in material.FINISHED:
        copy = material.run(name, folder)
        evaluated = invoke("evaluate", copy, *material.data(name), "--json").worked().json
        found[name] = {
            "predict": material.predictions(name, copy),
            "evaluate": {key: evaluated[key] for key in ("kind", "n", "split", "metrics")},
        }
    material.write(material.EXPECTED / "run-folders.json", found)


def _commands(folder: Path) -> None:
    copy = material.moved(folder / "commands")
    for name in material.SPOKEN:
        out = folder / f"out-{name}"
        out.mkdir()
        material.write(material.EXPECTED / f"{name}.json", material.speak(name, copy, out))


if __name__ == "__main__":
    main()
