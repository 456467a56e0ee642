"""Vendors' bars: what others published as bars, never computed here.

Here: what such a bar is and what may be wrong with one by itself. Not here: our own bars (bars_1m and its like), what other bars of its
series say of one (vendor_bar_findings).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Boolean, Column, Price, Rows, Size, Stream, Table, Text, Timestamp
from quantlake.datasets.market import common
from quantlake.datasets.reference import symbol_map

BAR = (
    Column("source", Text, "Who published it: `lean`, `databento`, `yfinance/bad-div`."),
    Column("venue", Text, "Exchange or consolidated tape, lower case; `unknown` where the file does not say."),
    Column("symbol", Text, "As the source prints it."),
    Column("interval", Text, "Length of the bar: `1s`, `1m`, `15m`, `1h`, `1d`, `1w`."),
    Column("bar_start", Timestamp, "Start of the bar, UTC."),
    Column("price_type", Text, "What the prices are of.", allowed=("trade", "bid", "ask", "open_interest")),
    Column("open", Price, "First price; of a quote bar null where the side is absent.", null=True),
    Column("high", Price, "Highest price.", null=True),
    Column("low", Price, "Lowest price.", null=True),
    Column("close", Price, "Last price.", null=True),
    Column("volume", Size, "Traded in the bar; of a quote bar the last size of the side; null where the source has none.", null=True, minimum=0),
    Column("is_final", Boolean, "Whether the bar was over when it was published.", null=True),
    Column("adjustment", Text, "What prices and volume are adjusted for.", allowed=("raw", "split", "total")),
)
ADJ_CLOSE = Column(
    "adj_close", Price, "The vendor's own adjusted close; null where it has none, or one that is infinite, no number or too large.", null=True
)
DIVIDEND = Column("dividend", Price, "Cash paid a share on that date, as printed.", null=True)
SPLIT_RATIO = Column("split_ratio", Price, "New shares for an old one on that date, as printed; 0 or 1: none.", null=True)
CAPITAL_GAIN = Column("capital_gain", Price, "A fund's distribution of capital gains a share on that date, as printed.", null=True)
ACTIONS = (ADJ_CLOSE, DIVIDEND, SPLIT_RATIO, CAPITAL_GAIN)
TIMES = (
    Column("event_time", Timestamp, "The bar's start, UTC."),
    Column("known_at", Timestamp, "The bar's end, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
    common.EVENT_TIME_NS,
    common.EVENT_TIME_SOURCE,
    common.RECEIVE_TIME,
    common.ITEM_INDEX,
)

raw = Stream(
    __name__,
    doc="A vendor's bar as received.",
    owner="market-data",
    topic="market.vendor_bars.v1",
    topic_partitions=4,
    message_key="symbol",
    files="complete",
    storage_partition="year",
    sessions=common.XNYS,
    columns=(
        *BAR,
        ADJ_CLOSE,
        DIVIDEND,
        SPLIT_RATIO,
        *TIMES,
        CAPITAL_GAIN,
    ),
    key=("source", "venue", "symbol", "interval", "bar_start", "price_type"),
)


@raw.fill
def complete(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(pl.col("event_time").fill_null(pl.col("bar_start")), pl.col("partition_date").fill_null(common.session_date()))


JUDGED = ("lean", "databento")  # exchanges' own prices; what a free vendor gets wrong is flagged, and shown as it came
PRICES = ("open", "high", "low", "close")
not_above_zero = pl.any_horizontal(pl.col(c) <= 0 for c in PRICES) & (pl.col("price_type") != "open_interest")
inconsistent = pl.any_horizontal(pl.col("low") > pl.col(c) for c in PRICES) | pl.any_horizontal(pl.col("high") < pl.col(c) for c in PRICES)
strict = pl.col("source").is_in(JUDGED)
future = pl.col("venue").is_in(common.US_FUTURES)

bars = Table(
    __name__,
    of=raw,
    looks_up=(symbol_map.LOOKED_UP,),
    doc="A vendor's bar, once: a new edition of its file makes new versions.",
    owner="market-data",
    key=("source", "venue", "symbol", "interval", "bar_start", "price_type"),
    sort_by=("source", "symbol", "interval", "bar_start", "price_type"),
    storage_partition="year",
    columns=(
        *BAR,
        *TIMES,
        common.INSTRUMENT_ID,
        common.flags("`inconsistent` (not low <= open, close <= high), `price_not_above_zero`, `zero_volume`"),
        *ACTIONS,
    ),
    checks=(
        Rows("price_above_zero", not_above_zero & strict & ~future, "with a price not above 0", ("symbol", *PRICES)),
        Rows("consistent", inconsistent & strict, "not low <= open, close <= high", ("symbol", *PRICES)),
        Rows("vendor_prices", (not_above_zero | inconsistent) & ~strict, "that cannot be", ("symbol", *PRICES), blocking=False),
    ),
)


@bars.build
def curate(received: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    odd = {"inconsistent": inconsistent, "price_not_above_zero": not_above_zero, "zero_volume": pl.col("volume") == 0}
    return symbol_map.with_instruments(received.with_columns(item_index=common.first_item(), flags=common.flagged(odd)), mapped)
