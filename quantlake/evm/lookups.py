"""What was said of a contract, as rows of a date may know it.

Here: choosing among claims. Not here: who makes them, what they say.
"""

from collections.abc import Sequence

import polars as pl


def on_date(rows: pl.DataFrame, claims: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """``rows``, in their order, with the columns of the best claim of their ``by`` that was ``first_seen`` by their ``partition_date``.

    ``claims``: best first; ``first_seen`` null: of any date. What a row gets does not depend on what was first seen later, so neither on
    which dates stand beside its own.
    """
    seen = claims.with_columns(pl.col("first_seen").fill_null(pl.date(1, 1, 1))).with_row_index("_rank").sort("first_seen", maintain_order=True)
    best = seen.filter(pl.col("_rank") == pl.col("_rank").cum_min().over(by)).drop("_rank")
    asked = rows.select(*by, "partition_date").unique().sort("partition_date")
    found = asked.join_asof(best, left_on="partition_date", right_on="first_seen", by=by, check_sortedness=False).drop("first_seen")
    return rows.join(found, on=[*by, "partition_date"], how="left", maintain_order="left")
