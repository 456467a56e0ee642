"""Clocks of recorded files: wall-clock times to UTC, and the session that a time belongs to.

Here: zones that are wrong or change, CMES sessions. Not here: which source has which clock (lean, databento, csv_bars).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from quantlake.contract import QuantLakeError

UTC = pl.Datetime("us", "UTC")
YEARS = (1972, 2200)  # CME's first futures on money; what pandas' times hold


def to_utc(wall: pl.Series, zone: str) -> pl.Series:
    """Naive wall-clock times in ``zone`` as UTC: of an hour that comes twice the first, null where the zone skips the time."""
    return wall.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def cmes_sessions(times: pl.Series) -> pl.Series:
    """The date of the CMES session that each time (UTC) belongs to: the last one that has opened by then.

    A session of CME's Globex opens on the evening before its date, at 17:00 in Chicago; what is printed after its close (a weekend,
    a holiday) still belongs to it. The calendar is ``exchange_calendars``' CMES. Raises ``QuantLakeError`` for years that it cannot have.
    """
    if times.is_empty():
        return pl.Series(times.name, [], pl.Date)
    microseconds = times.cast(UTC).to_physical().to_numpy()
    years = pl.Series([microseconds.min(), microseconds.max()]).cast(pl.Datetime("us")).dt.year()
    if years[0] < YEARS[0] or years[1] > YEARS[1]:
        raise QuantLakeError(f"there are no CMES sessions of {years[0]} to {years[1]}, only of {YEARS[0]} to {YEARS[1]}; is the file's date right?")
    opens, dates = _cmes(years[0], years[1])
    return pl.Series(times.name, dates[np.searchsorted(opens, microseconds, side="right") - 1])


@lru_cache(maxsize=16)
def _cmes(first_year: int, last_year: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.datetime64]]:
    """Opens (microseconds since 1970) and dates of the sessions of these years, and of a month around them."""
    import exchange_calendars  # costs half a second, which only futures should pay

    schedule = exchange_calendars.get_calendar("CMES", start=f"{first_year - 1}-12-01", end=f"{last_year + 1}-01-31").schedule
    opens = schedule["open"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return opens, schedule.index.to_numpy().astype("datetime64[D]")
