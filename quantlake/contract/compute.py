"""One partition of a built dataset: its pure function applied to its inputs, in the contract's columns and types."""

from collections.abc import Sequence
from datetime import date

import polars as pl
import pyarrow as pa

from quantlake.contract.datasets import Built, Stream, Table
from quantlake.contract.errors import QuantLakeError
from quantlake.contract.versions import versioned


def compute(dataset: Built, frames: Sequence[pl.LazyFrame], day: date, without: pa.Table | None = None) -> pa.Table:
    """The rows of ``day`` from the inputs' rows of that day, typed as ``dataset.spec.arrow`` (all nullable).

    ``without``: versions of a curated table (its rows) that are to be as if they had never come. Of a stream whose tombstones delete, they are among its rows (no ``_schema_id``); the function does not see them.
    Raises ``QuantLakeError`` where there is no function or it returns rows of another date; ``pa.ArrowInvalid`` where a cast
    would lose something; and whatever the function raises.
    """
    rows = _apply(dataset, frames, without)
    strangers = [d for d in rows["partition_date"].unique().to_list() if d != day]
    if strangers:
        raise QuantLakeError(f"the function of {dataset.path} returned rows of {strangers[:3]} for {day}")
    table = rows.to_arrow()
    schema = pa.schema([f.with_nullable(True) for f in dataset.spec.arrow])
    return pa.Table.from_arrays([table[f.name].cast(f.type) for f in schema], schema=schema)


def _apply(dataset: Built, offered: Sequence[pl.LazyFrame], without: pa.Table | None) -> pl.DataFrame:
    deleting = [isinstance(i, Stream) and i.tombstones == "delete" for i in dataset.inputs]
    tombstone = pl.col("_schema_id").is_null()
    frames = [frame.filter(~tombstone) if deletes else frame for frame, deletes in zip(offered, deleting, strict=True)]
    if isinstance(dataset, Table):
        deletions = offered[0].filter(tombstone).select("_key", known_at="_timestamp").collect() if deleting[0] else None
        rows = dataset.function(frames[0]) if dataset.function else frames[0]
        rows = rows.select(c.name for c in dataset.columns)
        if without is not None:
            # by all its values: a mended version may have the same key and the same known_at
            values = [c.name for c in dataset.columns if not pa.types.is_nested(c.type.arrow)]
            gone = pl.LazyFrame(pl.DataFrame(without)).select(values)
            rows = rows.join(gone, on=values, how="anti", nulls_equal=True, maintain_order="left")
        return versioned(rows, dataset, deletions)
    if dataset.function is None:
        raise QuantLakeError(f"{dataset.path} has no function; decorate one with its .build")
    return dataset.function(*frames).select(c.name for c in dataset.columns).collect()
