"""The dates of tombstones that delete: the partition that holds the deleted key must see them.

A tombstone has no fields, hence no partition date of its own. One offset is one row, so it can lie on one date only: that of the
newest row of its key. Since all versions of a key share a partition, no other date holds anything to delete. A tombstone of a key
that is not known deletes nothing and stays on the UTC date of its broker time.
"""

import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.ports import Lake

ROW = {"_schema_id": False, "_error_class": True}  # which columns are null
TOMBSTONE = {"_schema_id": True, "_error_class": True}


def dated(stream: Stream, rows: pa.Table, lake: Lake) -> pa.Table:
    """Rows about to land (the stored columns, in arrival order), each tombstone on the date of the newest row of its key: the
    nearest before it among ``rows``, else the newest in the raw table.

    Only a batch with tombstones of a stream where they delete costs a look: four columns of the raw table, a data file at a time.
    """
    if stream.tombstones == "ignore":
        return rows
    offered = pl.DataFrame(rows.select(["_key", "partition_date", *TOMBSTONE])).with_row_index("_at")
    tombstones = offered.filter(_is(TOMBSTONE), pl.col("_key").is_not_null()).select("_key", "_at")
    if not tombstones.height:
        return rows
    near = offered.filter(_is(ROW)).select("_key", "_at", near="partition_date")
    found = tombstones.join_asof(near, on="_at", by="_key", check_sortedness=False)
    stored = _newest(stream, found.filter(pl.col("near").is_null()).select("_key").unique(), lake)
    found = found.join(stored, on="_key", how="left").select("_at", found=pl.coalesce("near", "stored"))
    dates = offered.join(found, on="_at", how="left", maintain_order="left").select(pl.coalesce("found", "partition_date"))
    return _on(rows, dates.to_series())


def overtaken(stream: Stream, rows: pa.Table, lake: Lake) -> tuple[pa.Table, pa.Table]:
    """Tombstones that landed while ``rows``, which come before them, were dead letters: as they are, and on these rows' dates."""
    keys = pl.DataFrame(rows.select(["_key", "_log", "_partition", "_offset", "_timestamp", "partition_date"]))
    empty = pa.schema([f.with_nullable(True) for f in stream.spec.arrow]).empty_table()
    as_they_are, moved = [empty], [empty]
    if stream.tombstones == "ignore" or not rows.num_rows:
        return empty, empty
    one_log = (pl.col("_log") == pl.col("_log_row")) & (pl.col("_partition") == pl.col("_partition_row"))
    before = pl.when(one_log).then(pl.col("_offset_row") < pl.col("_offset")).otherwise(pl.col("_timestamp_row") <= pl.col("_timestamp"))
    for stored in lake.batches(stream.spec, nulls=TOMBSTONE):
        places = pl.DataFrame(stored.select(keys.columns)).with_row_index("_at")
        met = places.join(keys, on="_key", suffix="_row").filter(before).sort("_timestamp_row", "_offset_row").unique("_at", keep="last")
        met = met.filter(pl.col("partition_date") != pl.col("partition_date_row")).sort("_at")
        part = stored.take(met["_at"].to_arrow())
        as_they_are.append(part)
        moved.append(_on(part, met["partition_date_row"]))
    return pa.concat_tables(as_they_are), pa.concat_tables(moved)


def _newest(stream: Stream, keys: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """``keys`` (``_key``) that the raw table has rows of: ``_key``, ``stored`` (the newest one's date)."""
    columns = ["_key", "_timestamp", "_offset", "partition_date"]
    newest = pl.DataFrame(stream.spec.arrow.empty_table().select(columns))
    for part in lake.batches(stream.spec, columns, nulls=ROW) if keys.height else ():
        met = pl.DataFrame(part).select(columns).join(keys, on="_key", how="semi")
        newest = pl.concat([newest, met]).sort("_timestamp", "_offset").unique("_key", keep="last")
    return newest.select("_key", stored="partition_date")


def _is(nulls: dict[str, bool]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).is_null() == null for name, null in nulls.items())


def _on(rows: pa.Table, dates: pl.Series) -> pa.Table:
    place = rows.schema.get_field_index("partition_date")
    return rows.set_column(place, rows.schema.field(place), dates.to_arrow())
