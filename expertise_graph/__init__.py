"""The graph of expertise: find the pretrained model that is nearest to a task, and start from it.

The public names below are loaded when first used, so that importing the package is cheap.
"""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.core.errors import DatasetError as DatasetError
    from expertise_graph.core.errors import ExpertiseError as ExpertiseError
    from expertise_graph.core.errors import InvalidInputError as InvalidInputError
    from expertise_graph.core.errors import MissingExtraError as MissingExtraError
    from expertise_graph.core.errors import NewerSchemaError as NewerSchemaError
    from expertise_graph.core.errors import NotFoundError as NotFoundError
    from expertise_graph.core.errors import OfflineError as OfflineError
    from expertise_graph.core.errors import SourceError as SourceError
    from expertise_graph.core.errors import StoreError as StoreError
    from expertise_graph.core.errors import UntrustedError as UntrustedError
    from expertise_graph.core.types import Baseline as Baseline
    from expertise_graph.core.types import Candidate as Candidate
    from expertise_graph.core.types import Edge as Edge
    from expertise_graph.core.types import Embedding as Embedding
    from expertise_graph.core.types import Expert as Expert
    from expertise_graph.core.types import Neighbour as Neighbour
    from expertise_graph.core.types import ProbeSet as ProbeSet
    from expertise_graph.core.types import Query as Query
    from expertise_graph.core.types import Ranking as Ranking
    from expertise_graph.core.types import Run as Run
    from expertise_graph.core.types import Score as Score
    from expertise_graph.core.types import Task as Task
    from expertise_graph.core.types import WarmStart as WarmStart
    from expertise_graph.data.dataset import Columns as Columns
    from expertise_graph.models.base import SourceOptions as SourceOptions
    from expertise_graph.training.config import TrainConfig as TrainConfig
    from expertise_graph.tuning.settings import AutoSettings as AutoSettings
    from expertise_graph.workspace import Workspace as Workspace

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = door(__name__)
__all__ += ["__version__"]
