"""Kinds of input: one file owns everything of one modality."""

# Name and place of the modalities of this package; nothing of them is imported by reading their names.
MODALITIES = {
    "image": "expertise_graph.data.modalities.image:IMAGE",
    "text": "expertise_graph.data.modalities.text:TEXT",
}
