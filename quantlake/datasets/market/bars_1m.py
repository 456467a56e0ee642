"""One-minute trade bars, in the lake and in ClickHouse.

Here: the columns of a bar, which trades count for it, how trades become bars, twice (polars and SQL), equal to the last digit.
Not here: storage, scheduling, other intervals.

A bar covers [bar_start, bar_start + 1 min), all session long. Which trades count:

- for open, high, low, close: LEAN's conditions & 0x344A2E = 0, that is by its TradeConditionFlags no cash, next-day or seller's
  trade, intermarket sweep, derivatively priced, sold last, out of sequence, stock-option, average price or cross trade. So 99 %
  of LEAN's own regular minute bars are met, without it 68 % (IBM, BAC, SPY; 2013-10-07/08);
- for volume, notional, vwap, trade_count: conditions & 0x5000000 = 0, no official open or close, which repeat an auction trade;
- conditions that are null or no hexadecimal number hide nothing; a trade of size 0 counts for nothing.

A minute in which nothing counts has no row. First and last are by event time, then line number, then trade id (shorter first,
as ids are numbers), then source; an absent one comes before all others.
"""

import polars as pl
import pyarrow as pa

from quantlake.contract import PARTITION_DATE, Column, Derived, Integer, Ordered, Price, Rollup, Size, Text, Timestamp, decimals
from quantlake.datasets.market.trades import trades

NOT_FOR_PRICES = 0x344A2E
NOT_FOR_VOLUME = 0x5000000

BAR = ("symbol", "venue", "bar_start", "partition_date")
KEY = ("venue", "symbol", "bar_start")
COLUMNS = (
    Column("symbol", Text, "As the source prints it."),
    Column("venue", Text, "Exchange or consolidated tape."),
    Column("bar_start", Timestamp, "Start of the minute, UTC."),
    Column("open", Price, "First price; null where only trades that count for volume exist.", null=True),
    Column("high", Price, "Highest price.", null=True),
    Column("low", Price, "Lowest price.", null=True),
    Column("close", Price, "Last price.", null=True),
    Column("volume", Size, "Sum of sizes.", minimum=0),
    Column("notional", Price, "Exact sum of price x size, rounded half up once, in the quote currency."),
    Column("vwap", Price, "The exact notional / volume, rounded half up; null where the volume is 0.", null=True),
    Column("trade_count", Integer, "Trades that count for volume.", minimum=0),
    Column("known_at", Timestamp, "The bar's end, or when the last trade of the minute could be known, if later; one that counts for nothing too."),
    PARTITION_DATE,
)
CHECKS = (Ordered("low", "open", "high"), Ordered("low", "close", "high"))

bars = Derived(
    __name__,
    of=(trades,),
    doc="A minute of a symbol's trading.",
    owner="market-data",
    key=KEY,
    columns=COLUMNS,
    checks=CHECKS,
)


@bars.build
def from_trades(trades: pl.LazyFrame) -> pl.LazyFrame:
    conditions = pl.col("conditions")
    is_mask = conditions.str.contains("^[0-9A-Fa-f]+$")
    mask = pl.when(is_mask).then(conditions.str.tail(8)).str.to_integer(base=16, dtype=pl.Int64).fill_null(0)
    sized = pl.col("size") != 0
    printed = (
        trades.with_columns(
            bar_start=pl.col("event_time").dt.truncate("1m"),
            for_prices=sized & (mask & NOT_FOR_PRICES == 0),
            for_volume=sized & (mask & NOT_FOR_VOLUME == 0),
        )
        .sort("event_time", "line_number", pl.col("trade_id").str.len_bytes(), "trade_id", "source_name")
        .select(*BAR, "price", "size", "known_at", "for_prices", "for_volume")
        .collect()
    )
    price = pl.col("price").filter(pl.col("for_prices"))
    quoted = printed.group_by(BAR).agg(
        open=price.first(),
        high=price.max(),
        low=price.min(),
        close=price.last(),
        trade_count=pl.col("for_volume").sum().cast(pl.Int64),
        known_at=pl.max_horizontal(pl.col("bar_start").first().dt.offset_by("1m"), pl.col("known_at").max()),
        counts=(pl.col("for_prices") | pl.col("for_volume")).any(),
    )
    joined = quoted.lazy().filter("counts").join(sums(printed.filter("for_volume")).lazy(), on=BAR, how="left")
    whole = joined.with_columns(pl.col("volume", "notional").fill_null(0))
    return whole.select(c.name for c in COLUMNS).sort("symbol", "venue", "bar_start")


