"""Versions of a key: how arrivals become versions, and what "latest" and "as known at T" mean.

Here: the rule itself, in polars and in SQL. Not here: where versions are stored or who asks.
"""

from datetime import datetime

import polars as pl

from quantlake.contract.datasets import Table


def identity(table: Table) -> list[pl.Expr]:
    """Expressions that identify a row: the key where it is whole, else the fallback key (as ``_k0``, ``_k1``, ...)."""
    if not table.fallback_key:
        return [pl.col(c).alias(f"_k{i}") for i, c in enumerate(table.key)]
    whole = pl.all_horizontal(pl.col(c).is_not_null() for c in table.key)
    parts = [pl.when(whole).then(pl.col(c)) for c in table.key] + [pl.when(~whole).then(pl.col(c)) for c in table.fallback_key]
    return [part.alias(f"_k{i}") for i, part in enumerate(parts)]


def versioned(rows: pl.LazyFrame, table: Table) -> pl.DataFrame:
    """Rows in arrival order -> the versions of each key, with ``superseded_at``, sorted by the table's ``sort_by``.

    Versions are ordered by (``known_at``, arrival); one equal to its predecessor in business columns is dropped.
    """
    frame = rows.with_columns(identity(table)).collect()
    keys = [c for c in frame.columns if c.startswith("_k") and c[2:].isdigit()]
    if frame.select(pl.struct(keys).n_unique()).item() == frame.height:  # no key twice: 5x cheaper than the windows below
        kept = frame.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    else:
        business = pl.struct(table.business_columns)
        changed = business.ne_missing(business.shift(1)).over(keys)
        first = pl.int_range(pl.len()).over(keys) == 0
        kept = (
            frame.sort("known_at", maintain_order=True, nulls_last=True)
            .filter(first | changed)
            .with_columns(superseded_at=pl.col("known_at").shift(-1).over(keys))
        )
    return kept.drop(keys).sort(table.sort_by or table.key, maintain_order=True)


def latest(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("superseded_at").is_null())


def as_known_at_sql(moment: datetime, *, versions: bool) -> str:
    """The SQL predicate of "as known at": ``versions`` where the table stores ``superseded_at``; else raw rows by arrival."""
    t = f"TIMESTAMPTZ '{moment.isoformat()}'"
    if versions:
        return f"known_at <= {t} AND (superseded_at IS NULL OR superseded_at > {t})"
    return f"coalesce(known_at, _timestamp) <= {t}"
