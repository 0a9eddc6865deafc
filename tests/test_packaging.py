"""What is installed, from where, and what must not be in the tree."""

import ast
import importlib
import os
import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(p for p in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"] if p.is_file())
MACHINE_PATH = re.compile(rb"(?<![\w.])/(root|work|home)/")
PACKAGE_INDEX = re.compile(rb"https?://[^\s\"')]*/simple\b|--(extra-)?index-url|--find-links")


def lines(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()]


def requirements(file: str) -> list[Requirement]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return [Requirement(line) for line in lines(text) if not line.startswith("#")]


@pytest.fixture(scope="module")
def config() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def extras(config: ConfigParser) -> dict[str, list[Requirement]]:
    return {name: [*map(Requirement, lines(v))] for name, v in config["options.extras_require"].items()}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files that are, or with the next commit would be, part of the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_metadata(config: ConfigParser) -> None:
    metadata = config["metadata"]
    assert (metadata["name"], metadata["version"]) == ("expertise-graph", "0.1.0")
    assert metadata["license"] == "Apache-2.0"
    assert "License ::" not in metadata["classifiers"]
    assert "Version 2.0, January 2004" in (ROOT / metadata["license_files"]).read_text(encoding="utf-8")
    assert config["options"]["python_requires"] == ">=3.11"


def test_console_scripts_can_be_called(config: ConfigParser) -> None:
    scripts = dict(line.split(" = ") for line in lines(config["options.entry_points"]["console_scripts"]))
    assert set(scripts) == {"expertise-graph", "xg"}
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_extra_all_is_all(config: ConfigParser, extras: dict[str, list[Requirement]]) -> None:
    (everything,) = extras["all"]
    assert everything.name == config["metadata"]["name"]
    assert everything.extras == set(extras) - {"all"}


def test_every_extra_that_is_named_exists(extras: dict[str, list[Requirement]]) -> None:
    files = [*ROOT.glob("*.md"), *PROGRAMS, ROOT / "Makefile"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named = re.findall(r"(?:expertise-graph|(?<=['\"\s])\.)\[([a-z,]+)\]|EXTRAS=([a-z,]+)", text)
    names = {name for pair in named for part in pair for name in part.split(",") if name}
    assert {"dev", "bench"} <= names <= set(extras)


def test_constraints_pin_all_that_is_required(
    config: ConfigParser, extras: dict[str, list[Requirement]]
) -> None:
    pins = {r.name.lower().replace("_", "-"): str(r.specifier) for r in requirements("constraints.txt")}
    assert all(re.fullmatch(r"==[\w.]+", pin) for pin in pins.values())
    asked = [Requirement(line) for line in lines(config["options"]["install_requires"])]
    asked += [r for name in ("starter", "dev", "timm") for r in extras[name]]
    for requirement in asked:
        version = Version(pins[requirement.name.lower().replace("_", "-")].removeprefix("=="))
        assert version in requirement.specifier, requirement


def test_starter_weights_have_one_version(extras: dict[str, list[Requirement]]) -> None:
    listed = {str(r) for r in requirements("starter-requirements.txt")}
    assert {str(r) for r in extras["starter"]} < listed
    assert all("==" in line for line in listed)


def test_all_data_of_the_package_is_installed(config: ConfigParser, tracked: list[Path]) -> None:
    package = ROOT / "expertise_graph"
    patterns = lines(config["options.package_data"]["expertise_graph"])
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    data = {p for p in tracked if p.is_relative_to(package) and p.suffix != ".py"}
    assert package / "py.typed" in data
    assert data <= installed


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_scripts_parse(program: Path) -> None:
    text = program.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    if "python" in first or program.suffix == ".py":
        ast.parse(text)
    else:
        done = subprocess.run(["bash", "-n", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("program", [p for p in PROGRAMS if not p.name.startswith("_")], ids=lambda p: p.name)
def test_scripts_can_be_executed(program: Path) -> None:
    assert os.access(program, os.X_OK)
    assert program.read_text(encoding="utf-8").startswith("#!/usr/bin/env ")


def test_nothing_names_a_machine_or_a_package_index(tracked: list[Path]) -> None:
    contents = {path: path.read_bytes() for path in tracked}
    assert [p for p, content in contents.items() if MACHINE_PATH.search(content)] == []
    here = Path(__file__)
    assert [p for p, content in contents.items() if p != here and PACKAGE_INDEX.search(content)] == []


def test_no_finished_run_is_in_the_tree(tracked: list[Path]) -> None:
    fixtures = ROOT / "tests" / "compat"
    names = ("run.json", "head.safetensors", "head.json")
    left = [str(p) for p in tracked if p.name in names and not p.is_relative_to(fixtures)]
    assert left == []


def test_the_checks_above_can_fail() -> None:
    assert MACHINE_PATH.search(b'open("/' + b'root/x")')
    assert not MACHINE_PATH.search(b"build/work/lib")
    assert PACKAGE_INDEX.search(b"pip install --extra-" + b"index-url there")
