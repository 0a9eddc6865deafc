"""Settings in messages, and names that cannot break what they are put into."""

from expertise_graph.core import byte_size, inline, printable, setting, shorten, with_settings


def flag(name, value):
    dashed = "--" + name.replace("_", "-")
    return dashed if value is None else f"{dashed} {value}"


def test_settings_take_the_form_of_the_face_that_shows_them():
    message = f"{setting('max_params', '25M')} leaves nothing; choose another {setting('out')} or `x y`"
    assert message == "`max_params=25M` leaves nothing; choose another `out` or `x y`"
    assert with_settings(message, flag) == "--max-params 25M leaves nothing; choose another --out or `x y`"


def test_a_name_cannot_leave_its_line_or_cell():
    assert inline("a|b`c\nd\x1b[31m\u202ee") == "a/b'c d [31m e"
    assert printable("a\nb") == "a b"


def test_long_names_keep_the_end_of_a_path():
    assert shorten("deep/er/than/this.png", 12) == ".../this.png"
    assert shorten("short", 12) == "short"


def test_sizes_have_units_that_people_use():
    assert [byte_size(n) for n in (0, 999, 1000, 90_868_376, 3e9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "90.9 MB",
        "3.0 GB",
    ]
