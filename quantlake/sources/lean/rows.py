"""What all rows of a LEAN file have: clock, partition date, where they come from.

Here: whose clock a market's files have, and the source columns. Not here: prices and sizes (ticks.py, bars.py).

- Equity: New York; the partition is New York's date.
- FXCM: UTC-5 all year (LEAN's readme says EST; returns by the minute correlate 0.991 with OANDA's at +5 h only); OANDA and crypto: UTC.
  The partition is the UTC date, so that one FXCM file has two.
- Futures: UTC; the partition is the CMES session, a daily bar's the date that it prints.

``source_name`` is ``<asset class>/<market>/<resolution>/<symbol>/<date>/<member>`` in lower case. Hour and daily files have no date; where
a symbol has such files of trades and quotes, whose members are called alike, those of quotes have ``quote`` in its place.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import common
from quantlake.sources.clocks import cmes_sessions, to_utc
from quantlake.sources.importers import counted
from quantlake.sources.lean.layout import Kind, Member

MILLISECONDS = r"^[0-9]{1,8}(\.[0-9]{1,6})?$"
STAMP = r"^[0-9]{8} [0-9]{2}:[0-9]{2}$"
DAY_NS = 86_400_000_000_000
FXCM = "Etc/GMT+5"  # POSIX's sign: 5 hours behind UTC
SIZE_UNITS = {"equity": "shares", "forex": "base", "crypto": "base", "future": "contracts"}


@dataclass(frozen=True)
class File:
    """A member of a zip, its kind, the sha256 of its content, and how errors call it."""

    kind: Kind
    member: Member
    version: str
    where: str

    @property
    def zone(self) -> str:
        return common.NEW_YORK if self.kind.asset_class == "equity" else FXCM if self.kind.market == "fxcm" else "UTC"

    @property
    def price_shift(self) -> int:
        """Prices of equities are whole numbers of 1/10,000."""
        return 4 if self.kind.asset_class == "equity" else 0

    @property
    def source_name(self) -> str:
        kind, name = self.kind, self.member.name
        unsaid = not self.member.date and kind.asset_class != "forex" and kind.what != "trade" and f"_{kind.what}" not in name.lower()
        place = self.member.date or (kind.what if unsaid else "")
        parts = (kind.asset_class, kind.market, kind.step, self.member.symbol, place, name)
        return "/".join(part for part in parts if part).lower()


def time_pattern(file: File) -> str:
    return MILLISECONDS if file.member.date else STAMP


def timed(printed: pl.Series, file: File) -> pl.DataFrame:
    """``wall`` (naive), ``event_time`` (UTC) and ``event_time_ns`` (where milliseconds have a fraction) of each record.

    Raises ``QuantLakeError`` naming the line of a time that does not exist: beyond the day, or skipped by the zone's clock.
    """
    times = _of_day(printed, file) if file.member.date else _stamped(printed)
    times = times.with_columns(event_time=to_utc(times["wall"], file.zone))
    for row in times["event_time"].is_null().arg_true().head(1):
        unit = f" ms is no time of {_date(file)}" if file.member.date else " is no time"
        raise QuantLakeError(f"{file.where} line {row + 1}: {printed[row]}{unit} in {file.zone}")
    fraction = printed.str.contains(".", literal=True)
    nanoseconds = pl.col("event_time").to_physical() * 1_000 + pl.col("below_us")
    return times.select("wall", "event_time", event_time_ns=pl.when(fraction).then(nanoseconds))


def _of_day(printed: pl.Series, file: File) -> pl.DataFrame:
    parts = printed.str.split_exact(".", 1).struct.unnest()
    fraction = parts["field_1"].fill_null("").str.pad_end(6, "0").cast(pl.Int64)
    ns = parts["field_0"].cast(pl.Int64) * 1_000_000 + fraction
    midnight = pl.lit(_date(file)).cast(pl.Datetime("us"))
    wall = pl.when(pl.lit(ns) < DAY_NS).then(midnight + pl.duration(microseconds=pl.lit(ns // 1_000)))
    return pl.select(wall=wall, below_us=pl.lit(ns % 1_000))


def _stamped(printed: pl.Series) -> pl.DataFrame:
    wall = printed.str.to_datetime("%Y%m%d %H:%M", time_unit="us", strict=False)
    return pl.DataFrame({"wall": wall}).with_columns(below_us=pl.lit(0, pl.Int64))


def _date(file: File) -> date:
    try:
        return date.fromisoformat(file.member.date)
    except ValueError as error:
        raise QuantLakeError(f"{file.where}: {file.member.date} in its name is no date") from error


def located(rows: pl.DataFrame, wall: pl.Series, file: File) -> pl.DataFrame:
    """With everything that rows of a file share; ``rows`` have ``event_time``, ``line_number`` and ``item_index``."""
    return counted(rows.with_columns(
        source=pl.lit("lean"),
        venue=pl.lit(file.kind.market),
        symbol=pl.lit(file.member.printed_symbol),
        event_time_source=pl.lit("file"),
        partition_date=_partition_dates(rows["event_time"], wall, file.kind),
        source_name=pl.lit(file.source_name),
        source_version=pl.lit(file.version),
    ))  # fmt: skip


def numbered(count: int) -> dict[str, pl.Expr]:
    """``line_number`` and ``item_index`` of records that are a row each."""
    return {"line_number": pl.int_range(1, count + 1, dtype=pl.Int64), "item_index": pl.lit(0, pl.Int64)}


def _partition_dates(event_time: pl.Series, wall: pl.Series, kind: Kind) -> pl.Series:
    if kind.asset_class == "equity" or (kind.asset_class == "future" and kind.step == "daily"):
        return wall.dt.date()
    return cmes_sessions(event_time) if kind.asset_class == "future" else event_time.dt.date()


def or_null(text: pl.Series) -> pl.Series:
    return text.replace("", None)
