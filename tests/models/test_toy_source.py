"""A source that another package adds: one class, one entry point, and it is used like any other."""

import os
import subprocess
import sys

import numpy as np
import pytest

from expertise_graph.core.errors import NotFoundError, SourceError
from expertise_graph.features.running import extract
from expertise_graph.models.base import SourceOptions, sources
from expertise_graph.models.loading import load, resolve
from tests import materials
from tests.models import model_store


@pytest.fixture
def team(tmp_path, monkeypatch):
    """The team's folder with one model."""
    materials.resnet(tmp_path / "team" / "glyphs", 1)
    monkeypatch.setenv("TEAM_MODELS", str(tmp_path / "team"))
    return tmp_path / "team"


@pytest.fixture
def registered(team):
    sources.register("store", model_store.source)
    yield team
    del sources._entries["store"]


def test_its_experts_are_resolved_loaded_and_pinned(registered):
    files = sorted((materials.LETTERS / "test" / "ayb").iterdir())[:3]
    expert = resolve("store:glyphs", SourceOptions(license="mit"))
    assert (expert.id, expert.name) == (f"store:glyphs@{expert.weights_sha[:12]}", "glyphs")
    assert (expert.license, expert.modality, expert.architecture) == ("mit", "image", "resnet")
    local = load(resolve(f"dir:{registered / 'glyphs'}", SourceOptions()))
    np.testing.assert_array_equal(extract(load(expert), files), extract(local, files))

    materials.resnet(registered / "glyphs", 2)
    with pytest.raises(SourceError, match="not the registered ones"):
        load(expert)
    with pytest.raises(NotFoundError, match="no model 'letters'"):
        resolve("store:letters", SourceOptions())


@pytest.mark.slow
def test_an_entry_point_is_enough_for_the_command_line(team, blank, tmp_path):
    """In a process of its own, with a package beside it that only declares where the source is."""
    declared = tmp_path / "site" / "team_models-1.0.dist-info"
    declared.mkdir(parents=True)
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: team-models\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text(
        "[expertise_graph.source]\nstore = tests.models.model_store:source\n"
    )

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "expertise_graph", "--workspace", str(blank), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    run("register", "store:glyphs")
    assert run("ls", "-q").startswith("store:glyphs@")


@pytest.mark.slow
def test_the_room_is_entered_without_the_libraries_that_run_models():
    """Transformers and peft are slow: they are imported when a model of their kind is loaded."""
    used = "Classifier, RunFolder, adaptable, load, new_network, resolve, sources, write_model"
    code = (
        f"import sys\nfrom expertise_graph.models import {used}\n"
        "print([m for m in ('transformers', 'peft', 'timm') if m in sys.modules])\n"
        "from expertise_graph.models import SourceOptions\n"
        "expert = resolve('zoo:emoji', SourceOptions())\n"
        "print([m for m in ('transformers', 'peft', 'timm') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['transformers']"]


def test_records_of_runs_are_read_without_torch():
    code = (
        "import sys\nfrom expertise_graph.models import ModelDescription, RunFolder\n"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
