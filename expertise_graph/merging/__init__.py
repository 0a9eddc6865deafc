"""Merging children of one parent into one model, measured beside them and registered with its lineage."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.merging.fold import Folded, fold_adapter
    from expertise_graph.merging.loaded_model import (
        LoadedModel,
        changed,
        license_of,
        open_expert,
        open_model,
    )
    from expertise_graph.merging.merge_models import merge
    from expertise_graph.merging.methods import (
        fisher,
        mean,
        normalised,
        sum_of,
        ties,
    )
    from expertise_graph.merging.registration import (
        MADE_MODEL,
        RULE,
        MadeModel,
        Origin,
        datasets_of,
        finish_model,
        recording,
        strictest,
    )
    from expertise_graph.merging.settings import METHODS, ChildResult, MergeResult, MergeSettings
    from expertise_graph.merging.states import State, first_difference, put_into

__getattr__, __dir__, __all__ = door(__name__)
