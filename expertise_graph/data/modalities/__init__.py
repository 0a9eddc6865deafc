"""Kinds of input: one file owns everything of one modality."""
