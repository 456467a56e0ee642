"""The sessions of an exchange: on which days rows are expected, and by when.

Here: what a contract says of them, and which days they leave closed. Not here: schedules, and what is checked on an open day.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from quantlake.contract.errors import QuantLakeError

CALENDAR_START = date(1990, 1, 1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sessions:
    """A session's rows come from ``opens`` on its date, and are there by ``due``: local times, ``due`` of the next day where it is
    not after ``opens``.

    ``calendar`` is a name of ``exchange_calendars``, ``timezone`` an IANA name. ``weekdays`` are those that can have a session,
    from Monday, as that library writes a week mask. Raises ``QuantLakeError`` for a time zone or week mask that is none.
    """

    calendar: str
    timezone: str
    opens: time
    due: time
    weekdays: str = "1111100"

    def __post_init__(self) -> None:
        if len(self.weekdays) != 7 or set(self.weekdays) - {"0", "1"} or "1" not in self.weekdays:
            raise QuantLakeError(f"sessions of {self.calendar}: weekdays {self.weekdays!r} must be seven of 0 and 1, from Monday")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, OSError, ValueError):
            raise QuantLakeError(f"sessions of {self.calendar}: {self.timezone!r} is no IANA time zone") from None

    @property
    def window(self) -> timedelta:
        """From ``opens`` to ``due`` by the clock on the wall, at most a day."""
        found = timedelta(hours=self.due.hour - self.opens.hour, minutes=self.due.minute - self.opens.minute)
        return found if found > timedelta(0) else found + DAY

    @property
    def middle(self) -> timedelta:
        """From the session date's midnight to half-way between ``opens`` and ``due``, in whole minutes."""
        return timedelta(hours=self.opens.hour, minutes=self.opens.minute + self.window // timedelta(minutes=2))

    def closed(self, day: date) -> bool:
        """Whether the exchange has no session on a date; an early close is a session. Raises ``QuantLakeError`` as ``open_sessions``,
        and for a date the calendar does not reach."""
        known = open_sessions(self.calendar)
        last = max(known)
        if not CALENDAR_START <= day <= last:
            raise QuantLakeError(
                f"the calendar {self.calendar} is known from {CALENDAR_START} to {last}, not on {day}; "
                "restart what has run for a year, or update exchange-calendars"
            )
        return day not in known


@cache
def session_hours(calendar: str, day: date) -> tuple[datetime, datetime] | None:
    """Open and close (UTC) of a date's session, early closes included; None: it has none. Raises ``QuantLakeError``: an unknown calendar."""
    if day not in open_sessions(calendar):
        return None
    import exchange_calendars

    found = exchange_calendars.get_calendar(calendar, start=CALENDAR_START.isoformat())
    opens, closes = found.session_open_close(day.isoformat())
    return opens.to_pydatetime(), closes.to_pydatetime()


@cache
def open_sessions(calendar: str) -> frozenset[date]:
    """The sessions that a calendar knows, from ``CALENDAR_START`` to a year ahead. Raises ``QuantLakeError`` for an unknown name."""
    import exchange_calendars  # with pandas 0.5 s of CPU, and a calendar 0.3 s: no code location needs it to load

    try:
        found = exchange_calendars.get_calendar(calendar, start=CALENDAR_START.isoformat())  # its default is 20 years back
    except exchange_calendars.errors.InvalidCalendarName:
        raise QuantLakeError(f"there is no calendar {calendar!r} in exchange_calendars, which has XNYS, XLON, CMES, 24/7, ...") from None
    return frozenset(found.sessions.date)
