"""Running experts on inputs: features, similarity, vector index, probe sets, latency."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.features import probe_sets as probe_sets
    from expertise_graph.features.calibration import calibrate
    from expertise_graph.features.context import Context
    from expertise_graph.features.cost import Timings, cached, predicted_seconds, seconds_now
    from expertise_graph.features.demand import (
        AT_ONCE_NUMBERS,
        Demand,
        Plan,
        Speed,
        Workload,
        estimated,
    )
    from expertise_graph.features.executors import Executor, Here
    from expertise_graph.features.failures import remembered
    from expertise_graph.features.indexes import DEFAULT_INDEX, VectorIndex, vector_indexes
    from expertise_graph.features.isolation import Isolation
    from expertise_graph.features.latency import Estimate, Meter
    from expertise_graph.features.needs import (
        Corrections,
        Estimates,
        corrections_from,
        footprint_of,
        speed_of,
    )
    from expertise_graph.features.probing import Prober
    from expertise_graph.features.processor import rough_speed, speed_key
    from expertise_graph.features.running import (
        at_once,
        configure,
        extract,
        forward,
        machine,
        setup,
        timed,
        try_out,
    )
    from expertise_graph.features.similarity import (
        DUPLICATE_CKA,
        SKETCH_DIM,
        SKETCH_METHOD,
        SKETCH_SEED,
        SKETCH_VERSION,
        centred_gram,
        normalise,
        sketch,
    )
    from expertise_graph.features.watch import free_memory

__getattr__, __dir__, __all__ = door(__name__)
