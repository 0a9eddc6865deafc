"""A further modality is one file: a toy one is registered and taken through the public functions."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from expertise_graph import Columns, DatasetError
from expertise_graph.data import (
    known_modalities,
    plural_of,
    probe_set_from,
    read_data,
    read_inputs,
    read_lines,
    read_probe_set,
    stratified_sample,
    write_probe_set,
)
from expertise_graph.diagnostics import check_data, data_json, report_on_data
from tests.data.modalities.point_clouds import CLOUD


@pytest.fixture
def registered(monkeypatch):
    """The toy modality, registered until the test ends."""
    monkeypatch.setattr(known_modalities, "_entries", dict(known_modalities._entries))
    return known_modalities.register("cloud", CLOUD)


@pytest.fixture
def clouds(tmp_path):
    """A folder a class: twenty clouds near 0 and twenty near 5; a copy, a single point, a broken file."""
    rng = np.random.default_rng(0)
    for name, middle in (("near", 0.0), ("far", 5.0)):
        (tmp_path / "clouds" / name).mkdir(parents=True)
        for i in range(20):
            points = rng.normal(middle, 1.0, 8).round(3).tolist()
            (tmp_path / "clouds" / name / f"{i:02d}.points").write_text(json.dumps(points))
    far = tmp_path / "clouds" / "far"
    (far / "20.points").write_text(json.dumps(sorted(json.loads((far / "00.points").read_text()))))
    (far / "21.points").write_text("[5.5]")
    (far / "22.points").write_text("no list")
    return tmp_path / "clouds"


def test_a_folder_of_its_files_is_read_sampled_and_described(registered, clouds):
    data = read_data(clouds)
    assert (data.modality, data.classes, len(data)) == ("cloud", ("far", "near"), 42)
    assert [(os.path.basename(where), why.split(":")[0]) for where, why in data.skipped] == [
        ("22.points", "a point cloud is a JSON list of numbers")
    ]
    rows = stratified_sample(data.labels, 10, seed=0)
    features = registered.raw_features([registered.decode(data.items[i]) for i in rows])
    assert features.shape == (10, 2)
    assert (features[:, 0] > 2.5).tolist() == [data.classes[data.labels[i]] == "far" for i in rows]


def test_a_table_of_its_files_and_unlabelled_inputs_are_read(registered, clouds):
    files = [path.relative_to(clouds) for path in sorted(clouds.glob("*/0*.points"))]
    rows = [f"{path},{path.parent.name},{i}" for i, path in enumerate(files)]
    (clouds / "t.csv").write_text("\n".join(["where,label,note", *rows]))
    by_type = read_data(clouds / "t.csv")
    assert (by_type.modality, len(by_type)) == ("cloud", 20)
    assert read_data(clouds / "t.csv", columns=Columns(item="where")).sha256 == by_type.sha256
    inputs = read_inputs(clouds, modality="cloud")
    assert len(inputs.records) == 43
    lines = "\n".join(str(clouds / path) for path in files)
    assert [record.item for record in read_lines(lines, modality="cloud").records] == [
        clouds / path for path in files
    ]
    (clouds / "u.csv").write_text("where,label\n,a\nfar/00.points,b\nnear/00.points,a\n3,b\n")
    with pytest.raises(DatasetError, match=r"2 usable items and 2 skipped; .* row 1: no cloud"):
        read_data(clouds / "u.csv", columns=Columns(item="where", modality="cloud"))


def test_a_probe_set_of_it_is_drawn_and_written(registered, clouds, tmp_path):
    draft = probe_set_from(clouds, 12, seed=0)
    assert draft.modality == "cloud"
    path = tmp_path / "p.zip"
    written = write_probe_set(path, name="p", version="1", modality="cloud", items=draft.items)
    assert written.probe_set.n == 12
    read = read_probe_set(path)
    assert read.probe_set == written.probe_set
    assert {entry["file"].partition(".")[2] for entry in read.manifest["items"]} == {"points"}
    middles = [registered.decode(item).mean() for item in read.items]
    assert sum(middle > 2.5 for middle in middles) in (5, 6, 7)


def test_check_asks_its_inspection(registered, clouds):
    found = check_data(read_data(clouds))
    assert found.summary.traits == ("points: 1 to 8",)
    assert [(odd.kind, [found.names[i] for i in odd.items]) for odd in found.unusual] == [
        ("of one point", ["far/21.points"])
    ]
    assert [{found.names[i] for i in group.items} for group in found.duplicates.groups] == [
        {"far/00.points", "far/20.points"}
    ]
    assert found.duplicates.confirmed_by == "points"
    assert data_json(found)["modality"] == "cloud"
    assert "42 point clouds in 2 classes" in report_on_data(found).page()


def test_it_has_a_plural_and_so_has_a_modality_that_is_not_there(registered):
    assert (plural_of("cloud"), plural_of("smell")) == ("point clouds", "smell inputs")


@pytest.mark.slow
def test_an_entry_point_is_enough_for_the_command_line(clouds, tmp_path):
    """In a process of its own, with a package beside it that only declares where the modality is."""
    declared = tmp_path / "site" / "point_clouds-1.0.dist-info"
    declared.mkdir(parents=True)
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: point-clouds\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text(
        "[expertise_graph.modality]\ncloud = tests.data.modalities.point_clouds:CLOUD\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "expertise_graph", "check", str(clouds)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("clouds: 42 point clouds in 2 classes")
    assert "1 of one point: far/21.points" in done.stdout
