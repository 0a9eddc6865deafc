"""Labelled datasets and probe sets: reading, checking, sampling; kinds of input."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.data.dataset import (
        CLASS,
        KINDS,
        LABELS,
        NO_COLUMNS,
        NOT_RECORDED,
        VALUE,
        Columns,
        Inputs,
        Item,
        LabelledData,
        RawData,
        Reading,
        Record,
    )
    from expertise_graph.data.description import (
        DataDescription,
        count_by_class,
        describe,
        examples,
        first_of_each_reason,
        line_on_inputs,
        skipped_by_reason,
    )
    from expertise_graph.data.files import MAX_TABLE_BYTES, Skip, decode_utf8, read_regular
    from expertise_graph.data.modalities import MODALITIES
    from expertise_graph.data.modalities.base import (
        MOST_PAIRS,
        Inspection,
        Modality,
        UnusualItems,
        known_modalities,
        plural_of,
    )
    from expertise_graph.data.probe_sets import (
        ProbeDraft,
        ProbeFile,
        ProbeItem,
        probe_set_from,
        read_probe_set,
        read_unlabelled,
        write_probe_set,
    )
    from expertise_graph.data.reading import (
        locator_of,
        read_argument,
        read_data,
        read_each,
        read_inputs,
        read_lines,
    )
    from expertise_graph.data.row_tables import TableColumn, read_rows, write_rows
    from expertise_graph.data.sampling import DRAW_VERSION, Splits, holdout, stratified_sample
    from expertise_graph.data.splits import SPLITS

__getattr__, __dir__, __all__ = door(__name__)
