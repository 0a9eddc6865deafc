"""Fixtures of merging: deltas are made of the same children."""

from tests.merging.conftest import *  # noqa: F403
