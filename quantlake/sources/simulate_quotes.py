"""Simulated quotes: what stood in the book just before some of the simulated trades.

Here: quotes of one day as the venues print them. Not here: the order of sending (simulate.py).
"""

from datetime import date

import numpy as np
import polars as pl

from quantlake.sources.importers import decimals

EACH = 4  # trades a quote
ONE_SIDED = 0.01  # of quotes: nobody offers


def quotes_before(printed: pl.DataFrame, day: date, seed: int, stream_number: int) -> pl.DataFrame:
    """Quotes of a partition date, with the columns of ``quotes.raw``, by ``known_at``: a cent about every fourth trade's price."""
    random = np.random.default_rng([seed, day.toordinal(), stream_number])
    at = printed.gather_every(EACH)
    n = len(at)
    cent, sizes = pl.lit(0.01).cast(pl.Decimal(38, 18)), [decimals(pl.Series(100 * random.geometric(0.3, n))) for _ in "ba"]
    two_sided = pl.Series(random.random(n) >= ONE_SIDED)
    earlier = pl.duration(milliseconds=1)
    rows = at.select(
        "symbol", "venue", "partition_date", "source_version", "source_records",
        update_id=pl.lit(None, pl.String), quote_condition=pl.lit(None, pl.String),
        bid_price=pl.when(pl.col("price") > cent).then(pl.col("price") - cent), bid_size=pl.lit(sizes[0]),
        ask_price=pl.when(two_sided).then(pl.col("price") + cent), ask_size=pl.when(two_sided).then(pl.lit(sizes[1])),
        event_time=pl.col("event_time") - earlier, known_at=pl.col("known_at") - earlier,
        source_name=pl.format("simulated/{}/quotes/{}/{}", pl.lit(seed), "symbol", pl.lit(day)),
    )  # fmt: skip
    return rows.with_columns(line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("symbol"))
