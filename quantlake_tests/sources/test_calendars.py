"""Calendars: recorded files against the library, unplanned closures, half days, and bad files."""

import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError, Rows
from quantlake.datasets.reference import calendars as dataset
from quantlake.sources import calendars
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame, require_counted

HOURS = ("session", "open", "close", "break_start", "break_end")
LINE = "2014-03-24T00:00:00Z,2014-03-24T13:30:00Z,2014-03-24T20:00:00Z,,"


def read(path: Path) -> pl.DataFrame:
    found = calendars.recognise(path)
    assert isinstance(found, Importer)
    rows = frame(dataset.raw, found.read(path))
    require_counted(rows)
    return rows


def from_library(name: str, first: date, last: date) -> pl.DataFrame:
    rows = pl.DataFrame(calendars.from_library(name, first, last))
    require_counted(rows)
    return rows


def shown(rows: pl.DataFrame, at: datetime | None = None) -> pl.DataFrame:
    """The sessions of the table's default view, or as known then."""
    known = rows.filter(pl.col("known_at") <= at) if at else rows
    newest = known.sort("known_at", maintain_order=True).unique(dataset.calendars.key, keep="last")
    return newest.filter(~pl.col("is_closed")).sort("session")


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([calendars.HEADER, *lines]) + "\n")
    return path


