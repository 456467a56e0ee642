"""Exchange calendars: sessions out of the library ``exchange_calendars``, and out of CSV files laid out as its schedules.

Here: both to rows of the calendars. Not here: which rows are due on a session.

A file is called after its calendar (``xnys.csv``, also ``.csv.gz``; ``24-7.csv`` is the library's `24/7`), its header is
``,open,close,break_start,break_end``, its first column the session, its times have an offset (``2014-03-24T13:30:00Z``). Whether a session is
a half day the library says, where it knows the session.

- ``known_at`` is 00:00 UTC a year before the session, a closure's of the day itself: assumed. Closures are the sessions that the library's
  ad hoc holidays took away. It knows no other word for a holiday that it computes otherwise (Tokyo's equinoxes), and calendars whose
  holidays are all listed (Hong Kong's) have nothing else: of these no session is taken for planned.
- ``source_name`` is ``exchange_calendars/<calendar>``, of a file ``calendars/<file name>``. The library's rows have as ``source_version`` the
  sha256 of their text.

Library: https://github.com/gerrymanoim/exchange_calendars.
"""

import re
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.contract.sessions import CALENDAR_START
from quantlake.datasets.reference import calendars, common
from quantlake.sources import text
from quantlake.sources.clocks import UTC
from quantlake.sources.importers import Importer, Recognised, Rows, content, decoded, sha256
from quantlake.sources.provenance import stamped, unique

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

SUFFIX = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)
RENAMED = {"24-7": "24/7"}  # a name with a slash is no file's
HEADER = ",open,close,break_start,break_end"
TIMES = ("open", "close", "break_start", "break_end")
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$"
WEEK = timedelta(days=7)  # the library takes no single day
CELLS = {"session": TIME, "open": TIME, "close": TIME, "break_start": "^$|" + TIME, "break_end": "^$|" + TIME}


def recognise(path: Path) -> Recognised:
    """By content: a ``.csv`` or ``.csv.gz`` with this header."""
    if not SUFFIX.search(path.name):
        return None
    head = content(path, 2 * len(HEADER)).decode("utf-8-sig", errors="replace").split("\n")[0].rstrip("\r")
    return Importer("exchange calendar", read) if head == HEADER else None


def read(path: Path) -> Rows:
    """The sessions of one file. Raises ``QuantLakeError`` naming file and line: columns, a time that is none, a session twice."""
    raw, where = content(path), str(path)
    lines = text.lines(decoded(raw, where))
    if not len(lines) or lines[0] != HEADER:
        raise QuantLakeError(f"{where} line 1: its header must be {HEADER}")
    cells = text.cells(lines.slice(1), CELLS, where, first_line=2)
    rows = cells.select(_time(cells[name], where) for name in CELLS).with_columns(pl.col("session").dt.date())
    unique(rows.select("session"), where, first_line=2)
    stem = SUFFIX.sub("", path.name)
    calendar = RENAMED.get(stem, stem.upper())
    sessions = rows.join(_half_days(calendar, rows["session"]), on="session", how="left", maintain_order="left")
    yield calendars.raw, _stamped(sessions.with_columns(is_closed=pl.lit(False)), calendar, f"calendars/{stem}.csv".lower(), sha256(raw))


def reach(name: str, today: date) -> tuple[date, date]:
    """The first and last date that are asked of a calendar where no one says which: from 1990, or when it begins, to a year from ``today``."""
    kind = type(_calendar(name, today - WEEK, today))
    first, last = kind.bound_min(), kind.bound_max()
    ahead = pl.select(pl.lit(today).dt.offset_by("1y")).item()
    return max(CALENDAR_START, first.date() if first else CALENDAR_START), min(ahead, last.date() if last else ahead)


