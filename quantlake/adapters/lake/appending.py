"""Appending to an Iceberg table in two steps: data files that nobody sees yet, then one commit of them all.

Here: files, their layout and statistics. Not here: what is appended, and with which properties (landing).
pyiceberg's own append casts every batch, packs by size and hides nothing before its commit: 1.1-1.6 CPU-s a million trades, this
0.3-0.4, of which bare parquet is 0.3.
"""

import contextlib
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from quantlake.adapters.lake.bounds import unbounded

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionKey
    from pyiceberg.table import Table

OPEN_FILES = 16  # a file a storage partition; a backlog over more closes the one not written to for longest
SAMPLE_ROWS = 2_000
EPOCH = date(1970, 1, 1)


@dataclass
class _Open:
    key: "PartitionKey"
    path: str
    stream: Any
    writer: pq.ParquetWriter


class Staged:
    """Rows of one table in data files that no snapshot has. Each ``write`` is a row group of the file of its storage partition."""

    def __init__(self, table: "Table") -> None:
        from pyiceberg.table.locations import load_location_provider

        self._table = table
        self._locations = load_location_provider(table.location(), table.properties)
        self._open: OrderedDict[Any, _Open] = OrderedDict()
        self._done: list[DataFile] = []
        self.dates: set[date] = set()

    def write(self, rows: pa.Table) -> None:
        """Add rows, in their order: the table's columns in any order, text as views or not; what is missing is null."""
        days = rows["partition_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
        found = np.unique(days).tolist()
        self.dates |= {EPOCH + timedelta(days=d) for d in found}
        keys = {day: self._key(day) for day in found}
        places = {key.partition: key for key in keys.values()}
        if len(places) == 1:
            parts = [rows]
        else:
            names = list(places)
            parts = _split(rows, pl.Series([names.index(keys[day].partition) for day in found], dtype=pl.UInt32).gather(np.searchsorted(found, days)))
        for key, part in zip(places.values(), parts, strict=True):
            self._file(key, part).write_table(self._conformed(part), row_group_size=max(1, part.num_rows))
        while len(self._open) > OPEN_FILES:
            self._close(self._open.popitem(last=False)[1])

    def finish(self) -> "list[DataFile]":
        """Close every file; what was written, ready to be committed."""
        while self._open:
            self._close(self._open.popitem(last=False)[1])
        return self._done

    def discard(self) -> None:
        """Delete what was written, as far as that can be done."""
        for opened in self._open.values():
            with contextlib.suppress(OSError, pa.ArrowException):
                opened.writer.close()
            with contextlib.suppress(OSError):
                opened.stream.close()
        for path in [o.path for o in self._open.values()] + [f.file_path for f in self._done]:
            with contextlib.suppress(OSError):
                self._table.io.delete(path)
        self._open.clear()
        self._done = []

    def _key(self, day: int) -> "PartitionKey":
        """The storage partition of a date (days since 1970)."""
        from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
        from pyiceberg.types import DateType

        spec = self._table.spec()
        values = [PartitionFieldValue(field, field.transform.transform(DateType())(day)) for field in spec.fields]
        return PartitionKey(values, spec, self._table.schema())

    def _file(self, key: "PartitionKey", rows: pa.Table) -> pq.ParquetWriter:
        opened = self._open.pop(key.partition, None)
        if opened is None:
            path = self._locations.new_data_location(f"{uuid.uuid4()}.parquet", key)
            stream = self._table.io.new_output(path).create()
            opened = _Open(key, path, stream, self._writer(stream, rows))
        self._open[key.partition] = opened
        return opened.writer

    def _writer(self, stream: Any, rows: pa.Table) -> pq.ParquetWriter:
        from pyiceberg.io.pyarrow import _get_parquet_writer_kwargs

        schema = self._schema(rows)
        dictionaries, encodings = layout(rows)
        options = _get_parquet_writer_kwargs(self._table.properties)
        return pq.ParquetWriter(
            stream, schema, store_schema=False, store_decimal_as_integer=True, use_dictionary=dictionaries, column_encoding=encodings, **options
        )

    def _schema(self, rows: pa.Table) -> pa.Schema:
        have = {f.name: f.type for f in rows.schema}
        fields = []
        for field, stored in zip(self._table.schema().fields, self._table.schema().as_arrow(), strict=True):
            fields.append(_with_id(field.name, field.field_type, have.get(field.name, stored.type), field.field_id, nullable=True))
        return pa.schema(fields)

    def _conformed(self, rows: pa.Table) -> pa.Table:
        """In the stored order, with field ids; a view of text is written as it is, at no cost."""
        schema = self._schema(rows)
        arrays = [
            _renamed(rows[f.name], f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in schema
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _close(self, opened: _Open) -> None:
        from pyiceberg.io.pyarrow import (
            compute_statistics_plan,
            data_file_statistics_from_parquet_metadata,
            parquet_path_to_id_mapping,
        )
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

        table = self._table
        with opened.stream:
            opened.writer.close()
        metadata, ids = opened.writer.writer.metadata, parquet_path_to_id_mapping(table.schema())
        statistics = data_file_statistics_from_parquet_metadata(metadata, compute_statistics_plan(table.schema(), table.properties), ids)
        for field in unbounded(metadata, ids):
            statistics.column_aggregates.pop(field, None)
        self._done.append(DataFile.from_args(
            content=DataFileContent.DATA, file_path=opened.path, file_format=FileFormat.PARQUET, partition=opened.key.partition,
            file_size_in_bytes=len(table.io.new_input(opened.path)), sort_order_id=None, spec_id=table.metadata.default_spec_id,
            equality_ids=None, key_metadata=None, **statistics.to_serialized_dict(),
        ))  # fmt: skip


def layout(rows: pa.Table) -> tuple[list[str], dict[str, str]]:
    """Which columns a sample says repeat, for a dictionary, and the encodings of the other integers and times.

    Against dictionaries everywhere, which begin one for every column before they give it up: 0.28 to 0.41 CPU-s a million trades,
    13 to 19 MB.
    """
    sample = pl.DataFrame(rows.slice(0, 0) if not rows.num_rows else pa.concat_tables(_spread(rows)))
    flat = [c for c in sample.columns if not sample[c].dtype.is_nested()]
    repeats = [c for c in flat if sample[c].n_unique() * 2 <= max(2, sample.height) and sample[c].dtype != pl.Boolean]
    numbers = {c: "DELTA_BINARY_PACKED" for c in flat if c not in repeats and sample[c].dtype in (pl.Int64, pl.Date, pl.Datetime)}
    return repeats, numbers


def _spread(rows: pa.Table) -> Iterator[pa.Table]:
    if rows.num_rows <= SAMPLE_ROWS:  # a few rows may be many megabytes, which none of them should be twice
        yield rows
        return
    pieces = 20
    length = SAMPLE_ROWS // pieces
    for n in range(pieces):
        yield rows.slice(n * (rows.num_rows - length) // (pieces - 1), length)


def _split(rows: pa.Table, place: pl.Series) -> list[pa.Table]:
    """The rows of each place, by its number, in their order. Arrow has no take over views of text; polars has."""
    parts = pl.DataFrame(rows).with_columns(place.alias("_place")).partition_by("_place", maintain_order=True, include_key=False, as_dict=True)
    return [parts[(n,)].to_arrow(compat_level=pl.CompatLevel.newest()) for n in range(len(parts))]


def _with_id(name: str, kind: Any, stored: pa.DataType, field_id: int, *, nullable: bool) -> pa.Field:
    if pa.types.is_list(stored) or pa.types.is_large_list(stored):
        element = _with_id("element", kind.element_type, stored.value_type, kind.element_id, nullable=True)
        stored = pa.large_list(element) if pa.types.is_large_list(stored) else pa.list_(element)
    return pa.field(name, stored, nullable, metadata={b"PARQUET:field_id": str(field_id).encode()})


def _renamed(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The same values under a type that names its elements and ids otherwise."""
    if not pa.types.is_nested(kind):
        return values if values.type == kind else values.cast(kind)
    chunks = [type(c).from_arrays(c.offsets, c.values.cast(kind.value_type), kind, mask=c.is_null() if c.null_count else None) for c in values.chunks]
    return pa.chunked_array(chunks, kind)
