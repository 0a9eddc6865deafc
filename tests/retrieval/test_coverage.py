"""Whether the items of a task are like the probe set, and what the answer says where they are not."""

import math

import numpy as np
import pytest
from PIL import Image

from expertise_graph.core.types import Query
from expertise_graph.retrieval.coverage import FAR, distance_to_probes, far_note
from expertise_graph.workspace import Workspace
from tests import materials

RNG = np.random.default_rng(0)
PROBES = RNG.normal(size=(200, 8))


def test_items_like_the_probes_are_as_far_as_probes_are():
    assert distance_to_probes(RNG.normal(size=(400, 8)), PROBES) == pytest.approx(1.0, abs=0.1)


def test_it_is_the_median_distance_over_the_spread_against_that_of_the_probes():
    items = RNG.normal(size=(5, 8)) + 3.0
    to_probes = np.median([min(np.linalg.norm(x - p) for p in PROBES) for x in items])
    among = np.median(
        [min(np.linalg.norm(p - q) for j, q in enumerate(PROBES) if j != i) for i, p in enumerate(PROBES)]
    )
    spread = [np.sqrt(np.mean([np.linalg.norm(x - a.mean(axis=0)) ** 2 for x in a])) for a in (items, PROBES)]
    assert distance_to_probes(items, PROBES) == pytest.approx(to_probes / spread[0] / (among / spread[1]))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_unit_and_a_rotation_of_features_do_not_matter(scale):
    items = 0.3 * RNG.normal(size=(40, 8)) + 1.0
    turned = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    found = distance_to_probes(scale * items @ turned, scale * PROBES @ turned)
    assert found == pytest.approx(distance_to_probes(items, PROBES))


def test_what_is_far_or_all_alike_is_far():
    assert distance_to_probes(RNG.normal(size=(40, 8)) + 10.0, PROBES) > FAR
    assert distance_to_probes(np.ones((40, 8)) + 1e-9 * RNG.normal(size=(40, 8)), PROBES) == math.inf
    assert math.isnan(distance_to_probes(RNG.normal(size=(4, 8)), np.ones((9, 8))))


def test_the_note_is_of_all_experts_and_of_what_they_know():
    assert far_note([], "image") == far_note([math.nan, 0.0], "image") == []
    assert far_note([1.3, 2.0, 2.6], "image") == []
    (line,) = far_note([4.0, 5.0, math.nan], "image")
    assert "these images are unlike the probe set" in line
    assert "4.5 times as far" in line
    assert "more than 99 times" in far_note([math.inf], "text")[0]


def write(folder, make):
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(make()).save(folder / label / f"{i}.png")
    return folder


def said(workspace, data):
    with Workspace(workspace) as opened:
        notes = [opened.query(data, Query(budget=4)).notes for _ in range(2)]
    # What is stored of the first query gives the same answer.
    assert notes[0] == notes[1]
    return [note for note in notes[0] if "unlike the probe set" in note]


def test_a_query_says_that_noise_is_unlike_the_probe_set(workspace, tmp_path):
    rng = np.random.default_rng(1)
    noise = write(tmp_path / "noise", lambda: rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (note,) = said(workspace, noise)
    assert note.startswith("these images are unlike the probe set")


def table(path, make):
    lines = ["text,label", *(f"{make()},{'ab'[i % 2]}" for i in range(16))]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_query_says_that_a_script_of_no_probe_is_unlike_the_probe_set(workspace, tmp_path):
    rng = np.random.default_rng(2)
    thai = table(tmp_path / "thai.csv", lambda: "".join(map(chr, rng.integers(0x0E01, 0x0E2E, 40))))
    (note,) = said(workspace, thai)
    assert note.startswith("these texts are unlike the probe set")


def test_a_query_on_glosses_says_nothing_of_it(workspace, tmp_path):
    assert said(workspace, materials.glosses(tmp_path / "glosses.csv", 40)) == []


def test_a_query_on_letters_says_nothing_of_it(workspace, tmp_path):
    assert said(workspace, materials.pictures(tmp_path / "letters", 4, 10)) == []
