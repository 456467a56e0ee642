"""LEAN's coarse universe: one file has the US equities of a session.

Here: such a file to rows of the universe. Not here: choosing from it.

Records are ``security id,symbol,close,volume,dollar volume,has fundamentals[,price factor,split factor]``, without a header; the date is the
file's name (`20140324.csv`). ``known_at`` is 00:00 New York of the next day. ``source_name`` is ``equity/usa/fundamental/coarse/<file name>``.
Format: https://github.com/QuantConnect/Lean/blob/master/Common/Data/UniverseSelection/CoarseFundamental.cs.
"""

from datetime import date
from pathlib import Path

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import common, universe_daily
from quantlake.sources import text
from quantlake.sources.importers import Rows, content, decoded, sha256
from quantlake.sources.lean.security_ids import PATTERN
from quantlake.sources.provenance import stamped, unique

NUMBERS = ("close", "volume", "dollar_volume", "price_factor", "split_factor")
COLUMNS = {
    "instrument_id": PATTERN, "symbol": ".", "close": text.NOT_NEGATIVE, "volume": text.NOT_NEGATIVE, "dollar_volume": text.NOT_NEGATIVE,
    "has_fundamental": "^(?i)(true|false)$", "price_factor": text.NOT_NEGATIVE, "split_factor": text.NOT_NEGATIVE,
}  # fmt: skip
WIDTHS = (6, 8)


def read(path: Path) -> Rows:
    """The universe of one session. Raises ``QuantLakeError`` naming file and line: columns, a number or id that is none, an id twice."""
    raw = content(path)
    where, day = str(path), _date(path)
    lines = text.lines(decoded(raw, where))
    width = lines[0].count(",") + 1 if len(lines) else WIDTHS[0]
    found = text.cells(lines, dict(list(COLUMNS.items())[: width if width in WIDTHS else WIDTHS[-1]]), where)
    unique(found.select("instrument_id"), where)
    rows = found.with_columns(
        *(text.exact(found[name], where).alias(name) for name in NUMBERS if name in found.columns),
        has_fundamental=pl.col("has_fundamental").str.to_lowercase() == "true",
        date=pl.lit(day),
        partition_date=pl.lit(day),
        event_time=common.midnight(pl.lit(day)),
        known_at=common.midnight(pl.lit(day).dt.offset_by("1d")),
        source=pl.lit("lean"),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    )
    name = f"equity/usa/fundamental/coarse/{path.name}".lower()
    yield universe_daily.raw, stamped(universe_daily.raw, rows, name, sha256(raw), "day")


def _date(path: Path) -> date:
    try:
        return date.fromisoformat(path.stem)
    except ValueError:
        raise QuantLakeError(f"{path}: a coarse universe is called after its date, 20140324.csv; {path.stem} is none") from None