def sums(counted: pl.DataFrame) -> pl.DataFrame:
    """Volume, notional and vwap of each bar, exact: polars' own products would be rounded each."""
    sized = counted.select(*BAR, "size", "price").to_arrow()
    terms = sized.select(BAR).append_column("volume", sized["size"])
    exact = decimals.group_sums(terms.append_column("notional", decimals.multiply(sized["price"], sized["size"])), BAR)
    volume, notional = decimals.rounded(exact["volume"]), decimals.rounded(exact["notional"])
    vwap = decimals.divide(exact["notional"], exact["volume"])
    keys = [exact[c] for c in BAR]
    return pl.DataFrame(pa.table([*keys, volume, notional, vwap], names=[*BAR, "volume", "notional", "vwap"]))


rollup = Rollup(
    __name__,
    of=trades,
    equals=bars,
    doc="A minute of a symbol's trading, in ClickHouse.",
    owner="market-data",
    key=KEY,
    columns=COLUMNS,
    checks=CHECKS,
    # Decimal256 throughout: ClickHouse's Decimal(38, 18) products and sums wrap without a word. divideDecimal truncates, so one
    # place more and then round is half up. What does not fit decimal(38,18) is refused where the result is typed.
    sql=f"""
        SELECT
            symbol, venue, bar_start,
            argMinOrNullIf(price, place, for_prices) AS open,
            maxOrNullIf(price, for_prices) AS high,
            minOrNullIf(price, for_prices) AS low,
            argMaxOrNullIf(price, place, for_prices) AS close,
            sumIf(wide_size, for_volume) AS volume,
            round(sumIf(product, for_volume), 18) AS notional,
            if(volume = 0, toDecimal256(1, 18), volume) AS divisor,
            if(volume = 0, NULL, round(divideDecimal(sumIf(product, for_volume), divisor, 19), 18)) AS vwap,
            countIf(for_volume) AS trade_count,
            greatest(bar_start + INTERVAL 1 MINUTE, max(t.known_at)) AS known_at,
            partition_date
        FROM (
            SELECT
                symbol, venue, price, known_at, partition_date,
                toUnixTimestamp64Micro(event_time) AS micros,
                fromUnixTimestamp64Micro(micros - positiveModulo(micros, 60000000), 'UTC') AS bar_start,
                (
                    event_time, ifNull(line_number, -1), ifNull(toInt64(length(trade_id)), -1), ifNull(trade_id, ''), source_name
                ) AS place,
                ifNull(conditions, '') AS printed,
                if(match(printed, '^[0-9A-Fa-f]+$'), reinterpretAsUInt64(reverse(unhex(right(printed, 8)))), 0) AS mask,
                size != 0 AND bitAnd(mask, {NOT_FOR_PRICES}) = 0 AS for_prices,
                size != 0 AND bitAnd(mask, {NOT_FOR_VOLUME}) = 0 AS for_volume,
                toDecimal256(size, 18) AS wide_size,
                toDecimal256(price, 18) * wide_size AS product
            FROM {{input}}
        ) AS t
        GROUP BY symbol, venue, bar_start, partition_date
        HAVING countIf(for_prices OR for_volume) > 0 AND throwIf(
            maxIf(abs(product), for_volume) >= toDecimal256('{decimals.LARGEST_TERM}', 0),
            'price x size is too large for an exact sum'
        ) = 0
        ORDER BY symbol, venue, bar_start
    """,
)
