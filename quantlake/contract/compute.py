"""One partition of a built dataset: its pure function applied to its inputs, in the contract's columns and types."""

from collections.abc import Sequence
from datetime import date

import polars as pl
import pyarrow as pa

from quantlake.contract import editions
from quantlake.contract.checks import Rows
from quantlake.contract.datasets import Built, Dataset, Stream, Table
from quantlake.contract.errors import QuantLakeError
from quantlake.contract.versions import versioned


def compute(dataset: Built, frames: Sequence[pl.LazyFrame], day: date, without: pa.Table | None = None) -> pa.Table:
    """The rows of ``day`` from the inputs' rows (one frame each of ``dataset.reads``), typed as ``dataset.spec.arrow`` (all nullable).

    ``without``: versions of a curated table (its rows) that are to be as if they had never come. Of a stream whose tombstones delete, they are among its rows (no ``_schema_id``); the function does not see them.
    Raises ``QuantLakeError`` where there is no function or it returns rows of another date; ``pa.ArrowInvalid`` where a cast
    would lose something; and whatever the function raises.
    """
    rows = _apply(dataset, frames, day, without)
    strangers = [d for d in rows["partition_date"].unique().to_list() if d != day]
    if strangers:
        raise QuantLakeError(f"the function of {dataset.path} returned rows of {strangers[:3]} for {day}")
    table = rows.to_arrow()
    schema = pa.schema([f.with_nullable(True) for f in dataset.spec.arrow])
    return pa.Table.from_arrays([table[f.name].cast(f.type) for f in schema], schema=schema)


def visible(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """The rows that none of its checks keeps back from publication, whatever becomes of the others."""
    bad = [check.bad.fill_null(False) for check in dataset.checks if isinstance(check, Rows) and check.quarantine]
    return rows.filter(pl.DataFrame(rows).select(~pl.any_horizontal(bad)).to_series().to_arrow()) if bad else rows


def _apply(dataset: Built, offered: Sequence[pl.LazyFrame], day: date, without: pa.Table | None) -> pl.DataFrame:
    if isinstance(dataset, Table):
        return _versions(dataset, offered, day, without)
    if dataset.function is None:
        raise QuantLakeError(f"{dataset.path} has no function; decorate one with its .build")
    return dataset.function(*offered).select(c.name for c in dataset.columns).collect()


def _versions(table: Table, offered: Sequence[pl.LazyFrame], day: date, without: pa.Table | None) -> pl.DataFrame:
    frames, known_editions, deletions = [], editions.NONE, None
    for stream, frame in zip(table.streams, offered, strict=True):
        if stream.tombstones == "delete":
            tombstone = pl.col("_schema_id").is_null()
            deletions = frame.filter(tombstone).select("_key", known_at="_timestamp").collect()
            frames.append(frame.filter(~tombstone))
        elif stream.files == "complete" and _tells_files(stream):
            rows, found = editions.whole(frame)
            known_editions = pl.concat([known_editions, found])
            frames.append(rows)
        else:
            frames.append(frame)
    if table.function is None and len(frames) > 1:
        raise QuantLakeError(f"{table.path} has no function, and is built from {len(frames)} streams; decorate one with its .build")
    rows = table.function(*frames) if table.function else frames[0]
    held = rows.collect_schema().names()  # a source need not know of every column; what may not be null is for the checks to find
    kinds = pl.DataFrame(table.spec.arrow.empty_table()).schema
    absent = [pl.lit(None, kinds[c.name]).alias(c.name) for c in table.columns if c.name not in held]
    rows = rows.with_columns(absent).select(c.name for c in table.columns)
    if any(s.spill_days for s in table.streams):
        rows = rows.filter(pl.col("partition_date") == day)
    if known_editions.height:
        rows = editions.dated(rows, known_editions)
    if without is not None:
        # by all its values: a mended version may have the same key and the same known_at
        values = [c.name for c in table.columns if not pa.types.is_nested(c.type.arrow)]
        gone = pl.LazyFrame(pl.DataFrame(without)).select(values)
        rows = rows.join(gone, on=values, how="anti", nulls_equal=True, maintain_order="left")
    return versioned(rows, table, deletions, known_editions)


def _tells_files(stream: Stream) -> bool:
    return {"source_name", "source_version", "source_records", "line_number"} <= {c.name for c in stream.columns}
