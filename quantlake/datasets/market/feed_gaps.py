"""Feed gaps: the times of which we know that we know nothing, so that "no data" is not taken for "no trades".

Here: how gaps are found in tops of books and in ids of trades. Not here: mending them.

- `book`: a book is known while one of its connections is in order. Between such times it is a gap, by `reason`: `no_snapshot` (its
  first messages came before one), `sequence` (ids were missing), `checksum`, `reconnected` (one connection ended, another began).
- `trades`: where a venue numbers a symbol's trades one by one (Binance's aggregates, Coinbase), `missing_ids` between two trades whose
  ids do not follow.

A gap is of the date that it ends on, or of its messages' where it does not end.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Derived, Text, TextList, Timestamp
from quantlake.datasets.market import common
from quantlake.datasets.market.book_close import book_close
from quantlake.datasets.market.book_top import top
from quantlake.datasets.market.trades import trades
from quantlake.datasets.reference import symbol_map

NUMBERED = ("binance_v3", "coinbase_pro")
SERIES = ("venue", "symbol")

feed_gaps = Derived(
    __name__,
    of=(top, trades),
    before=(book_close,),
    doc="A time in which a venue's messages of a symbol are missing, or mean nothing.",
    owner="market-data",
    key=("venue", "symbol", "channel", "gap_start"),
    columns=(
        Column("venue", Text, "The exchange, lower case."),
        Column("symbol", Text, "As the source prints it."),
        Column("channel", Text, "What is missing.", allowed=("book", "trades")),
        Column("gap_start", Timestamp, "The last that was in order, UTC; of `no_snapshot` the first message."),
        Column("gap_end", Timestamp, "The first that is in order again, UTC; null: none was.", null=True),
        Column("reason", Text, "Why.", allowed=("no_snapshot", "sequence", "checksum", "reconnected", "missing_ids")),
        common.INSTRUMENT_ID,
        Column("known_at", Timestamp, "When it was over, or its last message was received, UTC."),
        PARTITION_DATE,
        Column("flags", TextList, "Nothing yet.", null=True),
    ),
)


@feed_gaps.build
def build(tops: pl.LazyFrame, trades: pl.LazyFrame, opening: pl.LazyFrame) -> pl.LazyFrame:
    found = pl.concat([_of_books(tops, opening), _of_trades(trades)], how="diagonal")
    whole = symbol_map.with_their_instruments(found, tops, trades).with_columns(flags=pl.lit([], pl.List(pl.String)))
    return whole.select(c.name for c in feed_gaps.columns).sort(feed_gaps.key)


def _of_books(tops: pl.LazyFrame, opening: pl.LazyFrame) -> pl.LazyFrame:
    """Between the runs of messages in order of all connections of a symbol, and before the first of them."""
    by = [*SERIES, "connection_id"]
    yesterday = opening.select(*by, "known_at", state=pl.lit("synced")).unique([*by])
    good = pl.col("state").is_in(["synced", "crossed"])
    rows = (
        pl.concat([yesterday.with_columns(partition_date=pl.lit(None, pl.Date)), tops.select(*by, "known_at", "state", "partition_date")])
        .sort(*by, "known_at", maintain_order=True)
        .with_columns(run=good.rle_id().over(by))
    )
    runs = rows.group_by(*by, "run", maintain_order=True).agg(
        good.first().alias("good"),
        pl.col("known_at").min().alias("begins"),
        pl.col("known_at").max().alias("ends"),
        pl.col("state").first(),
        pl.col("partition_date").last(),
    )
    known = runs.filter("good").sort(*SERIES, "begins", "ends")
    reached = known.with_columns(before=pl.col("ends").cum_max().shift().over(SERIES), was=pl.col("connection_id").shift().over(SERIES))
    between = reached.filter(pl.col("before") < pl.col("begins"))
    why = runs.filter(~pl.col("good")).select(*by, "run", "state").with_columns(run=pl.col("run") + 1)
    gaps = between.join(why, on=[*by, "run"], how="left", suffix="_bad").select(
        *SERIES, "partition_date", gap_start="before", gap_end="begins", known_at="begins",
        reason=pl.when(pl.col("was") != pl.col("connection_id")).then(pl.lit("reconnected")).otherwise(_reason("state_bad")),
    )  # fmt: skip
    bad = runs.filter(~pl.col("good"))
    known_from = known.group_by(SERIES).agg(pl.col("begins").min(), pl.col("ends").max())
    beside = bad.join(known_from, on=SERIES, how="left", suffix="_known")
    first = beside.filter(pl.col("begins_known").is_null() | (pl.col("begins") < pl.col("begins_known")))
    last = beside.filter(pl.col("begins") >= pl.col("ends_known"))
    opened = first.group_by(SERIES).agg(
        pl.col("partition_date").last(), gap_start=pl.col("begins").min(), gap_end=pl.col("begins_known").first(),
        known_at=pl.coalesce(pl.col("begins_known").first(), pl.col("ends").max()), reason=pl.lit("no_snapshot"),
    )  # fmt: skip
    left = last.group_by(SERIES).agg(
        pl.col("partition_date").last(), gap_start=pl.col("ends_known").first(), gap_end=pl.lit(None, pl.Datetime("us", "UTC")),
        known_at=pl.col("ends").max(), reason=_reason("state").first(),
    )  # fmt: skip
    return pl.concat([gaps, opened, left], how="diagonal").with_columns(channel=pl.lit("book"))


def _reason(state: str) -> pl.Expr:
    return pl.when(pl.col(state) == "invalid").then(pl.lit("checksum")).otherwise(pl.lit("sequence"))


def _of_trades(trades: pl.LazyFrame) -> pl.LazyFrame:
    numbered = trades.filter(pl.col("source").is_in(NUMBERED)).with_columns(number=pl.col("trade_id").cast(pl.Int64, strict=False))
    ordered = numbered.filter(pl.col("number").is_not_null()).sort(*SERIES, "number")
    before = ordered.with_columns(
        number_before=pl.col("number").shift().over(SERIES), gap_start=pl.col("event_time").shift().over(SERIES),
        known_before=pl.col("known_at").shift().over(SERIES),
    )  # fmt: skip
    return (
        before.filter(pl.col("number") > pl.col("number_before") + 1)
        .select(
            *SERIES, "gap_start", "partition_date", channel=pl.lit("trades"), reason=pl.lit("missing_ids"), gap_end="event_time",
            known_at=pl.max_horizontal("known_at", "known_before"),
        )
        .unique([*SERIES, "gap_start"], keep="last", maintain_order=True)
    )  # fmt: skip
