"""Every command has an example in its help that runs, and stands in the reference."""

import json
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from expertise_graph import starter
from expertise_graph.cli.app import DefaultGroup, app
from tests.program import invoke

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()

# The order in which the examples make a story; every command must be in it.
STORY = (
    "init",
    "catalogue ls",
    "catalogue show",
    "catalogue update",
    "register",
    "ls",
    "show",
    "similar",
    "lineage suspect",
    "lineage set",
    "lineage show",
    "lineage unset",
    "data show",
    "query",
    "warm-start",
    "predict",
    "evaluate",
    "merge",
    "fold",
    "delta make",
    "delta apply",
    "auto",
    "check",
    "runs",
    "runs rm",
    "history import",
    "scores import",
    "meta import",
    "tasks import-distance",
    "history ls",
    "tasks ls",
    "explain",
    "backtest",
    "push",
    "pull",
    "merge-registry",
    "verify",
    "export",
    "history rm",
    "rm",
    "sync",
    "probe",
    "probe ls",
    "probe show",
    "probe create",
    "probe use",
)
# Too long, or not without the Hub; each has tests of its own.
LONG = ("demo", "publish")


def commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found[prefix + name] = command
    return found


def examples(command: click.Command) -> list[str]:
    return re.findall(r"^\s*(expertise-graph .*)$", command.help or "", re.MULTILINE)


def test_every_command_is_in_the_story():
    assert set(commands(app)) == {*STORY, *LONG}


@pytest.mark.parametrize("name", [*STORY, *LONG])
def test_help_has_an_example_that_the_reference_repeats(name):
    found = examples(commands(app)[name])
    assert found, f"{name} --help has no example"
    assert all(f"`{line}`" in REFERENCE for line in found)
    assert f"| `{name}` |" in REFERENCE


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_commands_of_a_page_are_understood(page, tmp_path, monkeypatch):
    """Their files need not be there, but every command and option must be."""
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("epochs: 2\n")
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(r"```(?:console)?\n(.*?)```", text, re.DOTALL)
    lines = re.findall(r"^(?:\$ )?expertise-graph (.*)$", "\n".join(blocks), re.MULTILINE)
    for line in lines:
        words, group = shlex.split(line, comments=True), app
        ends = [words.index(end) for end in (">", "&&") if end in words]
        words = words[: min(ends)] if ends else words
        while isinstance(command := group.commands[words[0]], click.Group):
            if command.invoke_without_command and not {*words[1:2]} & command.commands.keys():
                break  # options of the group itself
            group, words = command, words[1:]
            if isinstance(group, DefaultGroup) and words[0] not in group.commands:
                words = [group.DEFAULT, *words]
        command.make_context(words[0], words[1:]).close()
    assert lines or page != "warm-start.md"


def test_every_option_has_help():
    for name, command in commands(app).items():
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts} says nothing"


@pytest.mark.slow
def test_examples_run(tmp_path, monkeypatch):
    invoke("init", tmp_path / "other-workspace").worked()
    invoke("--workspace", tmp_path / "other-workspace", "register", "zoo:fashion").worked()
    tmp_path = tmp_path / "workspace"
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    source = ROOT / "examples" / "emoji-redrawn" / "train"
    for folder in sorted(source.iterdir())[:3]:
        for file in sorted(folder.iterdir())[:8]:
            target = tmp_path / "my-images" / folder.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    results = [
        f"{e},{t},accuracy,0.{i}{len(t)}"
        for i, e in enumerate(("emoji", "a", "b"))
        for t in ("pets", "birds")
    ]
    (tmp_path / "results.csv").write_text("\n".join(["expert,task,metric,value", *results, ""]))
    export = "run_id,experiment_id,status,metrics.test_acc,params.model,params.dataset\n"
    (tmp_path / "runs.csv").write_text(f"{export}1,0,FINISHED,0.5,emoji,dogs\n")
    board = {
        "test": [{"main_score": 0.75, "accuracy": 0.75, "hf_subset": "default", "languages": ["eng-Latn"]}]
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "Banking77Classification.json").write_text(
        json.dumps({"task_name": "Banking77Classification", "scores": board, "mteb_version": "2.0"})
    )
    (tmp_path / "results" / "model_meta.json").write_text(json.dumps({"name": "org/a", "revision": "1"}))
    (tmp_path / "scores.csv").write_text("expert,task,estimator,value\nemoji,pets,LogME,0.5\n")
    (tmp_path / "models.csv").write_text("model,dataset\nemoji,openmoji\n")
    (tmp_path / "distances.csv").write_text("task,other,distance\npets,openmoji,2.5\n")
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    shutil.copytree(starter.catalogue_folder(), tmp_path / "our-catalogue")
    for name in STORY:
        if name == "merge":
            (first,) = invoke("runs", "--json").worked().json
            parent = first["expert"]
            again = ("--out", "runs/second", "--expert", parent, "--epochs", 4)
            invoke("warm-start", "./my-images", *again).worked()
            adapter = ("--out", "runs/lora", "--expert", parent, "--epochs", 2, "--strategy", "lora")
            invoke("warm-start", "./my-images", *adapter, "--lr", 3e-3).worked()
        for line in examples(commands(app)[name]):
            done = invoke(*shlex.split(line)[1:])
            assert done.code == 0, f"{line}\n{done.err}"
    assert (tmp_path / "runs" / "first" / "model" / "model.safetensors").is_file()
    assert "graphml" in (tmp_path / "graph.graphml").read_text()
