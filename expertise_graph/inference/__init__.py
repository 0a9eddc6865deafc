"""Using a finished model: predictions, their quality, and the model as a file for other programs."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.inference.evaluation import Evaluation, evaluate
    from expertise_graph.inference.export import Exported, export_model, formats
    from expertise_graph.inference.items import same_task
    from expertise_graph.inference.locate import find_model, learnt_in_registry
    from expertise_graph.inference.model import Model
    from expertise_graph.inference.opening import open_model
    from expertise_graph.inference.prediction import Prediction, predict, read_as_trained

__getattr__, __dir__, __all__ = door(__name__)
