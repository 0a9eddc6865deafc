"""Fixtures of merging: deltas are made of the same children."""

from tests.merging.conftest import context, family, store, trained_family  # noqa: F401
