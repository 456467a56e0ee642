"""What the tables of alternative data share: times of publication, and the instruments of tickers.

Here: when a published thing was known, a publication that lies in the future, what a ticker meant then. Not here: datasets.
"""

import polars as pl

from quantlake.contract import Rows
from quantlake.datasets.market.common import CONSOLIDATED_US, NEW_YORK

IN_TIME = Rows(
    "published_in_future", pl.col("published_at") - pl.col("known_at") > pl.duration(minutes=5), "published over 5 min after they were known",
    ("published_at", "known_at"), blocking=False,
)  # fmt: skip


def unmapped(tickers: str) -> Rows:
    """The check that every ticker of a row is known."""
    fewer = pl.col("instrument_ids").list.len() < pl.col(tickers).list.len()
    return Rows("unmapped_ticker", fewer, "with a ticker that no map of US symbols knows on that day", (tickers,), blocking=False)


def with_instruments(rows: pl.LazyFrame, mapped: pl.LazyFrame, tickers: str) -> pl.LazyFrame:
    """``rows`` (``published_at``, ``known_at``) in their order, with ``instrument_ids``: of ``tickers`` as US symbols of New York's day of
    publication, each once, sorted; none of a ticker that is in no map. ``mapped``: all versions of the symbol map. A row of which another
    mapping became known later is there once more for each such time."""
    day = pl.col("published_at").dt.convert_time_zone(NEW_YORK).dt.date()
    numbered = rows.with_row_index("_row")
    said = numbered.select("_row", day=day, symbol=tickers).explode("symbol").with_columns(pl.col("symbol").str.to_uppercase())
    us = mapped.filter(pl.col("venue") == CONSOLIDATED_US).select(
        "symbol", "valid_from", "valid_to", "instrument_id", since="known_at", until="superseded_at"
    )
    valid = (pl.col("valid_from") <= pl.col("day")) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.col("day")))
    meant = said.join(us, on="symbol").filter(valid).select("_row", "instrument_id", "since", "until")
    changes = pl.concat([meant.select("_row", at=c) for c in ("since", "until")]).join(numbered.select("_row", "known_at"), on="_row")
    later = changes.filter(pl.col("at") > pl.col("known_at")).select("_row", "at")
    times = pl.concat([numbered.select("_row", at="known_at"), later]).unique()
    then = (pl.col("since") <= pl.col("at")) & (pl.col("until").is_null() | (pl.col("until") > pl.col("at")))
    known = times.join(meant, on="_row").filter(then).group_by("_row", "at").agg(instrument_ids=pl.col("instrument_id").unique().sort())
    whole = numbered.drop("instrument_ids", strict=False).join(times, on="_row").join(known, on=["_row", "at"], how="left")
    filled = whole.with_columns(pl.col("instrument_ids").fill_null(pl.lit([], pl.List(pl.String))), known_at="at")
    return filled.sort("_row", "at").drop("_row", "at")


def known_at() -> pl.Expr:
    """``known_at``; of what says that it will be published, no later than the broker took it."""
    ahead = pl.col("published_at") > pl.col("_timestamp")
    return pl.when(ahead).then(pl.min_horizontal("known_at", "_timestamp")).otherwise("known_at").alias("known_at")
