"""Numbers of text: whatever notation, exactly what Python's decimal says, or refused; clocks and sessions."""

import gzip
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.sources.clocks import cmes_sessions, to_utc
from quantlake.sources.text import NUMBER, cells, exact, lines
from quantlake_tests.recorded import recorded

WIDE = Context(prec=200)
PLACE = Decimal(1).scaleb(-18)
numbers = st.from_regex(NUMBER.strip("^$"), fullmatch=True).filter(str.isascii)


@settings(deadline=None)
@given(st.lists(numbers, max_size=20), st.sampled_from([0, 4, 9]))
def test_a_number_is_read_exactly_or_refused(texts: list[str], shift: int) -> None:
    expected = [WIDE.scaleb(WIDE.create_decimal(text), -shift) for text in texts]
    held = [value == value.quantize(PLACE, context=WIDE) and abs(value) < Decimal(10) ** 20 for value in expected]
    try:
        found, refused = exact(pl.Series(texts, dtype=pl.String), "file", shift).to_list(), ""
    except QuantLakeError as error:
        found, refused = [], str(error)
    if refused:
        at = next(i for i in range(len(texts)) if refused.startswith(f"file line {i + 1}: "))
        assert texts[at] in refused and not held[at]
    else:
        assert found == expected and all(held)


@settings(deadline=None)
@given(st.lists(st.floats(-1e15, 1e15), max_size=20))
def test_the_text_of_a_float_is_rounded_where_it_is_finer_than_the_decimal(values: list[float]) -> None:
    texts = [repr(value) for value in values]
    try:
        found = exact(pl.Series(texts, dtype=pl.String), "file", floats=True).to_list()
    except QuantLakeError:  # few digits and many places, or beyond what is read
        assert any(0 < abs(value) < 1e-3 for value in values)
    else:
        assert all(abs(got - Decimal(text)) <= PLACE / 2 for got, text in zip(found, texts, strict=True))


@pytest.mark.parametrize(("text", "shift", "expected"), [
    ("1815200", 4, "181.52"), ("1.819e-05", 0, "0.00001819"), ("2.130000000000000000000000", 0, "2.13"), ("-1E+2", 0, "-100"),
    ("000000000000000001.5", 0, "1.5"), ("0", 4, "0"), ("0e99", 0, "0"), ("0.001e22", 0, "1e19"), ("100000000E18", 9, "1e17"),
])
def test_notations(text: str, shift: int, expected: str) -> None:
    assert exact(pl.Series([None, text]), "file", shift).to_list() == [None, Decimal(expected)]


@pytest.mark.parametrize(("text", "floats"), [
    ("0.0000000000000000001", False), ("0.0000000000000000001", True), ("9.999999747378752e-05", False), ("1e-60", True), ("1e21", True),
])
def test_what_cannot_be_held_is_named(text: str, floats: bool) -> None:
    with pytest.raises(QuantLakeError, match=rf"file line 3: .*{text}"):
        exact(pl.Series(["1", "2", text]), "file", floats=floats)


def test_lines_and_cells() -> None:
    assert [lines(text).to_list() for text in ("", "a", "a\n", "a\r\nb", "a\n\n")] == [[], ["a"], ["a"], ["a", "b"], ["a", ""]]
    assert cells(lines("1,x\n2,y"), {"n": "^[0-9]$", "any": ""}, "f").rows() == [("1", "x"), ("2", "y")]
    with pytest.raises(QuantLakeError, match="f line 8: n cannot be 'z'"):
        cells(lines("1,x\nz,y"), {"n": "^[0-9]$", "any": ""}, "f", first_line=7)


def test_sessions_are_those_of_the_published_calendar() -> None:
    """At its open a time belongs to a session, a microsecond earlier to the one before."""
    with gzip.open(recorded("reference/exchange_calendars/cmes.csv.gz"), "rt") as file:
        sessions = [line.split(",")[:2] for line in file.read().splitlines()[1:]]
    dates = [date.fromisoformat(session[:10]) for session, _ in sessions]
    opens = pl.Series([datetime.fromisoformat(opened) for _, opened in sessions]).cast(pl.Datetime("us", "UTC"))
    assert len(dates) == 7_106
    assert cmes_sessions(opens).to_list() == dates
    assert cmes_sessions(opens.dt.offset_by("-1us")).to_list()[1:] == dates[:-1]


def test_sessions_of_times_in_any_order_and_of_none() -> None:
    times = [datetime(2013, 10, 7, 22, tzinfo=UTC), datetime(2013, 10, 7, 21, 59, 59, tzinfo=UTC), datetime(2013, 10, 12, 12, tzinfo=UTC)]
    series = pl.Series(times).cast(pl.Datetime("us", "UTC"))
    assert cmes_sessions(series).to_list() == [date(2013, 10, 8), date(2013, 10, 7), date(2013, 10, 11)]
    assert cmes_sessions(series.clear()).to_list() == []
    with pytest.raises(QuantLakeError, match="no CMES sessions of 2013 to 9013"):
        cmes_sessions(pl.Series([*times, datetime(9013, 1, 1, tzinfo=UTC)]).cast(pl.Datetime("us", "UTC")))


@settings(deadline=None)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)))
def test_fxcm_is_five_hours_behind_all_year(wall: datetime) -> None:
    assert to_utc(pl.Series([wall]), "Etc/GMT+5")[0] == wall.replace(tzinfo=UTC) + timedelta(hours=5)
