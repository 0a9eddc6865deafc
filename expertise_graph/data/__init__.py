"""Labelled datasets and probe sets: reading, checking, sampling."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.data.dataset import CLASS, KINDS, LABELS, VALUE, Inputs, Item, LabelledData
    from expertise_graph.data.files import MAX_TABLE_BYTES, Skip, decode_utf8, read_regular
    from expertise_graph.data.modalities.base import Modality, known_modalities
    from expertise_graph.data.modalities.image import IMAGE, kind_of
    from expertise_graph.data.modalities.text import TEXT
    from expertise_graph.data.probe_files import ProbeFile, ProbeItem, read_probe_set, write_probe_set
    from expertise_graph.data.probe_sampling import ProbeDraft, probe_set_from
    from expertise_graph.data.readers import read_data
    from expertise_graph.data.records import SPLITS, Columns, Record
    from expertise_graph.data.sampling import DRAW_VERSION, Splits, holdout, stratified_sample
    from expertise_graph.data.unlabelled import read_inputs, text_inputs

__getattr__, __dir__, __all__ = door(__name__)
