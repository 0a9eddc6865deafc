"""The exceptions are those that the module draws."""

import inspect

import pytest

import expertise_graph
from expertise_graph.core import errors
from expertise_graph.core.errors import ExpertiseError, did_you_mean


def drawn():
    """Names of exceptions with that of their parent, from the tree in the docstring."""
    lines = [line for line in errors.__doc__.splitlines() if "Error" in line and line.startswith("    ")]
    parents, path = {}, []
    for line in lines:
        name = line.lstrip(" │├└─").split()[0]
        depth = (line.index(name) - 4) // 4
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else "Exception"
    return parents


def defined():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]
    return {c.__name__: c.__base__.__name__ for c in classes}


def test_the_tree_is_the_one_in_the_docstring():
    assert drawn() == defined()
    assert drawn()["DatasetError"] == "InvalidInputError"


def test_every_exception_is_public_explained_and_has_one_root():
    for name in defined():
        exception = getattr(errors, name)
        assert issubclass(exception, errors.ExpertiseError)
        assert exception.__mro__[1:].count(errors.ExpertiseError) <= 1
        assert getattr(expertise_graph, name) is exception
        assert name in expertise_graph.__all__
        assert exception.__doc__.endswith(".")


@pytest.mark.parametrize(
    ("given", "possible", "says"),
    [
        ("lattin", ["greek", "latin"], " Did you mean 'latin'?"),
        ("latin", iter(["latin2", "latin"]), " Did you mean 'latin'?"),
        ("xyz", ["greek", "latin"], ""),
        ("latin", [], ""),
    ],
)
def test_did_you_mean_names_the_nearest_or_nothing(given, possible, says):
    assert did_you_mean(given, possible) == says


def test_an_error_is_one_line_whatever_it_quotes():
    assert str(errors.DatasetError("no column 'a\nb\x1b[31m'")) == "no column 'a b [31m'"


def test_an_error_that_quotes_a_long_text_keeps_its_beginning_and_what_to_do():
    said = str(ExpertiseError(f"the name {'x' * 100_000} is no name; give another"))
    assert said.startswith("the name xxx")
    assert said.endswith("xxx is no name; give another")
    assert len(said) < 2000
    assert str(ExpertiseError("y" * 1800)) == "y" * 1800
