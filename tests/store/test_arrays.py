"""Feature files: whole or absent, and found by what produced them."""

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from expertise_graph.store.arrays import Arrays, features_key
from tests.store.nodes import expert

NODE = expert("dir:1", weights_sha="w", preprocessing_sha="p")
KEY = features_key(NODE, "i")


@pytest.fixture
def arrays(tmp_path):
    return Arrays(tmp_path / "features")


def test_what_is_put_comes_back_in_float32(arrays):
    given = np.random.default_rng(0).standard_normal((5, 3))
    arrays.put(KEY, given)
    np.testing.assert_array_equal(arrays.get(KEY), given.astype(np.float32))
    assert arrays.get("ff" * 32) is None


def test_each_part_of_the_key_counts():
    others = (replace(NODE, weights_sha="v"), replace(NODE, preprocessing_sha="q"))
    assert len({KEY, features_key(NODE, "j"), *(features_key(other, "i") for other in others)}) == 4
    assert features_key(replace(NODE, name="other"), "i") == KEY


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_damaged_file_counts_as_absent(arrays, keep):
    arrays.put(KEY, np.ones((4, 3)))
    path = arrays.path(KEY)
    path.write_bytes(path.read_bytes()[:keep])
    assert arrays.get(KEY) is None
    arrays.put(KEY, np.full((4, 3), 2.0))
    assert arrays.get(KEY).tolist() == [[2.0] * 3] * 4


def test_files_with_other_content_count_as_absent(arrays):
    arrays.put(KEY, np.ones((2, 2)))
    save_file({"other": np.ones(3, np.float32)}, arrays.path(KEY))
    assert arrays.get(KEY) is None
    save_file({"features": np.array([[np.nan]], np.float32)}, arrays.path(KEY))
    assert arrays.get(KEY) is None


def test_leftovers_of_killed_writers_are_removed_in_time_and_those_of_others_stay(arrays):
    arrays.put(KEY, np.ones((2, 2)))
    folder = arrays.path(KEY).parent
    old, fresh = (folder / f".{KEY}.{other}.tmp.safetensors" for other in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    arrays.put(KEY, np.ones((2, 2)))
    assert sorted(p.name for p in folder.iterdir()) == sorted([arrays.path(KEY).name, fresh.name])


def test_an_array_in_the_place_of_another_counts_as_absent(arrays):
    other = features_key(NODE, "j")
    arrays.put(KEY, np.ones((2, 2)))
    arrays.put(other, np.full((2, 2), 3.0))
    arrays.path(KEY).write_bytes(arrays.path(other).read_bytes())
    assert arrays.get(KEY) is None
    assert arrays.get(other).tolist() == [[3.0] * 2] * 2


def test_an_array_of_an_earlier_version_which_kept_no_key_is_read(arrays):
    arrays.put(KEY, np.ones((2, 2)))
    save_file({"features": np.ones((2, 2), np.float32)}, arrays.path(KEY))
    assert arrays.get(KEY).tolist() == [[1.0] * 2] * 2
