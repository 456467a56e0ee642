"""What all rows of a reference file have beside its content.

Here: the source columns and the partition of bitemporal rows. Not here: formats.
"""

import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.sources.importers import counted, typed


def stamped(stream: Stream, rows: pl.DataFrame, name: str, version: str, precision: str) -> pa.Table:
    """Rows (with ``known_at`` and ``line_number``; maybe ``partition_date``, else the UTC date of it) of one file, typed as ``stream``.

    ``name`` and ``version`` are the file's, ``precision`` that of ``known_at``. ``event_time`` is ``known_at`` where none is given.
    """
    given = rows.columns
    whole = rows.with_columns(
        **({} if "event_time" in given else {"event_time": pl.col("known_at")}),
        **({} if "partition_date" in given else {"partition_date": pl.col("known_at").dt.date()}),
        **({} if "item_index" in given else {"item_index": pl.lit(0, pl.Int64)}),
        known_at_precision=pl.lit(precision),
        source_name=pl.lit(name),
        source_version=pl.lit(version),
    )
    return typed(stream, counted(whole.with_columns(file_records=pl.struct("line_number", "item_index").n_unique().cast(pl.Int64))))


def unique(keys: pl.DataFrame, where: str, first_line: int = 1, lines: pl.Series | None = None) -> None:
    """Raises ``QuantLakeError`` naming the first record of a file whose key is that of one before it.

    Its line is in ``lines``, or follows from ``first_line`` where the file has nothing but records.
    """
    for row in (~keys.select(pl.struct(pl.all()).is_first_distinct()).to_series()).arg_true().head(1):
        line = lines[row] if lines is not None else row + first_line
        again = ", ".join(str(value) for value in keys.row(row))
        raise QuantLakeError(f"{where} line {line}: {again} is there a second time; keep the one that holds")