def from_library(name: str, first: date, last: date) -> pa.Table:
    """The sessions of a calendar from ``first`` to ``last`` (inclusive) and its unplanned closures, typed as ``calendars.raw``.

    Raises ``QuantLakeError`` for a name or dates that the library does not know, and for dates before 1990.
    """
    if first < CALENDAR_START:
        raise QuantLakeError(f"{name} from {first}: sessions are kept from {CALENDAR_START} on")
    known = _calendar(name, first, last)
    rows = _schedule(known).with_columns(is_closed=pl.lit(False))
    closed = _closed(known, first, last).with_columns(is_closed=pl.lit(True))
    planned = closed.with_columns(is_closed=pl.lit(False))
    every = pl.concat([rows, planned, closed]).sort("session", "is_closed")
    asked = f"exchange_calendars/{name}/{first}/{last}".lower()  # of other dates it is another file, which takes nothing away
    return _stamped(every, name, asked, sha256(every.write_csv().encode()))


def _calendar(name: str, first: date, last: date) -> "ExchangeCalendar":
    import exchange_calendars  # with pandas 0.5 s of CPU, and a calendar 0.3 s

    try:
        return exchange_calendars.get_calendar(name, start=first.isoformat(), end=last.isoformat())
    except exchange_calendars.errors.InvalidCalendarName:
        raise QuantLakeError(f"there is no calendar {name!r} in exchange_calendars, which has XNYS, XLON, CMES, 24/7, ...") from None
    except (ValueError, exchange_calendars.errors.CalendarError) as error:
        raise QuantLakeError(f"exchange_calendars does not have {name} from {first} to {last}: {error}") from error


def _schedule(known: "ExchangeCalendar") -> pl.DataFrame:
    """``session``, times and ``is_half_day`` of the calendar's sessions."""
    schedule: Any = known.schedule
    times = {name: pl.Series(_naive(schedule[name])).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for name in TIMES}
    short = known.early_closes.union(known.late_opens)
    return pl.DataFrame({
        "session": pl.Series(schedule.index.to_numpy().astype("datetime64[D]")), **times, "is_half_day": pl.Series(schedule.index.isin(short)),
    })  # fmt: skip


def _naive(times: Any) -> Any:
    return times.dt.tz_localize(None).to_numpy().astype("datetime64[us]")


def _closed(known: "ExchangeCalendar", first: date, last: date) -> pl.DataFrame:
    """The sessions there would have been without ad hoc holidays, as they would have been."""
    from exchange_calendars.precomputed_exchange_calendar import PrecomputedExchangeCalendar

    kind = type(known)
    if issubclass(kind, PrecomputedExchangeCalendar):
        return _schedule(known).clear()
    planned = type(f"Planned{kind.__name__}", (kind,), {"adhoc_holidays": []})(first.isoformat(), last.isoformat())
    held = pl.Series(known.sessions.to_numpy().astype("datetime64[D]"))
    return _schedule(planned).filter(~pl.col("session").is_in(held.implode()))


def _half_days(name: str, sessions: pl.Series) -> pl.DataFrame:
    """``session`` and ``is_half_day`` of those that the library knows."""
    none = pl.DataFrame(schema={"session": pl.Date, "is_half_day": pl.Boolean})
    if sessions.is_empty():
        return none
    first, last = sessions.min(), sessions.max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    try:
        return _schedule(_calendar(name, first, last + WEEK)).select("session", "is_half_day")
    except QuantLakeError:
        return none


def _time(printed: pl.Series, where: str) -> pl.Series:
    times = printed.replace("", None).str.to_datetime("%+", time_unit="us", strict=False).cast(UTC)
    for row in (times.is_null() & (printed != "")).arg_true().head(1):
        raise QuantLakeError(f"{where} line {row + 2}: {printed.name} is {printed[row]!r}, no time")
    return times


def _stamped(rows: pl.DataFrame, calendar: str, name: str, version: str) -> pa.Table:
    planned = pl.when("is_closed").then("session").otherwise(pl.col("session").dt.offset_by("-1y"))
    whole = rows.with_columns(
        calendar=pl.lit(calendar),
        source=pl.lit("exchange_calendars"),
        event_time=pl.col("open"),
        known_at=common.midnight(planned, "UTC"),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    )
    return stamped(calendars.raw, whole, name, version, "assumed")
