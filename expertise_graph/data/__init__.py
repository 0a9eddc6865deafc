"""Labelled datasets and probe sets: reading, checking, sampling."""

from expertise_graph.data.base import CLASS, LABELS, VALUE, Inputs, Item, LabelledData
from expertise_graph.data.drawing import ProbeDraft, probe_set_from
from expertise_graph.data.image import IMAGE
from expertise_graph.data.modalities import Modality, modalities
from expertise_graph.data.probesets import ProbeFile, ProbeItem, read_probe_set, write_probe_set
from expertise_graph.data.readers import read_data
from expertise_graph.data.records import Columns
from expertise_graph.data.sampling import DRAW_VERSION, Splits, holdout, stratified_sample
from expertise_graph.data.text import TEXT

__all__ = [
    "CLASS",
    "Columns",
    "DRAW_VERSION",
    "IMAGE",
    "Inputs",
    "Item",
    "LABELS",
    "LabelledData",
    "Modality",
    "ProbeDraft",
    "ProbeFile",
    "ProbeItem",
    "Splits",
    "TEXT",
    "VALUE",
    "holdout",
    "modalities",
    "probe_set_from",
    "read_data",
    "read_probe_set",
    "stratified_sample",
    "write_probe_set",
]
