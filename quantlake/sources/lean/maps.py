"""LEAN's map files: under which tickers a US equity was traded.

Here: a map file to symbols, the instrument, changes of symbol and the delisting. Not here: factor files (factors.py).

A file is an equity's, called after its last ticker, with a number where another has that name now (`twx.1.csv`). Its records are
``date,ticker[,exchange]``: the date is the ticker's last day, inclusive, the first record's the equity's first. A last record
before 2050 is the last day of trading. A record is an interval of its own also where the ticker stays (another exchange).

``known_at`` is 00:00 New York of the day that brought it: an interval is known without its end first, and with it on the day after.
``source_name`` is ``equity/usa/map_files/<file name>``.
Format: https://github.com/QuantConnect/Lean/tree/master/Data/equity/usa/map_files.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import common, corporate_actions, instruments, symbol_map
from quantlake.sources import text
from quantlake.sources.importers import Rows, content, decoded, sha256
from quantlake.sources.lean.security_ids import security_id
from quantlake.sources.provenance import stamped

DATE = r"^[0-9]{8}$"
TICKER = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
OPEN_END = date(2050, 1, 1)


@dataclass(frozen=True)
class MapFile:
    """An equity's id and its intervals: ``line_number``, ``symbol``, ``valid_from``, ``valid_to`` (exclusive, null: open)."""

    security: str
    intervals: pl.DataFrame
    version: str


def load(path: Path) -> MapFile:
    """Raises ``QuantLakeError`` naming file and line: another number of columns, a date that is none or not after the one before."""
    raw = content(path)
    lines = text.lines(decoded(raw, str(path)))
    if lines.is_empty():
        raise QuantLakeError(f"{path} is empty; a map file has its equity's first date in its first record")
    columns = {"date": DATE, "ticker": TICKER, "exchange": ""}
    width = 3 if "," in lines[0].partition(",")[2] else 2
    found = text.cells(lines, dict(list(columns.items())[:width]), str(path))
    dates = increasing(found["date"], str(path))
    return MapFile(security_id(found["ticker"][0], dates[0]), _intervals(dates, found["ticker"]), sha256(raw))


def read(path: Path) -> Rows:
    """The symbols, the instrument and the corporate actions of one map file. Raises as ``load``."""
    found = load(path)
    name = f"equity/usa/map_files/{path.name}".lower()
    same = {"source": pl.lit("lean"), "venue": pl.lit("usa"), "instrument_id": pl.lit(found.security)}
    for stream, rows in (
        (symbol_map.raw, _symbols(found)), (instruments.raw, _instrument(found)), (corporate_actions.raw, _actions(found)),
    ):  # fmt: skip
        yield stream, stamped(stream, rows.with_columns(**same), name, found.version, "day")


def increasing(printed: pl.Series, where: str) -> pl.Series:
    """Dates as ``yyyymmdd``, each later than the one before. Raises ``QuantLakeError`` naming the line that is not."""
    dates = printed.str.to_date("%Y%m%d", strict=False)
    for row in dates.is_null().arg_true().head(1):
        raise QuantLakeError(f"{where} line {row + 1}: {printed[row]!r} is no date")
    for row in (dates <= dates.shift()).fill_null(False).arg_true().head(1):
        raise QuantLakeError(f"{where} line {row + 1}: {printed[row]} does not come after {printed[row - 1]}")
    return dates


def _intervals(dates: pl.Series, tickers: pl.Series) -> pl.DataFrame:
    """The first record is an interval of its own, of one day, only where the second has not its ticker."""
    rows = pl.DataFrame({"last": dates, "symbol": tickers.str.to_uppercase()}).with_row_index("line_number", 1)
    alone = rows.height == 1 or rows["symbol"][0] != rows["symbol"][1]
    after = pl.col("last").dt.offset_by("1d")
    begins = pl.when(pl.int_range(pl.len()) < (1 if alone else 2)).then(pl.lit(dates[0])).otherwise(after.shift())
    intervals = rows.with_columns(valid_from=begins, valid_to=pl.when(pl.col("last") < OPEN_END).then(after))
    return intervals.slice(0 if alone else 1).drop("last").cast({"line_number": pl.Int64})


def _symbols(found: MapFile) -> pl.DataFrame:
    begun = found.intervals.with_columns(valid_to=pl.lit(None, pl.Date), known_at=common.midnight("valid_from"), item_index=pl.lit(0, pl.Int64))
    ended = found.intervals.filter(pl.col("valid_to").is_not_null()).with_columns(known_at=common.midnight("valid_to"), item_index=pl.lit(1, pl.Int64))
    return pl.concat([begun, ended])


def _instrument(found: MapFile) -> pl.DataFrame:
    """Once listed, once delisted."""
    first, last = found.intervals.row(0, named=True), found.intervals.row(-1, named=True)
    told = {"day": [first["valid_from"], last["valid_to"]], "line_number": [1, last["line_number"]]}
    days = pl.DataFrame(told, {"day": pl.Date, "line_number": pl.Int64})
    delisted = pl.when(pl.int_range(pl.len()) == 1).then(pl.col("day").dt.offset_by("-1d"))
    return days.filter(pl.col("day").is_not_null()).with_columns(
        known_at=common.midnight("day"),
        asset_class=pl.lit("equity"),
        currency=pl.lit("USD"),
        multiplier=pl.lit(1, pl.Decimal(38, 18)),
        listed=pl.lit(first["valid_from"]),
        delisted=delisted,
        item_index=pl.int_range(pl.len(), dtype=pl.Int64),
    )


def _actions(found: MapFile) -> pl.DataFrame:
    """A change to another ticker on its first day, the end of trading on the day after its last."""
    intervals = found.intervals
    changed = intervals.filter(pl.col("symbol") != pl.col("symbol").shift()).with_columns(type=pl.lit("symbol_change"), ex_date="valid_from")
    ended = intervals.tail(1).filter(pl.col("valid_to").is_not_null()).with_columns(type=pl.lit("delisting"), ex_date="valid_to")
    return pl.concat([changed, ended]).with_columns(
        known_at=common.midnight("ex_date"), status=pl.lit("active"), item_index=(pl.col("type") == "delisting").cast(pl.Int64)
    )
