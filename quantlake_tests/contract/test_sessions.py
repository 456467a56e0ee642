"""Sessions of a contract: which days are closed, and that what a contract says of its exchange is what the calendar says."""

from dataclasses import replace
from datetime import date, time, timedelta
from typing import Any

import exchange_calendars
import pytest

from quantlake.contract import QuantLakeError, Sessions, Stream
from quantlake.contract.catalog import discover
from quantlake.contract.sessions import open_sessions

XNYS = Sessions("XNYS", "America/New_York", opens=time(9, 30), due=time(22, 0))


@pytest.mark.parametrize("stream", [s for s in discover().streams if s.sessions], ids=lambda s: s.path)
def test_a_contract_says_of_its_exchange_what_the_calendar_says(stream: Stream) -> None:
    said = stream.sessions
    assert said
    calendar = exchange_calendars.get_calendar(said.calendar)
    assert (said.timezone, said.weekdays) == (str(calendar.tz), calendar.weekmask)
    assert calendar.open_times[-1][1] <= said.opens


def test_weekends_and_holidays_are_closed_and_early_closes_open() -> None:
    days = {date(2025, 11, 27) + timedelta(days=n): n for n in range(5)}  # Thanksgiving to Monday; Friday closes early
    assert [n for day, n in days.items() if XNYS.closed(day)] == [0, 2, 3]
    assert XNYS.closed(date(1990, 1, 1)) and not XNYS.closed(date(1990, 1, 2))
    assert not any(replace(XNYS, calendar="24/7").closed(day) for day in days)


def test_a_day_that_no_calendar_reaches_is_neither_open_nor_closed() -> None:
    for day in (date(1989, 12, 29), date(2999, 1, 4)):
        with pytest.raises(QuantLakeError, match=f"the calendar XNYS is known from 1990-01-01 to .*, not on {day}; restart"):
            XNYS.closed(day)


@pytest.mark.parametrize(("said", "complaint"), [
    ({"weekdays": "11111"}, "weekdays '11111' must be seven of 0 and 1"),
    ({"weekdays": "0000000"}, "must be seven of 0 and 1"),
    ({"timezone": "New York"}, "'New York' is no IANA time zone"),
    ({"timezone": ""}, "'' is no IANA time zone"),
])  # fmt: skip
def test_what_cannot_be_is_refused(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(QuantLakeError, match=complaint):
        replace(XNYS, **said)


def test_an_unknown_calendar_is_named() -> None:
    with pytest.raises(QuantLakeError, match="there is no calendar 'XNYZ'"):
        open_sessions("XNYZ")


@pytest.mark.parametrize(("opens", "due", "hours", "middle"), [
    (time(9, 30), time(22, 0), 12.5, "15:45:00"), (time(16, 0), time(6, 0), 14, "23:00:00"), (time(22, 0), time(6, 0), 8, "1 day, 2:00:00"),
    (time(9, 0), time(9, 0), 24, "21:00:00"), (time(0, 0), time(0, 1), 1 / 60, "0:00:00"),
])  # fmt: skip
def test_rows_are_due_within_a_day(opens: time, due: time, hours: float, middle: str) -> None:
    found = replace(XNYS, opens=opens, due=due)
    assert found.window == timedelta(hours=hours) and str(found.middle) == middle


def test_what_is_built_has_the_sessions_of_its_first_input() -> None:
    catalog = discover()
    traded = {d.path for d in catalog.datasets if d.sessions == catalog["raw/market/trades"].sessions}
    assert {"curated/market/trades", "derived/market/bars_1m", "rollup/market/bars_1m", "derived/market/quote_bars"} <= traded
    assert not traded & {"raw/market/exchange_messages", "curated/market/book_deltas", "derived/market/book_top", "derived/market/feed_gaps"}
    assert {d.calendar for d in catalog.datasets} == {"XNYS", None}
