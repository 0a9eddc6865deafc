#!/usr/bin/env python3
"""Query a fresh workspace of the same models twice: ours.py FOLDER."""

import json
import sys
import tempfile
import time
from pathlib import Path

START = time.perf_counter()

from expertise_graph import Workspace  # noqa: E402
from expertise_graph.core.types import Query  # noqa: E402

READY = time.perf_counter()


def main() -> None:
    """Print one line of JSON: seconds to import, to register, to query, to query again, and the order."""
    folder = Path(sys.argv[1])
    paths = sorted((folder / "models").iterdir())
    asked = Query(budget=len(paths), sample=1000, top=len(paths))
    with tempfile.TemporaryDirectory() as home:
        start = time.perf_counter()
        with Workspace.init(home) as workspace:
            for path in paths:
                workspace.register(f"dir:{path}")
        result: dict[str, object] = {"import": READY - START, "register": time.perf_counter() - start}
        for name in ("first", "second"):
            start, cpu = time.perf_counter(), time.process_time()
            with Workspace(home) as workspace:
                ranking = workspace.query(folder / "glosses.csv", asked)
            result[name] = time.perf_counter() - start
            result[f"{name}_cpu"] = time.process_time() - cpu
            ran = sum(candidate.ran for candidate in ranking.candidates)
            if (ran, ranking.task.n) != (len(paths), 1250):
                raise SystemExit(f"{ran} experts were run on a task of {ranking.task.n} items")
    result["order"] = [candidate.expert.name for candidate in ranking.candidates]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
