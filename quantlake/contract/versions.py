"""Versions of a key: how arrivals become versions, and what "latest" and "as known at T" mean.

Here: the rule itself, in polars and in SQL. Not here: where versions are stored or who asks.
"""

from datetime import datetime

import polars as pl

from quantlake.contract import editions as files
from quantlake.contract.datasets import Table
from quantlake.contract.wire import message_keys


def identity(table: Table) -> list[pl.Expr]:
    """Expressions that identify a row: the key where it is whole, else the fallback key (as ``_k0``, ``_k1``, ...)."""
    if not table.fallback_key:
        return [pl.col(c).alias(f"_k{i}") for i, c in enumerate(table.key)]
    whole = pl.all_horizontal(pl.col(c).is_not_null() for c in table.key)
    parts = [pl.when(whole).then(pl.col(c)) for c in table.key] + [pl.when(~whole).then(pl.col(c)) for c in table.fallback_key]
    return [part.alias(f"_k{i}") for i, part in enumerate(parts)]


TOMBSTONE = 1 << 40  # after every row known at the same moment


def versioned(
    rows: pl.LazyFrame, table: Table, deletions: pl.DataFrame | None = None, editions: pl.DataFrame = files.NONE
) -> pl.DataFrame:
    """Rows in arrival order -> the versions of each key, with ``superseded_at``, sorted by the table's ``sort_by``.

    Versions are ordered by (``known_at``, edition, arrival); one equal to its predecessor in business columns is dropped.
    ``deletions`` (``_key`` binary, ``known_at``) end the version of the rows with that message key, after rows known at the same
    moment; what is known later is a version again, also if it is equal to what was deleted. A row known before a deletion ends
    there, whenever it arrived. ``editions`` of files (rows have ``_edition`` then) end the rows that the next one lacks.
    """
    frame = rows.with_columns(identity(table)).collect()
    keys = [c for c in frame.columns if c.startswith("_k") and c[2:].isdigit()]
    ends = []
    if editions.height:
        ends.append(files.ended(frame, keys, editions))
    if deletions is not None and deletions.height:
        ends.append(_tombstones(frame, keys, table, deletions))
    if any(e.height for e in ends):
        kept = _ended(frame, keys, table, ends)
    elif frame.select(pl.struct(keys).n_unique()).item() == frame.height:  # no key twice: 5x cheaper than the windows below
        kept = frame.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    else:
        kept = _kept(frame.with_columns(_order=_edition_order(frame)), keys, table.business_columns).drop("_order")
    return kept.drop(*keys, "_edition", strict=False).sort(table.sort_by or table.key, maintain_order=True)


def _tombstones(frame: pl.DataFrame, keys: list[str], table: Table, deletions: pl.DataFrame) -> pl.DataFrame:
    column = next(c for c in table.columns if c.name == table.streams[0].message_key)
    sent = pl.Series("_key", message_keys(frame[column.name].to_arrow().cast(column.type.arrow)), pl.Binary)
    ends = deletions.join(frame.select(keys).with_columns(sent).unique(), on="_key")
    return ends.select(*keys, "known_at", _order=pl.lit(TOMBSTONE, pl.Int64))


def _edition_order(frame: pl.DataFrame) -> pl.Expr:
    return 2 * pl.col("_edition").fill_null(0) if "_edition" in frame.columns else pl.lit(0, pl.Int64)


def _ended(frame: pl.DataFrame, keys: list[str], table: Table, ends: list[pl.DataFrame]) -> pl.DataFrame:
    """An end is a version of its keys that differs from every row, and is not kept."""
    events = pl.concat(
        [
            frame.with_columns(_deleted=pl.lit(False), _order=_edition_order(frame)),
            *(e.with_columns(_deleted=pl.lit(True)) for e in ends),
        ],
        how="diagonal",
    )
    return _kept(events, keys, (*table.business_columns, "_deleted")).filter(~pl.col("_deleted")).drop("_deleted", "_order")


def _kept(frame: pl.DataFrame, keys: list[str], business_columns: tuple[str, ...]) -> pl.DataFrame:
    business = pl.struct(business_columns)
    changed = business.ne_missing(business.shift(1)).over(keys)
    first = pl.int_range(pl.len()).over(keys) == 0
    return (
        frame.sort("known_at", "_order", maintain_order=True, nulls_last=True)
        .filter(first | changed)
        .with_columns(superseded_at=pl.col("known_at").shift(-1).over(keys))
    )


def latest(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("superseded_at").is_null())


def as_known_at(moment: datetime, *, versions: bool) -> pl.Expr:
    """The predicate of "as known at": ``versions`` where the table stores ``superseded_at``; else raw rows by arrival."""
    known, superseded = pl.col("known_at"), pl.col("superseded_at")
    if versions:
        return (known <= moment) & (superseded.is_null() | (superseded > moment))
    return pl.coalesce(known, "_timestamp") <= moment


def as_known_at_sql(moment: datetime, *, versions: bool) -> str:
    """``as_known_at`` in SQL."""
    t = f"TIMESTAMPTZ '{moment.isoformat()}'"
    if versions:
        return f"known_at <= {t} AND (superseded_at IS NULL OR superseded_at > {t})"
    return f"coalesce(known_at, _timestamp) <= {t}"
