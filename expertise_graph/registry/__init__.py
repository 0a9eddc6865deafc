"""The graph of experts: registration, neighbours, lineage, views of the graph, results from elsewhere."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.registry.ancestry import Lineage, Relative, lineage_of
    from expertise_graph.registry.availability import as_remembered, remembering
    from expertise_graph.registry.card_results import LEFT_OUT, put_known
    from expertise_graph.registry.catalogue import (
        CATALOGUE_VARIABLE,
        MULTILINGUAL,
        Catalogue,
        catalogue_folder,
        find_catalogue,
        install_catalogue,
        read_catalogue,
        speaks,
        write_catalogue,
    )
    from expertise_graph.registry.catalogue_update import (
        CatalogueUpdate,
        update_from_hub,
        update_from_mteb,
    )
    from expertise_graph.registry.families import families_of
    from expertise_graph.registry.graph import Graph, build_graph, ego, export, layout
    from expertise_graph.registry.hub_sync import Synced, sync_with_hub
    from expertise_graph.registry.imports.history import import_history, same_result, setting_of_result
    from expertise_graph.registry.imports.names import data_key
    from expertise_graph.registry.imports.options import (
        DistanceOptions,
        HistoryOptions,
        ImportOptions,
        ImportReport,
        ScoreOptions,
    )
    from expertise_graph.registry.imports.table import File, read_table
    from expertise_graph.registry.imports.values import import_distances, import_meta, import_scores
    from expertise_graph.registry.lineage import (
        KINDS,
        RELATIONS,
        RUN,
        kind_of,
        learnt_from,
        origin_of,
        relation_of,
        trained_on,
    )
    from expertise_graph.registry.nearest import similar
    from expertise_graph.registry.neighbours import use_index
    from expertise_graph.registry.parents import Stated, set_parent, unset_parent
    from expertise_graph.registry.provenance import known_from
    from expertise_graph.registry.registration import (
        embed,
        embed_missing,
        refuse_taken_name,
        register,
        registering,
    )
    from expertise_graph.registry.removal import Removed, remove
    from expertise_graph.registry.suspicion import Suspicion, suspect, suspect_all
    from expertise_graph.registry.unfinished import (
        PROBE_SET,
        Finisher,
        finish_probe_set,
        finish_unfinished,
        tidy,
    )
    from expertise_graph.registry.withdrawal import Withdrawn, withdraw_results, withdraw_run

__getattr__, __dir__, __all__ = door(__name__)
