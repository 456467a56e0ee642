"""What an importer of recorded files is, and what importers share.

Here: the shape of one, bytes and text of a file, exact decimals, typing to the contract. Not here: formats (lean, databento.py, csv_bars.py, rss.py), walking
(replay.py).
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import Document, QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow

Rows = Iterator[tuple[Stream, pa.Table]]
Read = Iterator[tuple[Stream, pa.Table] | Document]


@dataclass(frozen=True)
class Importer:
    """A known format: its name for people, and how one file is read.

    ``read`` gives streams and tables of their columns (``wire_arrow``): the file's records in its order, those of one stream in one or
    more tables; and, before the rows that name them, documents to be kept. It checks the whole file before the first of all these:
    ``QuantLakeError``, naming file, line and what was found, is raised then or never.
    """

    name: str
    read: Callable[[Path], Read]


Recognised = Importer | str | None
"""An importer; the name of a known kind of file that has none; or None: not this module's kind."""


def typed(stream: Stream, rows: pl.DataFrame) -> pa.Table:
    """A frame with at least the stream's columns that may not be null as a table of all of them, in its Arrow types."""
    schema = wire_arrow(stream)
    absent = [pl.lit(None).alias(c.name) for c in stream.columns if c.null and c.name not in rows.columns]
    return rows.with_columns(absent).select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def counted(rows: pl.DataFrame) -> pl.DataFrame:
    """With ``source_records``: how many rows of its version the row's ``partition_date`` has."""
    return rows.with_columns(source_records=pl.len().over("source_name", "partition_date").cast(pl.Int64))


def decimals(values: pl.Series, shift: int = 0) -> pl.Series:
    """Integers, or plain decimal text, divided by 10^shift: exactly, as decimal(38,18).

    Text must have at most 18 - shift fraction digits; the caller has checked it (Arrow raises ``ArrowInvalid`` otherwise).
    Read at a smaller scale and relabelled, since a decimal division rounds.
    """
    return pl.Series(values=relabelled(pc.cast(values.to_arrow(compat_level=pl.CompatLevel.oldest()), pa.decimal128(38, 18 - shift))))


def relabelled(values: pa.Array) -> pa.Array:
    """Decimals of 38 digits and a smaller scale, divided by what is missing to 18 places."""
    return pa.Array.from_buffers(pa.decimal128(38, 18), len(values), values.buffers(), values.null_count, values.offset)


def content(path: Path, limit: int = -1) -> bytes:
    """A file's first ``limit`` bytes (all), unpacked where it is gzip; raises ``QuantLakeError`` where it cannot be."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            return file.read(limit)
    try:
        with gzip.open(path, "rb") as packed:
            return packed.read(limit)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise QuantLakeError(f"{path} is not a whole gzip file ({error}); fetch it again") from error


def decoded(raw: bytes, where: str) -> str:
    """Text without its byte order mark; raises ``QuantLakeError`` naming the first line that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise QuantLakeError(f"{where} line {line} is not UTF-8: {raw[error.start : error.start + 8]!r}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
