"""The README is true: its commands run, and name the experts that it shows; its Python runs."""

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from expertise_graph.models.zoo import starter_names
from tests.program import invoke

# All commands of the README are run once, which takes a minute.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FIRST = re.compile(r"^ 1 +(\S+)", re.MULTILINE)
SHORT = re.compile(r"[\w.-]+@[0-9a-f]{8}")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Return each command of the tour with the output that the README shows for it."""
    tour = "\n".join(blocks("console"))
    return [(part.split("\n", 1)[0], part.partition("\n")[2]) for part in tour.split("$ ")[1:]]


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Run the commands of the README in their order; return their outputs and the folder."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "400")
        # As users have it: published models are known.
        patch.delenv("EXPERTISE_GRAPH_CATALOGUE")
        outputs = []
        for line, _ in commands():
            done = invoke(*shlex.split(line)[1:])
            assert done.code == 0, f"{line}\n{done.err}"
            outputs.append(done.out + done.err)
    return folder, outputs


def test_commands_name_the_experts_shown(tour):
    _, outputs = tour
    for (line, shown), output in zip(commands(), outputs, strict=True):
        # Children are trained anew here, and other processors round otherwise.
        expected = {name for name in SHORT.findall(shown) if name.split("@")[0] in starter_names()}
        assert expected <= set(SHORT.findall(output)), line


def test_the_best_expert_is_the_one_shown(tour):
    _, outputs = tour
    queries = [i for i, (line, _) in enumerate(commands()) if " query " in line]
    assert len(queries) >= 3
    for i in queries:
        first = [FIRST.search(text) for text in (commands()[i][1], outputs[i])]
        assert None not in first
        assert first[0][1] == first[1][1]


def test_what_predictions_rest_on_is_shown_as_it_is_printed(tour):
    _, outputs = tour
    notes = [
        (line, output)
        for (_, shown), output in zip(commands(), outputs, strict=True)
        for line in shown.splitlines()
        if line.startswith("predictions ")
    ]
    assert len(notes) >= 2
    for line, output in notes:
        assert line in output.splitlines()


def test_the_warm_start_gains(tour):
    _, outputs = tour
    gain = re.search(r"transfer gain ([+-][\d.]+) points", "".join(outputs))
    assert gain is not None
    assert float(gain[1]) >= 15


def test_python_runs(tour):
    folder, _ = tour
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("latin-letters ")
    assert done.stdout.strip().endswith(" 0")


def test_the_examples_of_the_estimators_run():
    results = doctest.testfile(str(ROOT / "docs" / "estimators.md"), module_relative=False)
    assert results.attempted > 0
    assert results.failed == 0


DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)# ,]+)\)", prose)
    for link in links:
        assert link.startswith("https://") or (path.parent / link).exists(), link
