"""Numbers as people and tools write them are read as they are meant, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expertise_graph.core.numbers import marks_of, number, plain, whole


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("0,93", ",", "0.93"),
        ("1.234,5", ",", "1234.5"),
        ("1,013.01", ".", "1013.01"),
        ("1 234,5", ",", "1234.5"),
        ("50\u00a0000", ".", "50000"),
        ("50\u202f000", ".", "50000"),
        ("50'000", ".", "50000"),
        ("93.1%", ".", "93.1%"),
        ("93,1 %", ",", "93.1%"),
        ("93.1 ± .4", ".", "93.1"),
        ("93.1% ± 0.4%", ".", "93.1%"),
        ("93.1±0.4 %", ".", "93.1%"),
        ("93.1 +/- 0.4", ".", "93.1"),
        ("93,1 (0,4)", ",", "93.1"),
        ("93.1 (±0.4)", ".", "93.1"),
        ("$93.1 \\pm 0.4$", ".", "93.1"),
        ("**93.1**", ".", "93.1"),
        ("\u22120.5", ".", "-0.5"),
        ("-3e-4", ".", "-3e-4"),
        (".5", ".", ".5"),
        ("5", ",", "5"),
    ],
)
def test_a_number_is_put_in_pythons_form(text, decimal, expected):
    assert plain([text], decimal).texts == [expected]
    assert number(expected) is not None


@pytest.mark.parametrize(
    "text", ["12,34", "1,23,456", "1.2.3", "2021-01-01", "1_000", "nan", "oom", "", "v1.2", "1,2 3"]
)
def test_what_is_no_number_stays_as_it_is(text):
    assert plain([text], ".").texts == [text]


def test_deviations_are_counted():
    assert plain(["93.1 ± .4", "90", "80 (1.2)"], ".").deviations == 2


@pytest.mark.parametrize(
    ("texts", "usual", "decimal"),
    [
        (["0,93", "1"], ".", ","),
        (["0.93", "1"], ",", "."),
        (["1.234,5"], ".", ","),
        (["1,234.5"], ",", "."),
        (["1.234.567"], ".", ","),
        (["1,234,567"], ",", "."),
        (["0,125"], ".", ","),
        (["1,234", "x"], ".", "."),
        (["1,234"], ",", ","),
        (["12,5 ± 0.1"], ".", ","),
    ],
)
def test_the_decimal_mark_is_told_by_all_cells(texts, usual, decimal):
    assert marks_of(texts).decimal(usual) == decimal


def test_numbers_are_finite_and_without_underscores():
    assert [number(t) for t in ("inf", "1e31", "1_0", "", "%", "x%")] == [None] * 6
    assert (number("82 %"), whole("5.0"), whole("5.5"), whole("x")) == (82.0, 5, None, None)


@settings(max_examples=300, deadline=None)
@given(st.floats(-1e6, 1e6, allow_nan=False), st.integers(0, 4), st.sampled_from([".", ","]), st.booleans())
def test_whatever_is_written_is_read_back(value, digits, decimal, grouped):
    written = f"{value:{',' if grouped else ''}.{digits}f}"
    if decimal == ",":
        written = written.translate(str.maketrans(",.", ".,"))
    (read,) = plain([written], decimal).texts
    assert float(read) == float(f"{value:.{digits}f}")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text):
    assert len(plain([text], ",").texts) == 1
    marks_of([text])
    number(text)
