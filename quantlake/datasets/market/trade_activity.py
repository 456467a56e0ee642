"""Trading activity of the last half hour, for models.

Here: the features of each minute bar's end, over the bars of its day that ended in the 30 minutes up to it. Not here: where they
are served, or how fresh they are there.
"""

from datetime import timedelta

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, FeatureView, Float, Integer, Text, Timestamp
from quantlake.datasets.market.bars_1m import bars

trade_activity = FeatureView(
    __name__,
    of=(bars,),
    doc="What a symbol did in the 30 minutes before a bar's end.",
    owner="market-data",
    key=("symbol", "venue", "event_time"),
    entities=("symbol", "venue"),
    ttl=timedelta(days=1),
    columns=(
        Column("symbol", Text, "As the source prints it."),
        Column("venue", Text, "Exchange or consolidated tape."),
        Column("event_time", Timestamp, "The bar's end, UTC; the window is (event_time - 30 min, event_time] of bar ends."),
        Column("volume_30m", Float, "Sum of the bars' volumes, in shares or base currency.", minimum=0),
        Column(
            "volatility_30m",
            Float,
            "Sample standard deviation of the window's log returns, per bar, not annualised; a bar's return is from the day's "
            "previous close to its own, whatever minutes lie between. Null with fewer than two returns.",
            null=True,
            minimum=0,
        ),
        Column("trade_count_30m", Integer, "Trades that count for volume.", minimum=0),
        Column("known_at", Timestamp, "When all that went into it was known: the window's bars, and the close before the first."),
        PARTITION_DATE,
    ),
)

GROUP = ("symbol", "venue", "partition_date")


@trade_activity.build
def from_bars(bars: pl.LazyFrame) -> pl.LazyFrame:
    closed = pl.col("close").is_not_null()
    return (
        bars.with_columns(event_time=pl.col("bar_start").dt.offset_by("1m"))
        .sort(*GROUP, "event_time")
        .with_columns(
            last_close=pl.col("close").cast(pl.Float64).forward_fill().over(GROUP),
            last_known_at=pl.when(closed).then("known_at").forward_fill().over(GROUP),
        )
        .with_columns(
            log_return=pl.when(closed).then((pl.col("last_close") / pl.col("last_close").shift().over(GROUP)).log()),
            known_at=pl.max_horizontal("known_at", pl.col("last_known_at").shift().over(GROUP)),
        )
        .rolling("event_time", period="30m", closed="right", group_by=GROUP)
        .agg(
            volume_30m=pl.col("volume").sum().cast(pl.Float64),
            volatility_30m=pl.col("log_return").drop_nulls().std(),
            trade_count_30m=pl.col("trade_count").sum(),
            known_at=pl.col("known_at").max(),
        )
        .select(c.name for c in trade_activity.columns)
        .sort("symbol", "venue", "event_time")
    )
