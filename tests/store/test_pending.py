"""What was begun is kept until it is done, and is another process's to finish once its own is gone."""

import subprocess
import sys

import pytest

from expertise_graph.core import process_name
from expertise_graph.store.store import Store
from tests.program import environment

BEGIN = """
import sys
from pathlib import Path
from expertise_graph.store import Store
with Store(Path(sys.argv[1])) as store:
    store.put_pending("merge", "run:1", {"out": "/a b", "n": 3})
    store.put_pending("link", "probe:1", {})
"""


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as made:
        yield made


def begin(folder):
    command = [sys.executable, "-c", BEGIN, str(folder)]
    subprocess.run(command, env=environment(folder), check=True, timeout=60)


def test_what_a_process_left_is_found_with_all_that_finishing_it_needs(store):
    begin(store.folder)
    found = {one.kind: (one.subject, dict(one.detail)) for one in store.abandoned()}
    assert found == {"merge": ("run:1", {"out": "/a b", "n": 3}), "link": ("probe:1", {})}
    store.drop_pending("merge", "run:1")
    assert [one.kind for one in store.abandoned()] == ["link"]


def test_what_this_process_or_one_elsewhere_is_at_work_on_is_left_to_it(store):
    begin(store.folder)
    store.put_pending("merge", "run:1", {"mine": True})
    assert [one.kind for one in store.abandoned()] == ["link"]
    with store.transaction():
        store.db.execute("UPDATE pending SET owner = '00000000-1'")
    assert store.abandoned() == []


def test_a_key_of_an_index_belongs_to_one_registry_and_generation(store, tmp_path):
    assert store.index_key("probe:1", 4) is None
    key = store.index_key("probe:1", 4, make=True)
    assert store.index_key("probe:1", 4, make=True) == store.index_key("probe:1", 4) == key
    assert store.index_key("probe:1", 5) is None
    assert store.index_key("probe:2", 4, make=True) != key
    (tmp_path / "other").mkdir()
    with Store(tmp_path / "other") as other:
        assert other.index_key("probe:1", 4, make=True) != key
        assert process_name().split("-")[0] != "00000000"
