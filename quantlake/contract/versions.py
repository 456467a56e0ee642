"""Versions of a key: how arrivals become versions, and what "latest" and "as known at T" mean.

Here: the rule itself, in polars and in SQL. Not here: where versions are stored or who asks.
"""

from datetime import datetime

import polars as pl

from quantlake.contract import editions as files
from quantlake.contract.datasets import Table, View
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
    there, whenever it arrived. ``editions`` of files end the rows that the next one lacks; rows have ``_edition`` then, but for editions
    that count as a whole (``editions.across``), whose keys are one over all dates.
    """
    frame = rows.with_columns(identity(table)).collect()
    keys = [c for c in frame.columns if c.startswith("_k") and c[2:].isdigit()]
    ends = []
    if "_ends" in editions.columns and editions.height:
        of_file = pl.col("source_name").is_in(editions["source_name"].implode())
        place = pl.when(of_file).then(pl.col("source_name")).otherwise(pl.col("partition_date").cast(pl.String))
        keys = ["_place", *keys]
        frame, gone = files.pieces(frame.with_columns(_place=place), keys, editions)
        ends.append(gone)
    else:
        keys = ["partition_date", *keys]
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
    if "_place" in keys:
        kept = _once_a_date(kept, keys[1:])
    helpers = [c for c in keys if c != "partition_date"]
    return kept.drop(*helpers, "_edition", strict=False).sort("partition_date", *(table.sort_by or table.key), maintain_order=True)


def _once_a_date(kept: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Where two files have a key on one date, the one known later ends the other there."""
    following = pl.col("known_at").shift(-1).over("partition_date", *keys)
    ordered = kept.sort("known_at", "superseded_at", nulls_last=True, maintain_order=True)
    return ordered.with_columns(superseded_at=pl.min_horizontal("superseded_at", following))


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


def across(rows: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """Stored rows of any partitions, each version ended by the next of its key, in whatever partition that lies (``versions = across``).

    Rows of other tables pass as they are.
    """
    if table.versions == "within":
        return rows
    keys = [c.meta.output_name() for c in identity(table)]
    following = pl.col("known_at").shift(-1).over(keys)
    ordered = rows.with_columns(identity(table)).sort("known_at", "superseded_at", "partition_date", nulls_last=True, maintain_order=True)
    return ordered.with_columns(superseded_at=pl.min_horizontal("superseded_at", following)).drop(keys)


def across_sql(source: str, table: Table) -> str:
    """``across`` of a table expression, as one in SQL."""
    if table.versions == "within":
        return source
    whole = " AND ".join(f'"{c}" IS NOT NULL' for c in table.key)
    keys = [f'"{c}"' for c in table.key]
    if table.fallback_key:
        keys = [f'CASE WHEN {whole} THEN "{c}" END' for c in table.key] + [f'CASE WHEN NOT ({whole}) THEN "{c}" END' for c in table.fallback_key]
    following = f"lead(known_at) OVER (PARTITION BY {', '.join(keys)} ORDER BY known_at, superseded_at NULLS LAST, partition_date)"
    return f"(SELECT * REPLACE (least(superseded_at, {following}) AS superseded_at) FROM {source})"


def latest(rows: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """Of ``across`` rows the newest version of each key that has not ended."""
    return rows.filter(pl.col("superseded_at").is_null() & _not_ended(table))


def latest_sql(table: Table) -> str:
    """``latest`` as a predicate in SQL."""
    return f"superseded_at IS NULL{_not_ended_sql(table)}"


def known_then(moment: datetime, table: Table) -> pl.Expr:
    """The predicate of "as known at" over ``across`` rows."""
    known, superseded = pl.col("known_at"), pl.col("superseded_at")
    return (known <= moment) & (superseded.is_null() | (superseded > moment)) & _not_ended(table)


def known_then_sql(moment: datetime, table: Table) -> str:
    """``known_then`` in SQL."""
    t = f"TIMESTAMPTZ '{moment.isoformat()}'"
    return f"known_at <= {t} AND (superseded_at IS NULL OR superseded_at > {t}){_not_ended_sql(table)}"


def arrived_then(moment: datetime) -> pl.Expr:
    """Whether a raw row was known, or where nothing says when it was, had arrived."""
    return pl.coalesce("known_at", "_timestamp") <= moment


def arrived_then_sql(moment: datetime) -> str:
    """``arrived_then`` in SQL."""
    return f"coalesce(known_at, _timestamp) <= TIMESTAMPTZ '{moment.isoformat()}'"


def viewed(rows: pl.LazyFrame, view: View) -> pl.LazyFrame:
    """The rows of a further view, of a table's latest rows or those of then."""
    if view.conflict:
        value, day = view.conflict
        rows = rows.with_columns(conflict=pl.col(value).n_unique().over(*view.per, day) > 1)
    return rows.sort(view.newest, maintain_order=True).unique(view.per, keep="last", maintain_order=True)


def viewed_sql(source: str, view: View) -> str:
    """``viewed`` of a table expression, as a query in SQL."""
    per = ", ".join(f'"{c}"' for c in view.per)
    conflict = ""
    if view.conflict:
        value, day = view.conflict
        conflict = f', count(DISTINCT "{value}") OVER (PARTITION BY {per}, "{day}") + max(("{value}" IS NULL)::INT) OVER (PARTITION BY {per}, "{day}") > 1 AS conflict'
    order = ", ".join(f'"{c}" DESC NULLS LAST' for c in view.newest)
    return f"SELECT *{conflict} FROM {source} QUALIFY row_number() OVER (PARTITION BY {per} ORDER BY {order}) = 1"


def _not_ended(table: Table) -> pl.Expr:
    return pl.lit(True) if table.ended_by is None else ~pl.col(table.ended_by).fill_null(False)


def _not_ended_sql(table: Table) -> str:
    return "" if table.ended_by is None else f' AND NOT coalesce("{table.ended_by}", false)'
