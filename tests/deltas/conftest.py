"""Fixtures of merging: deltas are made of the same children."""

from tests.merging.conftest import _family, family, store  # noqa: F401
