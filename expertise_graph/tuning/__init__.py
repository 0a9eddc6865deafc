"""Expert and training settings chosen together, within a time budget."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.tuning.output_folder import discard_result
    from expertise_graph.tuning.result import AutoResult, TrialResult
    from expertise_graph.tuning.run import auto
    from expertise_graph.tuning.settings import AutoSettings

__getattr__, __dir__, __all__ = door(__name__)
