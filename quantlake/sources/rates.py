"""CSV files of interest rates: treasury curves as zipline keeps them, and LEAN's primary credit rate.

Here: both to rows of the rates. Not here: other files of a date and numbers; returns of a benchmark (``date,return``) are no rates.

| header | series | unit | ``known_at`` |
|---|---|---|---|
| ``Time Period,1month,3month,...,30year`` | `us_treasury`, a tenor a column | fraction | 00:00 New York of the next day |
| ``DATE,PCREDIT8`` | `us_primary_credit`, overnight | percent | 00:00 New York of the day |

An empty cell is a tenor that was not published on that date, and no row; a record without any is refused. ``item_index`` is the cell's number.
``source_name`` is ``rates/<series>/<file name>``.
Series: https://home.treasury.gov/resource-center/data-chart-center/interest-rates, https://fred.stlouisfed.org/series/DPCREDIT.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import common, rates
from quantlake.sources import text
from quantlake.sources.importers import Importer, Recognised, Rows, content, decoded, sha256
from quantlake.sources.provenance import stamped, unique

SUFFIX = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)
HEAD_BYTES = 4_096
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}( 00:00:00(\+00:00)?)?$"
CURVE, TENOR = "Time Period", re.compile(r"([0-9]+)(month|year)")
UNITS = {"month": "m", "year": "y"}


@dataclass(frozen=True)
class Kind:
    """What a file of a header is: ``tenors`` of its columns after the date, and how many days after it a rate is known."""

    series: str
    source: str
    unit: str
    days: int
    tenors: tuple[str, ...]


def recognise(path: Path) -> Recognised:
    """By content: a ``.csv`` or ``.csv.gz`` with one of these headers."""
    if not SUFFIX.search(path.name):
        return None
    header = content(path, HEAD_BYTES).decode("utf-8-sig", errors="replace").split("\n")[0].rstrip("\r")
    return Importer("interest rates", read) if _kind(header) else "benchmark returns" if header == "date,return" else None


def read(path: Path) -> Rows:
    """The rates of one file, a row a date and tenor. Raises ``QuantLakeError`` naming file and line: columns, a date or number that is
    none, a date twice or without a rate."""
    raw, where = content(path), str(path)
    lines = text.lines(decoded(raw, where))
    kind = _kind(lines[0]) if len(lines) else None
    if kind is None:
        raise QuantLakeError(f"{where} line 1: its header is that of no file of rates; there are {CURVE},1month,... and DATE,PCREDIT8")
    patterns = {"date": DATE, **dict.fromkeys(kind.tenors, "^$|" + text.NUMBER)}
    cells = text.cells(lines.slice(1), patterns, where, first_line=2)
    dates = cells["date"].str.head(10).str.to_date(strict=False)
    for row in dates.is_null().arg_true().head(1):
        raise QuantLakeError(f"{where} line {row + 2}: {cells['date'][row]!r} is no date")
    unique(dates.to_frame(), where, first_line=2)
    numbers = pl.DataFrame([text.exact(cells[tenor].replace("", None), where, first_line=2).alias(tenor) for tenor in kind.tenors])
    for row in numbers.select(pl.all_horizontal(pl.all().is_null())).to_series().arg_true().head(1):
        raise QuantLakeError(f"{where} line {row + 2} has no rate: {lines[row + 1]!r}")
    wide = numbers.with_columns(dates).with_row_index("line_number", 1)
    long = wide.unpivot(on=list(kind.tenors), index=["line_number", "date"], variable_name="tenor").drop_nulls("value")
    rows = long.sort("line_number", maintain_order=True).with_columns(
        pl.col("line_number").cast(pl.Int64),
        item_index=pl.col("tenor").replace_strict({tenor: n for n, tenor in enumerate(kind.tenors)}, return_dtype=pl.Int64),
        series=pl.lit(kind.series),
        unit=pl.lit(kind.unit),
        source=pl.lit(kind.source),
        partition_date="date",
        event_time=common.midnight("date"),
        known_at=common.midnight(pl.col("date").dt.offset_by(f"{kind.days}d")),
    )
    name = f"rates/{kind.series}/{path.name.removesuffix('.gz')}".lower()
    yield rates.raw, stamped(rates.raw, rows, name, sha256(raw), "day")


def _kind(header: str) -> Kind | None:
    first, *others = header.split(",")
    if header == "DATE,PCREDIT8":
        return Kind("us_primary_credit", "lean", "percent", 0, ("on",))
    found = [TENOR.fullmatch(name) for name in others]
    tenors = tuple(match[1] + UNITS[match[2]] for match in found if match)
    return Kind("us_treasury", "treasury", "fraction", 1, tenors) if first == CURVE and tenors and all(found) and len({*tenors}) == len(found) else None
