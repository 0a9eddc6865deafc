"""One of several processes that train together: ``python -m expertise_graph.training.worker JOB.json``."""

from __future__ import annotations

import sys
from pathlib import Path

from expertise_graph.training.launcher import work

if __name__ == "__main__":
    work(Path(sys.argv[1]))
