"""The graph of expertise: find the pretrained model that transfers best to a task, and start from it.

The public names below are loaded when first used, so that importing the package is cheap.
"""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.core.errors import DatasetError as DatasetError
    from expertise_graph.core.errors import ExpertiseError as ExpertiseError
    from expertise_graph.core.errors import FailedError as FailedError
    from expertise_graph.core.errors import GatedError as GatedError
    from expertise_graph.core.errors import InvalidInputError as InvalidInputError
    from expertise_graph.core.errors import MissingExtraError as MissingExtraError
    from expertise_graph.core.errors import NewerSchemaError as NewerSchemaError
    from expertise_graph.core.errors import NotFoundError as NotFoundError
    from expertise_graph.core.errors import OfflineError as OfflineError
    from expertise_graph.core.errors import SourceError as SourceError
    from expertise_graph.core.errors import StoreError as StoreError
    from expertise_graph.core.errors import TemporaryError as TemporaryError
    from expertise_graph.core.errors import UntrustedError as UntrustedError
    from expertise_graph.core.types import Baseline as Baseline
    from expertise_graph.core.types import Candidate as Candidate
    from expertise_graph.core.types import Command as Command
    from expertise_graph.core.types import Edge as Edge
    from expertise_graph.core.types import Embedding as Embedding
    from expertise_graph.core.types import EvidenceSource as EvidenceSource
    from expertise_graph.core.types import Excluded as Excluded
    from expertise_graph.core.types import Expert as Expert
    from expertise_graph.core.types import Neighbour as Neighbour
    from expertise_graph.core.types import ProbeSet as ProbeSet
    from expertise_graph.core.types import Query as Query
    from expertise_graph.core.types import Ranking as Ranking
    from expertise_graph.core.types import Run as Run
    from expertise_graph.core.types import Score as Score
    from expertise_graph.core.types import Task as Task
    from expertise_graph.core.types import WarmStart as WarmStart
    from expertise_graph.data import MODALITIES as MODALITIES
    from expertise_graph.data import Columns as Columns
    from expertise_graph.data import LabelledData as LabelledData
    from expertise_graph.data import RawData as RawData
    from expertise_graph.deltas import Applied as Applied
    from expertise_graph.deltas import ApplySettings as ApplySettings
    from expertise_graph.deltas import DeltaReport as DeltaReport
    from expertise_graph.deltas import Packing as Packing
    from expertise_graph.diagnostics import DataFindings as DataFindings
    from expertise_graph.diagnostics import RunFindings as RunFindings
    from expertise_graph.inference import Evaluation as Evaluation
    from expertise_graph.inference import Exported as Exported
    from expertise_graph.inference import Model as Model
    from expertise_graph.inference import Prediction as Prediction
    from expertise_graph.merging import Folded as Folded
    from expertise_graph.merging import MergeResult as MergeResult
    from expertise_graph.merging import MergeSettings as MergeSettings
    from expertise_graph.models import HubSearch as HubSearch
    from expertise_graph.models import InputSpec as InputSpec
    from expertise_graph.models import SourceOptions as SourceOptions
    from expertise_graph.registry import Catalogue as Catalogue
    from expertise_graph.registry import DistanceOptions as DistanceOptions
    from expertise_graph.registry import HistoryOptions as HistoryOptions
    from expertise_graph.registry import ImportOptions as ImportOptions
    from expertise_graph.registry import ImportReport as ImportReport
    from expertise_graph.registry import Lineage as Lineage
    from expertise_graph.registry import Relative as Relative
    from expertise_graph.registry import Removed as Removed
    from expertise_graph.registry import ScoreOptions as ScoreOptions
    from expertise_graph.registry import Stated as Stated
    from expertise_graph.registry import Suspicion as Suspicion
    from expertise_graph.registry import Synced as Synced
    from expertise_graph.registry import Withdrawn as Withdrawn
    from expertise_graph.retrieval import Backtest as Backtest
    from expertise_graph.retrieval import Explanation as Explanation
    from expertise_graph.sharing import PublishedModel as PublishedModel
    from expertise_graph.sharing import Pulled as Pulled
    from expertise_graph.sharing import Pushed as Pushed
    from expertise_graph.sharing import Reprobed as Reprobed
    from expertise_graph.training import TrainConfig as TrainConfig
    from expertise_graph.training import TrainingProgress as TrainingProgress
    from expertise_graph.tuning import AutoResult as AutoResult
    from expertise_graph.tuning import AutoSettings as AutoSettings
    from expertise_graph.tuning import TrialResult as TrialResult
    from expertise_graph.workspace import ExpertDetails as ExpertDetails
    from expertise_graph.workspace import KnownModel as KnownModel
    from expertise_graph.workspace import KnownTask as KnownTask
    from expertise_graph.workspace import Predictions as Predictions
    from expertise_graph.workspace import ProbeSetContent as ProbeSetContent
    from expertise_graph.workspace import ProbeSetDetails as ProbeSetDetails
    from expertise_graph.workspace import Workspace as Workspace

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = door(__name__)
__all__ += ["__version__"]
