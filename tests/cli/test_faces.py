"""The command line over the facade: settings as options, sources in files, texts as arguments, start-up."""

import inspect
import json
import shutil
import subprocess
import sys

import click
import networkx as nx
import pytest

import expertise_graph as xg
from expertise_graph.cli.app import app, command_line, in_options
from expertise_graph.cli.query import show_ranking
from expertise_graph.core import Baseline, Candidate, Command, Excluded, Expert, Ranking, Task, setting
from tests import materials
from tests.cli.test_cli_docs import commands
from tests.program import environment, invoke

HEAVY = ("torch", "transformers", "peft", "accelerate", "scipy", "sklearn", "networkx", "pyarrow", "optuna")


def of(command, message):
    """Return a message as a command writes it."""
    return in_options(message, click.Context(commands(app)[command], parent=click.Context(app)))


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("query", setting("max_params", "25M"), "--max-params 25M"),
        ("query", setting("max_bytes", 2_500_000), "--max-mb 2.5"),
        ("query", setting("max_bytes"), "--max-mb"),
        ("query", setting("licenses", "mit, apache-2.0"), "--license mit --license apache-2.0"),
        ("query", setting("excluded_licenses", "unknown"), "--exclude-license unknown"),
        ("query", setting("kinds", "merge"), "--kind merge"),
        ("query", setting("trust_code", True), "--trust-code"),
        ("query", setting("workspace"), "--workspace"),
        ("query", setting("epochs", 3), "`epochs=3`"),
        ("warm-start", setting("strategy", "lora"), "--strategy lora"),
        ("warm-start", setting("augment", False), "--no-augment"),
        ("warm-start", setting("text_column"), "--text-column"),
        ("warm-start", setting("item_column", "photo"), "--item-column photo"),
        ("predict", setting("text"), "--text"),
        ("auto", setting("strategies"), "--strategy"),
        ("history import", setting("lower_is_better", "my loss"), "--lower-is-better 'my loss'"),
        ("ls", "a class called `top` stays", "a class called `top` stays"),
    ],
)
def test_settings_in_messages_become_options_of_the_command(command, message, expected):
    assert of(command, message) == expected


def test_an_answer_that_the_demo_shows_names_the_options_of_query(capsys):
    best = Candidate(
        expert=Expert.named("hf:acme/net"),
        predicted=0.8,
        low=0.7,
        high=0.9,
        p_best=1.0,
        ran=False,
        evidence=("known",),
    )
    ranking = Ranking(
        task=Task(id="task:1", name="pets", modality="image", classes=("a", "b"), n=8, locator="pets"),
        experts_run=0,
        baseline=Baseline(name="raw pixels", predicted=0.5),
        candidates=(best,),
        excluded=(Excluded(constraint=setting("max_params", "100M"), candidate=best),),
        notes=(f"{setting('fetch', 4)} downloads the most promising",),
    )
    with click.Context(commands(app)["demo"], parent=click.Context(app)):
        show_ranking(ranking)
    said = capsys.readouterr().out
    assert "excluded by --max-params 100M: hf:acme/net" in said
    assert "--fetch 4 downloads the most promising" in said


def test_a_command_is_written_as_it_is_typed():
    command = Command("warm_start", ("my pets",), {"max_params": 5, "trust_code": True, "force": False})
    assert command_line(command) == "expertise-graph warm-start 'my pets' --max-params 5 --trust-code"
    assert command_line(None) == ""


@pytest.mark.parametrize("name", sorted(commands(app)))
def test_the_first_sentence_of_a_command_fits_the_list_of_commands(name):
    assert not commands(app)[name].get_short_help_str(64).endswith("...")


def test_verbose_works_before_and_behind_the_verb(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    broken = next(data.rglob("*.png"))
    broken.write_bytes(b"no image")
    for words in (("-v", "query", data), ("query", data, "-v"), ("query", "--verbose", data)):
        said = invoke(*words, "--budget", 1).worked().err.splitlines()
        assert said[0].endswith("1 skipped (the image is not a readable image)")
        assert broken.name in said[1]
    said = invoke("query", data, "--budget", 1).worked().err
    assert said.endswith("1 skipped (the image is not a readable image) (-v lists them)\n")
    assert invoke("ls", "-v").worked().out == invoke("ls").worked().out


def test_init_makes_the_workspace_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPERTISE_GRAPH_HOME", str(tmp_path / "home"))
    invoke("init").worked()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home" / "registry.db").is_file()
    invoke("init", tmp_path / "other").worked()
    assert (tmp_path / "other" / "registry.db").is_file()


LINES = """\
# two networks of our own
dir:./one --name first --license mit --tag ours

'dir:./two words' --tag a --tag b   # quoted as in a shell
"""
LIST = """\
- {source: "dir:./one", name: first, license: mit, tags: [ours]}
- source: dir:./two words
  tag: [a, b]
"""


@pytest.mark.parametrize("text", [LINES, LIST])
def test_sources_in_a_file_take_options_each(blank, text):
    materials.resnet(blank / "one", 1)
    materials.resnet(blank / "two words", 2)
    (blank / "sources").write_text(text)
    invoke("register", "--from-file", "sources", "--license", "apache-2.0").worked()
    found = {e["name"]: (e["license"], e["tags"]) for e in invoke("ls", "--json").worked().json}
    assert found == {"first": ("mit", ["ours"]), "two words": ("apache-2.0", ["a", "b"])}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("zoo:emoji\nzoo:clipart --lisense mit\n", ("line 2", "--lisense", "--license")),
        ("zoo:emoji 'zoo:clipart\n", ("line 1", "quotation")),
        ("- name: emoji\n", ("entry 1", "names no source")),
        ("- [\n", ("cannot be read as YAML",)),
        ("zoo:emoji --input-size many\n", ("line 1", "--input-size", "many")),
    ],
)
def test_a_file_of_sources_that_cannot_be_read_registers_none(blank, text, parts):
    (blank / "sources").write_text(text)
    invoke("register", "--from-file", "sources").failed("sources", *parts)
    assert materials.counts(blank)["experts"] == 0


