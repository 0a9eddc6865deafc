"""What the package exports, and how cheaply it starts."""

import importlib
import inspect
import resource
import subprocess
import sys

import pytest

import expertise_graph

HEAVY = ("torch", "faiss", "numpy", "rich", "transformers", "networkx", "pyarrow", "sqlite_utils")


def python(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", expertise_graph.__all__)
def test_every_public_name_is_there_and_explained(name):
    value = getattr(expertise_graph, name)
    if name not in ("__version__", "MODALITIES"):
        assert inspect.isclass(value)
        assert value.__name__ == name
        assert importlib.import_module(value.__module__).__dict__[name] is value
        assert value.__doc__


def test_public_names_are_sorted_and_given_once():
    assert expertise_graph.__all__ == sorted(set(expertise_graph.__all__))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'expertise_graph'.*'Wrokspace'"):
        expertise_graph.Wrokspace  # noqa: B018


@pytest.mark.parametrize("module", ["expertise_graph", "expertise_graph.cli", "expertise_graph.core.errors"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    assert python("-c", code).split() == []


def test_the_check_for_heavy_modules_would_notice_one():
    code = f"import sys, numpy; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    assert python("-c", code).split() == ["numpy"]


def test_a_lazy_name_loads_only_its_own_module():
    code = "import sys; from expertise_graph import Expert; print('torch' in sys.modules, Expert.__name__)"
    assert python("-c", code).split() == ["False", "Expert"]


def processor_seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_printed_at_once():
    assert "register" in python("-m", "expertise_graph", "--help")
    # In seconds it would be a test of the machine: click alone takes a third of it, torch ten times as much.
    programs = (("-c", "import click"), ("-m", "expertise_graph", "--help"))
    click, ours = (min(processor_seconds(*program) for _ in range(5)) for program in programs)
    assert 0 < ours < 6 * click


def test_the_version_is_that_of_the_command():
    assert expertise_graph.__version__ in python("-m", "expertise_graph", "--version")
