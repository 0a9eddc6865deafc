"""Where experts come from, how they are loaded, and how they run."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.models.adapters import adaptable, add_adapter, is_adapter, save_adapter
    from expertise_graph.models.base import (
        ALIASES,
        BASES,
        RELATION,
        Backbone,
        Batch,
        InputSpec,
        Source,
        SourceOptions,
        sources,
    )
    from expertise_graph.models.card import FinishedCard, dataset_card, pipeline_tag
    from expertise_graph.models.card_results import CLAIMS, Claim, claims_from
    from expertise_graph.models.checkpoint import verify_checkpoint
    from expertise_graph.models.classifier import Classifier, Head, read_head, write_model
    from expertise_graph.models.descriptions import ModelDescription, RunRecord
    from expertise_graph.models.downloads import AT_A_TIME, Downloads
    from expertise_graph.models.footprint import footprint_of
    from expertise_graph.models.hub_client import cache_room, download_dataset, evict, is_cached, missing
    from expertise_graph.models.hub_search import HubSearch, search_hub
    from expertise_graph.models.hub_sharing import HubRepository, RemoteState, hub_token
    from expertise_graph.models.hub_state import HubState, ask_hub
    from expertise_graph.models.layout import existing_folder
    from expertise_graph.models.learnt_items import (
        LearntItems,
        learnt_by,
        read_learnt_items,
        write_learnt_items,
    )
    from expertise_graph.models.loading import (
        ZOO,
        fetch,
        is_pattern,
        load,
        matching,
        resolve,
        resolve_all,
        verify,
        weight_files,
    )
    from expertise_graph.models.networks import new_network
    from expertise_graph.models.pooled import PIXELS, SIZES, image_batch
    from expertise_graph.models.raw_input import RAW, RawInput, raw_backbone, raw_expert, read_raw
    from expertise_graph.models.run_files import LOCK
    from expertise_graph.models.run_folder import RunFolder
    from expertise_graph.models.tensors import write_tensors
    from expertise_graph.models.transformers_export import native_features
    from expertise_graph.models.variants import read_settings, reconfigured, settings_of
    from expertise_graph.models.weight_sketch import (
        WEIGHT_SKETCH_VERSION,
        WeightSketch,
        is_half_of,
        relative_distance,
        sketch_weights,
    )
    from expertise_graph.models.weights import inspect
    from expertise_graph.models.zoo import installed, starter_names

__getattr__, __dir__, __all__ = door(__name__)
