"""What the tables of alternative data share: times of publication.

Here: when a published thing was known, and a publication that lies in the future. Not here: datasets.
"""

import polars as pl

from quantlake.contract import Rows

IN_TIME = Rows(
    "published_in_future", pl.col("published_at") - pl.col("known_at") > pl.duration(minutes=5), "published over 5 min after they were known",
    ("published_at", "known_at"), blocking=False,
)  # fmt: skip


def known_at() -> pl.Expr:
    """``known_at``; of what says that it will be published, no later than the broker took it."""
    ahead = pl.col("published_at") > pl.col("_timestamp")
    return pl.when(ahead).then(pl.min_horizontal("known_at", "_timestamp")).otherwise("known_at").alias("known_at")
