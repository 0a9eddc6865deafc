"""Nodes that come from files: what is of another type than it should be is refused."""

import dataclasses
import json

import pytest

from expertise_graph.core import Expert
from tests.nodes import expert


def test_a_node_survives_json():
    node = expert("a")
    assert Expert.from_dict(json.loads(json.dumps(dataclasses.asdict(node)))) == node


@pytest.mark.parametrize(
    ("name", "value"), [("meta", None), ("params", "7"), ("name", 7), ("tags", "a"), ("revision", 1.0)]
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(TypeError, match=name):
        Expert.from_dict({**dataclasses.asdict(expert("a")), name: value})