@pytest.mark.parametrize(("name", "calendar", "sessions", "half_days", "breaks"), [
    ("24-7", "24/7", 366, 0, 0), ("cmes", "CMES", 7_106, 198, 0), ("xhkg", "XHKG", 8_803, 59, 8_744), ("xlon", "XLON", 8_515, 65, 0),
    ("xnys", "XNYS", 8_324, 69, 0), ("xtks", "XTKS", 6_613, 0, 6_613),
])  # fmt: skip
def test_recorded_files_are_what_the_library_has(name: str, calendar: str, sessions: int, half_days: int, breaks: int) -> None:
    rows = read(recorded(f"reference/exchange_calendars/{name}.csv.gz"))
    first, last = rows["session"].min(), rows["session"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    library = from_library(calendar, first, last)
    assert rows["calendar"].unique().to_list() == [calendar]
    assert shown(library).select(HOURS).equals(rows.select(HOURS))
    assert shown(library)["is_half_day"].equals(rows["is_half_day"])
    assert (len(rows), rows["is_half_day"].sum(), rows["break_start"].count()) == (sessions, half_days, breaks)
    for check in dataset.calendars.checks:
        assert isinstance(check, Rows)
        assert pl.concat([rows, library]).filter(check.bad.fill_null(False)).is_empty()


def test_an_unplanned_closure_is_known_on_the_day_itself() -> None:
    rows = from_library("XNYS", date(2012, 10, 1), date(2012, 11, 30))
    sandy = pl.col("session").is_in([date(2012, 10, 29), date(2012, 10, 30)])
    assert shown(rows).filter(sandy).is_empty()
    before = shown(rows, datetime(2012, 10, 22, tzinfo=UTC)).filter(sandy)
    assert before["open"].to_list() == [datetime(2012, 10, day, 13, 30, tzinfo=UTC) for day in (29, 30)]
    assert shown(rows, datetime(2012, 10, 29, tzinfo=UTC)).filter(sandy)["session"].to_list() == [date(2012, 10, 30)]
    closed = rows.filter("is_closed")
    assert closed["partition_date"].to_list() == closed["session"].to_list()


def test_a_session_is_known_a_year_before() -> None:
    rows = from_library("24/7", date(2020, 2, 28), date(2020, 3, 1))
    assert rows["known_at"].to_list() == [datetime(2019, month, day, tzinfo=UTC) for month, day in ((2, 28), (2, 28), (3, 1))]
    assert rows["partition_date"].to_list() == rows["known_at"].dt.date().to_list()
    assert rows["source_records"].to_list() == [2, 2, 1]


def test_holidays_that_are_all_listed_are_no_closures() -> None:
    assert not from_library("XHKG", date(2010, 1, 1), date(2012, 12, 31))["is_closed"].any()


def test_the_library_is_asked_from_1990_to_a_year_ahead() -> None:
    assert calendars.reach("XNYS", date(2026, 2, 1)) == (date(1990, 1, 1), date(2027, 2, 1))
    assert calendars.reach("XTKS", date(2026, 2, 1))[0] == date(1997, 1, 1)


@pytest.mark.parametrize(("name", "first", "last", "found"), [
    ("XNYS", date(1989, 1, 1), date(2000, 1, 1), "sessions are kept from 1990-01-01 on"),
    ("XTKS", date(1990, 1, 1), date(2000, 1, 1), "does not have XTKS from 1990-01-01 to 2000-01-01: The earliest date"),
    ("XNYS", date(2000, 1, 1), date(1999, 1, 1), "does not have XNYS from 2000-01-01 to 1999-01-01"),
    ("NOPE", date(2000, 1, 1), date(2001, 1, 1), "no calendar 'NOPE'"),
])  # fmt: skip
def test_what_the_library_does_not_know_is_named(name: str, first: date, last: date, found: str) -> None:
    with pytest.raises(QuantLakeError, match=found):
        calendars.from_library(name, first, last)


def test_a_calendar_that_the_library_does_not_know_has_no_half_days(tmp_path: Path) -> None:
    rows = read(written(tmp_path / "mine.csv", LINE, "2014-03-25T00:00:00+00:00,2014-03-25T14:30:00+01:00,2014-03-25T20:00:00Z,,"))
    assert rows["calendar"].to_list() == ["MINE", "MINE"]
    assert rows["is_half_day"].to_list() == [None, None]
    assert rows["open"].to_list() == [datetime(2014, 3, day, 13, 30, tzinfo=UTC) for day in (24, 25)]
    assert rows["is_closed"].to_list() == [False, False]


def test_a_file_of_one_session_knows_its_half_day(tmp_path: Path) -> None:
    path = written(tmp_path / "xnys.csv", "2014-11-28T00:00:00Z,2014-11-28T14:30:00Z,2014-11-28T18:00:00Z,,")
    assert read(path)["is_half_day"].to_list() == [True]


@pytest.mark.parametrize(("lines", "found"), [
    (["2014-03-24,1,2,3"], "line 2 has 4 columns, not 5"),
    (["2014-03-24T00:00:00Z,,2014-03-24T20:00:00Z,,"], "line 2: open cannot be ''"),
    ([LINE, LINE.replace("2014-03-24T00", "2014-02-30T00")], "line 3: session is '2014-02-30T00:00:00Z', no time"),
    ([LINE, LINE], "line 3: 2014-03-24 is there a second time"),
    (["<html>"], "line 2 has 1 columns"),
])  # fmt: skip
def test_a_bad_record_is_named(tmp_path: Path, lines: list[str], found: str) -> None:
    path = written(tmp_path / "xnys.csv", *lines)
    with pytest.raises(QuantLakeError) as error:
        read(path)
    assert f"{path} {found}" in str(error.value)


def test_other_files_are_no_calendars(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("session,open,close\n")
    assert calendars.recognise(tmp_path / "a.csv") is None
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(f"{calendars.HEADER}\n{LINE}".encode(), mtime=0)[:-8])
    with pytest.raises(QuantLakeError, match=r"b\.csv\.gz is not a whole gzip file"):
        read(tmp_path / "b.csv.gz")


TIMES = st.one_of(
    st.datetimes(datetime(1990, 1, 1), datetime(2024, 1, 1)).map(lambda t: f"{t:%Y-%m-%dT%H:%M:%SZ}"), st.sampled_from(["", "x", "2014-02-30T00:00:00Z"])
)


@settings(max_examples=60, deadline=timedelta(seconds=10))
@given(st.lists(st.tuples(TIMES, TIMES, TIMES, TIMES, TIMES), max_size=5))
def test_rows_are_the_records_or_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, ...]]) -> None:
    path = written(tmp_path_factory.mktemp("calendars") / "mine.csv", *map(",".join, told))
    numbers, refused = [], ""
    try:
        numbers = read(path)["line_number"].to_list()
    except QuantLakeError as error:
        refused = str(error)
    assert refused.startswith(f"{path} line ") if refused else numbers == list(range(1, len(told) + 1))
