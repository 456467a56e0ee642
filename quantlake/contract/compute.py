"""Partitions of a built dataset: its pure function applied to its inputs, in the contract's columns and types."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl
import pyarrow as pa

from quantlake.contract import editions
from quantlake.contract.checks import Rows
from quantlake.contract.datasets import Built, Dataset, Derived, Stream, Table
from quantlake.contract.errors import QuantLakeError
from quantlake.contract.inputs import Input
from quantlake.contract.versions import versioned


def compute(dataset: Built, frames: Sequence[pl.LazyFrame], day: date, without: pa.Table | None = None) -> pa.Table:
    """The rows of ``day`` from the inputs' rows (one frame each of ``dataset.reads``), typed as ``dataset.spec.arrow`` (all nullable).

    ``without``: versions of a curated table (its rows) that are to be as if they had never come. Of a stream whose tombstones delete, they are among its rows (no ``_schema_id``); the function does not see them.
    Raises ``QuantLakeError`` where there is no function or it returns rows of another date; ``pa.ArrowInvalid`` where a cast
    would lose something; and whatever the function raises.
    """
    return _typed(dataset, _apply(dataset, frames, [day], without), [day])


def compute_each(
    dataset: Built, inputs: Sequence[pl.DataFrame], dates: Sequence[date], without: pa.Table | None = None
) -> tuple[pa.Table, Mapping[date, Exception]]:
    """The rows of every date that can be built from the inputs' rows of all that these dates read, and why the others cannot.

    Dates are built together where their function allows it: alone, a date of a few rows costs 8 ms.
    """
    fault: Exception | None = None
    if len(dates) > 1 and _together(dataset):
        try:
            return _typed(dataset, _apply(dataset, [rows.lazy() for rows in inputs], dates, without), dates), {}
        except Exception as error:  # some date's: which one's, they tell alone
            fault = error
    sliced = [_Slices(read, rows, dates) for read, rows in zip(dataset.reads, inputs, strict=True)]
    built, broken = [_typed(dataset, pl.DataFrame(dataset.spec.arrow.empty_table()), dates)], {}
    for day in dates:
        try:
            built.append(compute(dataset, [rows.of(day) for rows in sliced], day, without))
        except Exception as error:
            broken[day] = error
    if fault and not broken:
        said = f"{type(fault).__name__}: {fault}"
        warnings.warn(f"the function of {dataset.path} fails on {len(dates)} dates together, and on none alone, which is slow: {said}", stacklevel=2)
    return pa.concat_tables(built), broken


def _together(dataset: Built) -> bool:
    if isinstance(dataset, Table):
        return not any(s.spill_days or s.tombstones == "delete" for s in dataset.streams)
    return isinstance(dataset, Derived) and dataset.many


def _typed(dataset: Built, rows: pl.DataFrame, dates: Sequence[date]) -> pa.Table:
    strangers = sorted(set(rows["partition_date"].unique().to_list()) - set(dates), key=str)
    if strangers:
        asked = str(dates[0]) if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        raise QuantLakeError(f"the function of {dataset.path} returned rows of {strangers[:3]} for {asked}")
    table = rows.to_arrow()
    schema = pa.schema([f.with_nullable(True) for f in dataset.spec.arrow])
    return pa.Table.from_arrays([table[f.name].cast(f.type) for f in schema], schema=schema)


class _Slices:
    """The rows of one input over some dates, to be read a date at a time."""

    def __init__(self, read: Input, frame: pl.DataFrame, dates: Sequence[date]) -> None:
        self._read = read
        self._whole = frame if len(dates) == 1 or read.by_row or read.editions else None
        if self._whole is not None:
            return
        if read.first != read.last:
            frame = frame.with_row_index("_at")  # the order of arrival, over several dates
        parts = frame.partition_by("partition_date", as_dict=True, maintain_order=True)
        self._empty = frame.clear()
        self._parts: dict[date, pl.DataFrame] = {day: rows for (day,), rows in parts.items()}

    def of(self, day: date) -> pl.LazyFrame:
        """The rows that ``day`` reads, in their order."""
        if self._whole is not None:
            return self._whole.lazy()
        days = self._read.days(day, self._parts)
        rows = pl.concat([self._empty, *(self._parts[d] for d in days if d in self._parts)])
        return (rows.sort("_at").drop("_at") if self._read.first != self._read.last else rows).lazy()


def visible(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """The rows that none of its checks keeps back from publication, whatever becomes of the others."""
    bad = [check.bad.fill_null(False) for check in dataset.checks if isinstance(check, Rows) and check.quarantine]
    return rows.filter(pl.DataFrame(rows).select(~pl.any_horizontal(bad)).to_series().to_arrow()) if bad else rows


def _apply(dataset: Built, offered: Sequence[pl.LazyFrame], dates: Sequence[date], without: pa.Table | None) -> pl.DataFrame:
    if isinstance(dataset, Table):
        return _versions(dataset, offered, dates, without)
    if dataset.function is None:
        raise QuantLakeError(f"{dataset.path} has no function; decorate one with its .build")
    rows = dataset.function(*offered).select(c.name for c in dataset.columns)
    if isinstance(dataset, Derived) and dataset.many:
        rows = rows.filter(pl.col("partition_date").is_in(dates))
    return rows.collect()


def _versions(table: Table, offered: Sequence[pl.LazyFrame], dates: Sequence[date], without: pa.Table | None) -> pl.DataFrame:
    frames, known_editions, deletions = [], editions.NONE, None
    looked_up = offered[len(table.streams) :]
    for stream, frame in zip(table.streams, offered, strict=False):
        if stream.tombstones == "delete":
            tombstone = pl.col("_schema_id").is_null()
            deletions = frame.filter(tombstone).select("_key", known_at="_timestamp").collect()
            frames.append(frame.filter(~tombstone))
        elif table.by_file(stream):
            rows, found = editions.across(frame)
            known_editions = pl.concat([known_editions, found], how="diagonal")
            frames.append(rows)
        elif stream.files == "complete" and _tells_files(stream):
            rows, found = editions.whole(frame)
            known_editions = pl.concat([known_editions, found])
            frames.append(rows)
        else:
            frames.append(_once(frame, stream))
    if table.function is None and len(offered) > 1:
        raise QuantLakeError(f"{table.path} has no function, and is built from {len(offered)} inputs; decorate one with its .build")
    rows = table.function(*frames, *looked_up) if table.function else frames[0]
    held = rows.collect_schema().names()  # a source need not know of every column; what may not be null is for the checks to find
    kinds = pl.DataFrame(table.spec.arrow.empty_table()).schema
    absent = [pl.lit(None, kinds[c.name]).alias(c.name) for c in table.columns if c.name not in held]
    rows = rows.with_columns(absent).select(c.name for c in table.columns)
    if any(s.spill_days for s in table.streams):
        rows = rows.filter(pl.col("partition_date").is_in(dates))
    if known_editions.height and "_ends" not in known_editions.columns:
        rows = editions.dated(rows, known_editions)
    if without is not None:
        # by all its values: a mended version may have the same key and the same known_at
        values = [c.name for c in table.columns if not pa.types.is_nested(c.type.arrow)]
        gone = pl.LazyFrame(pl.DataFrame(without)).select(values)
        rows = rows.join(gone, on=values, how="anti", nulls_equal=True, maintain_order="left")
    return versioned(rows, table, deletions, known_editions).filter(pl.col("partition_date").is_in(dates))


def _once(rows: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    """A log's file that is sent again says nothing new: of each record of a version the first arrival counts."""
    if not _tells_files(stream):
        return rows
    frame = rows.collect()
    record = [c for c in (*editions.FILE, "partition_date", "line_number", "item_index") if c in frame.columns]
    of_file = pl.all_horizontal(pl.col("source_version", "line_number").is_not_null())
    again = frame.select(of_file & ~pl.struct(record).is_first_distinct()).to_series()
    return (frame.filter(~again) if again.any() else frame).lazy()


def _tells_files(stream: Stream) -> bool:
    return {"source_name", "source_version", "source_records", "line_number"} <= {c.name for c in stream.columns}
