"""Recorded ticks beside a vendor's own bars of them: pairs of files, what importers read of them, and how many bars are equal.

Here: walking and comparing. Not here: what must be equal (test_market_answers.py).
"""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl

from quantlake.contract.sessions import session_hours
from quantlake.datasets.market import exchange_messages, quotes, trades, vendor_bars
from quantlake.sources import lean
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.recorded import recorded

BAR = ("symbol", "venue", "bar_start")
PRICES = ("open", "high", "low", "close")
SIDES = ("bid", "ask")
NO_MESSAGES = pl.DataFrame(exchange_messages.raw.spec.arrow.empty_table()).lazy()


class Compared(NamedTuple):
    """Bars of a vendor; how many of them are equal to ours; how many we lack; how many of ours it lacks."""

    bars: int
    equal: int
    missing: int
    extra: int

    @property
    def share(self) -> float:
        return self.equal / self.bars


def pairs(folder: str, shorter: str, longer: str, what: str) -> list[tuple[Path, Path]]:
    """Files ``<market>/<resolution>/<symbol>/<date>_<what>.zip`` that there are of both resolutions below a folder of recorded data."""
    found = []
    for path in sorted(recorded(folder).rglob(f"{shorter}/*/*_{what}.zip")):
        other = path.parents[2] / longer / path.parent.name / path.name
        if other.is_file():
            found.append((path, other))
    assert found, f"{folder} has no {shorter} {what} files with {longer} bars beside them"
    return found


def read(paths: Iterable[Path]) -> pl.DataFrame:
    """The rows of files of one stream, as they land."""
    return pl.concat([pl.DataFrame(table) for path in paths for _, table in lean.read(path)])


def curated_quotes(paths: Iterable[Path]) -> pl.LazyFrame:
    return quotes.curate(read(paths).lazy(), NO_MESSAGES, NO_SYMBOLS)


def curated_trades(paths: Iterable[Path]) -> pl.DataFrame:
    return trades.curate(read(paths).lazy(), NO_MESSAGES, NO_SYMBOLS).collect()


def curated_bars(paths: Iterable[Path]) -> pl.DataFrame:
    return vendor_bars.curate(read(paths).lazy(), NO_SYMBOLS).collect()


def quoted(vendor: pl.DataFrame) -> pl.DataFrame:
    """A vendor's bars of quotes with both sides in a row: ``bid_open`` .. ``ask_close``."""
    sides = [
        vendor.filter(pl.col("price_type") == side).select(*BAR, *(pl.col(c).alias(f"{side}_{c}") for c in PRICES)) for side in SIDES
    ]
    return sides[0].join(sides[1], on=BAR, how="full", coalesce=True)


def compared(vendor: pl.DataFrame, ours: pl.DataFrame, columns: Iterable[str]) -> Compared:
    """Bars that are equal in all ``columns``, to the last digit; both frames have ``BAR`` as their key."""
    marked = vendor.with_columns(theirs=pl.lit(True)), ours.with_columns(our_own=pl.lit(True))
    both = marked[0].join(marked[1], on=BAR, how="full", coalesce=True, suffix="_ours", validate="1:1")
    theirs, own = pl.col("theirs").is_not_null(), pl.col("our_own").is_not_null()
    same = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}_ours")) for c in columns)
    counts = both.select(theirs.sum(), (theirs & own & same).sum().alias("equal"), (~own).sum().alias("missing"), (~theirs).sum().alias("extra"))
    return Compared(*counts.row(0))


def regular(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Rows of the US tape whose time is within New York's session of their date, early closes included."""
    days: list[date] = rows["partition_date"].unique().to_list()
    hours = {day: found for day in days if (found := session_hours("XNYS", day))}
    inside = [(pl.col("partition_date") == day) & (pl.col(column) >= opens) & (pl.col(column) < closes) for day, (opens, closes) in hours.items()]
    return rows.filter(pl.any_horizontal(inside))
