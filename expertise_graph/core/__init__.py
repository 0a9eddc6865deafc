"""What every room may use: errors, the nouns of the package, plug-ins, files, text and statistics."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.core.errors import (
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
        did_you_mean,
        disk_errors,
        first_line,
    )
    from expertise_graph.core.metrics import Z_80, Z_95, log_softmax, sigmoid, softmax, wilson
    from expertise_graph.core.plugins import Registry
    from expertise_graph.core.types import (
        METADATA,
        UNKNOWN,
        Baseline,
        BoolArray,
        Candidate,
        Edge,
        Embedding,
        Excluded,
        Expert,
        FloatArray,
        IntArray,
        Neighbour,
        ProbeSet,
        Query,
        Ranking,
        Run,
        Score,
        Task,
        TaskDistance,
        WarmStart,
    )

__getattr__, __dir__, __all__ = door(__name__)