def test_many_sources_are_one_call_and_errors_keep_none_out(blank):
    with xg.Workspace(blank) as workspace:
        options = xg.SourceOptions(tags=("a",))
        found = dict(workspace.register_many([("zoo:emoji", options), ("zoo:no-such", options)]))
    assert "a" in found["zoo:emoji"].tags
    assert isinstance(found["zoo:no-such"], xg.ExpertiseError)
    assert materials.counts(blank)["experts"] == 1


@pytest.fixture(scope="module")
def _trained(registered, tmp_path_factory):
    """A text model in its run folder; not to be written to."""
    folder = tmp_path_factory.mktemp("reader")
    home = shutil.copytree(registered, folder / "workspace")
    table = materials.glosses(folder / "t.csv", 12)
    line = ("--label-column", "label", "--text-column", "text", "--expert", "languages", "--epochs", 1)
    words = ("warm-start", table, "--out", folder / "reader", "--strategy", "linear-probe", *line)
    invoke("--workspace", home, *words).worked()
    return folder / "reader"


@pytest.fixture
def reader(_trained, tmp_path, monkeypatch):
    """A copy of that model in a folder without a workspace, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(_trained, tmp_path / "reader")


def test_a_model_of_texts_takes_texts_as_arguments_and_lines_of_stdin(reader):
    asked = ("a small bird of the sea", "and/or is fine", "word")
    plain = invoke("predict", reader, *asked, "--json").worked().json["predictions"]
    assert [p["input"] for p in plain] == list(asked)
    named = invoke("predict", reader, "--text", asked[0], "--text", asked[1], "--text", asked[2], "--json")
    assert named.worked().json["predictions"] == plain
    piped = invoke("predict", reader, "-", "--json", stdin="\n".join(asked)).worked().json["predictions"]
    assert piped == plain
    invoke("predict", reader, "missing.csv").failed("there is no", "missing.csv")
    with xg.Workspace(reader.parent, must_exist=False) as anywhere:
        answer = anywhere.predict(reader, ["a small bird of the sea"], texts=["missing.csv"])
    assert [p.input for p in answer.predictions] == ["missing.csv", "a small bird of the sea"]


@pytest.mark.parametrize("suffix", ["graphml", "gexf", "gml", "json"])
def test_the_suffix_of_the_graph_is_its_format(workspace, suffix):
    invoke("export", f"graph.{suffix}").worked()
    text = (workspace / f"graph.{suffix}").read_text()
    if suffix == "json":
        graph = nx.node_link_graph(json.loads(text), edges="edges")
    else:
        graph = getattr(nx, f"read_{suffix}")(workspace / f"graph.{suffix}")
    assert len(graph) == materials.counts(workspace)["experts"]


def test_an_unknown_suffix_is_refused_with_the_formats(workspace):
    invoke("export", "graph.html").failed(".graphml, .gexf, .gml, .json", "--format")
    assert not (workspace / "graph.html").exists()
    invoke("export", "graph.html", "--format", "gml").worked()
    assert (workspace / "graph.html").read_text().startswith("graph [")


def test_show_prints_numbers_with_units(workspace):
    shown = invoke("show", "emoji").worked().out
    assert "499.1k" in shown
    assert "1.0 MB" in shown
    exact = invoke("show", "emoji", "--json").worked().json
    assert 499_000 < exact["params"] < 499_200


LISTINGS = [["ls"], ["show", "emoji"], ["similar", "emoji"], ["runs"], ["history", "ls"], ["tasks", "ls"]]


def heavy_after(code, cwd):
    """Return the heavy modules that are loaded after some code has run in a process of its own."""
    program = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=environment(cwd / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def test_listing_verbs_of_the_facade_load_nothing_that_runs_a_model(workspace):
    code = (
        "import expertise_graph as xg\n"
        "w = xg.Workspace('.')\n"
        "w.experts(); w.show('emoji'); w.similar('emoji'); w.runs(); w.history(); w.tasks(); w.probe_sets()\n"
        "w.names(); w.expert('emoji')\n"
    )
    assert heavy_after(code, workspace) == []


def test_listing_commands_load_nothing_that_runs_a_model(workspace):
    code = (
        "from click.testing import CliRunner\nfrom expertise_graph.cli import app\n"
        f"for words in {LISTINGS!r}:\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        f"    assert not [m for m in {HEAVY!r} if m in sys.modules], words\n"
    )
    assert heavy_after(code, workspace) == []


def test_a_model_is_used_without_any_workspace(reader, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    invoke("predict", reader, "a bird").worked()
    invoke("predict", "no-such-model", "a bird").failed("there is no folder no-such-model", "no registry")
    with xg.Workspace(must_exist=False) as nowhere:
        assert not nowhere.exists
        with pytest.raises(xg.NotFoundError, match=r"no workspace in"):
            nowhere.experts()


def test_every_verb_of_the_facade_is_documented():
    verbs = {n: v for n, v in vars(xg.Workspace).items() if not n.startswith("_") and inspect.isfunction(v)}
    assert len(verbs) > 30
    assert [name for name, verb in verbs.items() if not verb.__doc__] == []
