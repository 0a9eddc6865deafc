"""One of several processes that train together: ``python -m expertise_graph.warmstart.worker JOB.json``."""

from __future__ import annotations

import sys
from pathlib import Path

from expertise_graph.warmstart.launch import work

if __name__ == "__main__":
    work(Path(sys.argv[1]))
