"""What an importer of recorded files is, and what importers share.

Here: the shape of one, exact decimals, typing to the contract. Not here: formats (lean.py, rss.py), walking (replay.py).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import Stream
from quantlake.contract.wire import wire_arrow


@dataclass(frozen=True)
class Importer:
    """A known format: its name for people, the stream its records belong to, and how one file is read.

    ``read`` returns the file's records in file order with the stream's columns (``wire_arrow``), or raises ``QuantLakeError``
    naming file, line and what was found, before anything of the file is returned.
    """

    name: str
    stream: Stream
    read: Callable[[Path], pa.Table]


Recognised = Importer | str | None
"""An importer; the name of a known kind of file that has none; or None: not this module's kind."""


def typed(stream: Stream, rows: pl.DataFrame) -> pa.Table:
    """A frame with at least the stream's columns that may not be null as a table of all of them, in its Arrow types."""
    schema = wire_arrow(stream)
    absent = [pl.lit(None).alias(c.name) for c in stream.columns if c.null and c.name not in rows.columns]
    return rows.with_columns(absent).select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def decimals(values: pl.Series, shift: int = 0) -> pl.Series:
    """Integers, or plain decimal text, divided by 10^shift: exactly, as decimal(38,18).

    Text must have at most 18 - shift fraction digits; the caller has checked it (Arrow raises ``ArrowInvalid`` otherwise).
    Read at a smaller scale and relabelled, since a decimal division rounds.
    """
    read = pc.cast(values.to_arrow(compat_level=pl.CompatLevel.oldest()), pa.decimal128(38, 18 - shift))
    exact = pa.Array.from_buffers(pa.decimal128(38, 18), len(read), read.buffers(), read.null_count, read.offset)
    return pl.Series(values=exact)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
