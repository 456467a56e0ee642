"""Trade bars of any length: how trades become bars, and short bars longer ones. The tables are bars_1s, bars_1m, bars_1h and bars_1d.

Here: the columns of a bar and the functions. Not here: which trades count (conditions), storage, scheduling.

A bar covers [bar_start, bar_start + interval), all session long. A day's bar is of one ``partition_date``: from New York's midnight
for the US tape, from the session's open for US futures, else from UTC's midnight. A bar in which nothing counts has no row. First and
last are by event time, then line and item number, then trade id (shorter first, as ids are numbers), then source; an absent one comes
before all others.
"""

from datetime import timedelta
from functools import partial

import polars as pl
import pyarrow as pa

from quantlake.contract import (
    PARTITION_DATE,
    Column,
    Derived,
    Integer,
    Ordered,
    Price,
    QuantLakeError,
    Size,
    Text,
    TextList,
    Timestamp,
    decimals,
)
from quantlake.contract.columns import StoragePartition
from quantlake.contract.sessions import session_hours
from quantlake.datasets.market import common
from quantlake.datasets.market.trades import trades

INTERVALS = {"1s": timedelta(seconds=1), "1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}

BAR = ("symbol", "venue", "bar_start", "partition_date")
KEY = ("venue", "symbol", "bar_start")
COUNTED = (
    Column("symbol", Text, "As the source prints it."),
    Column("venue", Text, "Exchange or consolidated tape."),
    Column("bar_start", Timestamp, "Start of the bar, UTC."),
    Column("open", Price, "First price; null where only trades that count for volume exist.", null=True),
    Column("high", Price, "Highest price.", null=True),
    Column("low", Price, "Lowest price.", null=True),
    Column("close", Price, "Last price.", null=True),
    Column("volume", Size, "Sum of sizes.", minimum=0),
    Column("notional", Price, "Exact sum of price x size, rounded half up once, in the quote currency."),
    Column("vwap", Price, "The exact notional / volume, rounded half up; null where the volume is 0.", null=True),
    Column("trade_count", Integer, "Trades that count for volume.", minimum=0),
    Column("known_at", Timestamp, "The bar's end, or when the last trade of the bar could be known, if later; one that counts for nothing too."),
    PARTITION_DATE,
)
COLUMNS = (
    *COUNTED,
    common.INSTRUMENT_ID,
    Column("flags", TextList, "`volume_only` (no price counts), `suspicious` (a trade is so by its source).", null=True),
)
CHECKS = (Ordered("low", "open", "high"), Ordered("low", "close", "high"))


def table(module: str, interval: str, doc: str, storage_partition: StoragePartition = "day") -> Derived:
    """The table of bars of an interval; ``module`` is its file's ``__name__``."""
    made = Derived(
        module, of=(trades,), doc=doc, owner="market-data", key=KEY, columns=COLUMNS, checks=CHECKS, storage_partition=storage_partition
    )
    made.build(partial(from_trades, interval=interval))
    return made


def from_trades(trades: pl.LazyFrame, interval: str) -> pl.LazyFrame:
    """Curated trades -> bars (``COLUMNS``), sorted by symbol, venue and start; ``updates_ohlc`` and ``updates_volume`` say what counts."""
    printed = (
        trades.with_columns(
            bar_start=start_of(interval),
            for_prices=pl.col("updates_ohlc").fill_null(True),
            for_volume=pl.col("updates_volume").fill_null(True),
        )
        .sort("event_time", "line_number", "item_index", pl.col("trade_id").str.len_bytes(), "trade_id", "source_name")
        .select(*BAR, "price", "size", "known_at", "for_prices", "for_volume", "suspicious", "instrument_id")
        .collect()
    )
    price = pl.col("price").filter(pl.col("for_prices"))
    quoted = printed.group_by(BAR).agg(
        open=price.first(),
        high=price.max(),
        low=price.min(),
        close=price.last(),
        trade_count=pl.col("for_volume").sum().cast(pl.Int64),
        known_at=pl.max_horizontal(pl.col("bar_start").first() + INTERVALS[interval], pl.col("known_at").max()),
        instrument_id=pl.col("instrument_id").last(),
        counts=(pl.col("for_prices") | pl.col("for_volume")).any(),
        suspicious=pl.col("suspicious").any(),
    )
    joined = quoted.lazy().filter("counts").join(sums(printed.filter("for_volume")).lazy(), on=BAR, how="left")
    volume_only = pl.when(pl.col("open").is_null()).then(pl.lit("volume_only"))
    suspicious = pl.when(pl.col("suspicious")).then(pl.lit("suspicious"))
    whole = joined.with_columns(
        pl.col("volume", "notional").fill_null(0),
        flags=pl.concat_list(volume_only, suspicious).list.drop_nulls(),
    )
    return whole.select(c.name for c in COLUMNS).sort("symbol", "venue", "bar_start")


def start_of(interval: str) -> pl.Expr:
    """The start of the bar that a trade (``event_time``, ``venue``, ``partition_date``) is in. Raises ``QuantLakeError``: no such interval."""
    if interval not in INTERVALS:
        raise QuantLakeError(f"there are no bars of {interval!r}; there are {', '.join(INTERVALS)}")
    if interval != "1d":
        return pl.col("event_time").dt.truncate(interval)
    midnight = pl.col("partition_date").cast(pl.Datetime("us"))
    new_york = midnight.dt.replace_time_zone(common.NEW_YORK).dt.convert_time_zone("UTC")
    future = pl.when(pl.col("venue").is_in(common.US_FUTURES)).then("partition_date")
    opened = future.map_batches(_session_opens, return_dtype=pl.Datetime("us", "UTC"))
    other = pl.coalesce(opened, midnight.dt.replace_time_zone("UTC"))
    return pl.when(pl.col("venue") == common.CONSOLIDATED_US).then(new_york).otherwise(other)


def _session_opens(days: pl.Series) -> pl.Series:
    hours = {day: session_hours("CMES", day) for day in days.drop_nulls().unique().to_list()}
    opens = {day: found[0] for day, found in hours.items() if found}
    known = pl.DataFrame({"day": list(opens), "opened": list(opens.values())}, {"day": pl.Date, "opened": pl.Datetime("us", "UTC")})
    return days.to_frame("day").join(known, on="day", how="left", maintain_order="left")["opened"]


def resampled(bars: pl.LazyFrame, interval: str) -> pl.LazyFrame:
    """Shorter bars (``venue``, ``symbol``, ``bar_start``, ``open`` .. ``volume``) -> longer ones of the same columns, exact."""
    price = pl.col("open").drop_nulls()
    return (
        bars.sort("venue", "symbol", "bar_start")
        .group_by("venue", "symbol", pl.col("bar_start").dt.truncate(interval), maintain_order=True)
        .agg(price.first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").drop_nulls().last(), pl.col("volume").sum())
    )


def sums(counted: pl.DataFrame) -> pl.DataFrame:
    """Volume, notional and vwap of each bar, exact: polars' own products would be rounded each."""
    sized = counted.select(*BAR, "size", "price").to_arrow()
    terms = sized.select(BAR).append_column("volume", sized["size"])
    exact = decimals.group_sums(terms.append_column("notional", decimals.multiply(sized["price"], sized["size"])), BAR)
    volume, notional = decimals.rounded(exact["volume"]), decimals.rounded(exact["notional"])
    vwap = decimals.divide(exact["notional"], exact["volume"])
    keys = [exact[c] for c in BAR]
    return pl.DataFrame(pa.table([*keys, volume, notional, vwap], names=[*BAR, "volume", "notional", "vwap"]))
