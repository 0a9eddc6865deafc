"""The registry of plug-ins, with an entry point that is really installed."""

import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.plugins import Registry


@pytest.fixture
def colours():
    registry = Registry("colour")
    registry.register("red", "#f00")
    registry.register("green", "#0f0")
    return registry


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path that adds a colour, another red and a broken one."""
    (tmp_path / "more_colours.py").write_text("VIOLET = '#80f'\nRED = 'not this'\n")
    info = tmp_path / "more_colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-colours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[expertise_graph.colour]\nviolet = more_colours:VIOLET\nred = more_colours:RED\n"
        "odd = no_such_module:X\n"
        "[expertise_graph.shape]\nsquare = more_colours:RED\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_entries_are_found_by_name_and_listed_in_order(colours):
    assert (colours["red"], colours["green"]) == ("#f00", "#0f0")
    assert list(colours) == ["green", "red"]
    assert "red" in colours
    assert "blue" not in colours


def test_register_and_decorator_return_what_they_register(colours):
    @colours.decorator("mix")
    def mix():
        return "#ff0"

    assert colours["mix"] is mix
    assert colours.register("blue", "#00f") == "#00f"
    assert list(colours) == ["blue", "green", "mix", "red"]


def test_a_second_entry_of_a_name_is_refused_and_the_first_kept(colours):
    with pytest.raises(InvalidInputError, match="colour 'red' is registered already"):
        colours.register("red", "#e00")
    assert colours["red"] == "#f00"


def test_an_unknown_name_is_answered_with_the_known_ones(colours):
    with pytest.raises(NotFoundError, match=r"no colour called 'gren'; there are: green, red\..*'green'\?$"):
        colours["gren"]
    with pytest.raises(NotFoundError, match=r"there are: green, red\.$"):
        colours["xyzzy"]


@pytest.mark.usefixtures("installed")
def test_installed_packages_add_entries_and_replace_none(colours):
    assert list(colours) == ["green", "odd", "red", "violet"]
    assert "violet" in colours
    assert "square" not in colours
    assert colours["violet"] == "#80f"
    assert colours["red"] == "#f00"
    with pytest.raises(NotFoundError, match="'violet'"):
        colours["violett"]


@pytest.mark.usefixtures("installed")
def test_a_broken_package_harms_only_its_own_entry(colours):
    assert colours["violet"] == "#80f"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        colours["odd"]
