"""Trade bars of one minute, in the lake and in ClickHouse, equal to the last digit. What a bar is: bars.py."""

from quantlake.contract import Rollup, decimals
from quantlake.datasets.market.bars import CHECKS, COUNTED, KEY, table
from quantlake.datasets.market.trades import trades

bars = table(__name__, "1m", "A minute of a symbol's trading.")

rollup = Rollup(
    __name__,
    of=trades,
    equals=bars,
    doc="A minute of a symbol's trading, in ClickHouse.",
    owner="market-data",
    key=KEY,
    columns=COUNTED,
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
                    event_time, ifNull(line_number, -1), ifNull(item_index, -1), ifNull(toInt64(length(trade_id)), -1),
                    ifNull(trade_id, ''), source_name
                ) AS place,
                ifNull(updates_ohlc, true) AS for_prices,
                ifNull(updates_volume, true) AS for_volume,
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
