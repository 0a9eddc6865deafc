"""Expert and training settings chosen together, within a time budget."""

from expertise_graph.auto.result import AutoResult, TrialResult
from expertise_graph.auto.run import auto
from expertise_graph.auto.settings import AutoSettings
from expertise_graph.auto.tools import Tools

__all__ = ["AutoResult", "AutoSettings", "Tools", "TrialResult", "auto"]
