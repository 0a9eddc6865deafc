"""The graph of expertise: find the pretrained model that is nearest to a task, and start from it.

The public names below are loaded when first used, so that importing the package is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from expertise_graph.errors import (
    DatasetError,
    ExpertiseError,
    InvalidInputError,
    MissingExtraError,
    NewerSchemaError,
    NotFoundError,
    OfflineError,
    SourceError,
    StoreError,
    UntrustedError,
)

if TYPE_CHECKING:
    from expertise_graph.types import (
        Baseline,
        Candidate,
        Edge,
        Embedding,
        Expert,
        Neighbour,
        ProbeSet,
        Ranking,
        Run,
        Score,
        Task,
        WarmStart,
    )
    from expertise_graph.workspace import Workspace

__version__ = "0.1.0"

_LAZY = {
    **dict.fromkeys(
        (
            "Baseline",
            "Candidate",
            "Edge",
            "Embedding",
            "Expert",
            "Neighbour",
            "ProbeSet",
            "Ranking",
            "Run",
            "Score",
            "Task",
            "WarmStart",
        ),
        "expertise_graph.types",
    ),
    "Workspace": "expertise_graph.workspace",
}

__all__ = [
    "Baseline",
    "Candidate",
    "DatasetError",
    "Edge",
    "Embedding",
    "Expert",
    "ExpertiseError",
    "InvalidInputError",
    "MissingExtraError",
    "Neighbour",
    "NewerSchemaError",
    "NotFoundError",
    "OfflineError",
    "ProbeSet",
    "Ranking",
    "Run",
    "Score",
    "SourceError",
    "StoreError",
    "Task",
    "UntrustedError",
    "WarmStart",
    "Workspace",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
