"""What a child learnt as a small file: made, packed, applied, and averaged in federated rounds."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.deltas.apply import Applied, ApplySettings, apply_deltas
    from expertise_graph.deltas.client import (
        ClassSums,
        accuracy_of,
        blank_head,
        class_sums,
        prototype_head,
        train_locally,
    )
    from expertise_graph.deltas.delta import Delta, make_delta
    from expertise_graph.deltas.delta_file import read_delta, write_delta
    from expertise_graph.deltas.federated import Round, federated_round
    from expertise_graph.deltas.make import DeltaReport, make_delta_file
    from expertise_graph.deltas.packing import Packing

__getattr__, __dir__, __all__ = door(__name__)
