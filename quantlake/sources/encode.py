"""Rows to Kafka messages: Avro or Protobuf bodies in Confluent's framing, column by column.

Here: the encoders, and nothing of any dataset. Not here: schemas (contract/wire.py), sending (publish.py), decoding (landing).
Protobuf is ptars' work (9 M rows/s). For Avro each column becomes a few Arrow binary arrays (union branch, length, content), and one Arrow join per row makes the bodies: no
Python per row but the Message objects themselves. fastavro over dicts takes eight times as long.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import Column, Date, Price, QuantLakeError, Stream
from quantlake.contract.schemas import message
from quantlake.contract.wire import message_keys, wire_arrow, wire_schema
from quantlake.ports import Message

Parts = list[pa.BinaryArray]


def encode(stream: Stream, rows: pa.Table, schema_id: int) -> list[Message]:
    """Messages of ``rows`` (the stream's columns, in any order), in their order; the key is the stream's ``message_key``.

    A value is a zero byte, the schema id (4 bytes, big endian), in Protobuf another zero (the file's first message), and the record or
    message of ``wire_schema``; Avro's decimals are 16 bytes, Protobuf's are their digits.
    Raises ``QuantLakeError`` where rows do not fit the contract (a missing column, another type, null where none may be).
    """
    rows = conform(stream, rows)
    if not rows.num_rows:
        return []
    if stream.wire == "protobuf":
        bodies = _join(pa.scalar(_framing(schema_id) + b"\0", pa.binary()), _protobuf(stream, rows))
    else:
        bodies = _join(pa.scalar(_framing(schema_id), pa.binary()), *_avro(stream, rows))
    keys = message_keys(rows[stream.message_key].combine_chunks())
    return list(map(Message, _objects(keys), _objects(bodies)))


def _framing(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big")


def _protobuf(stream: Stream, rows: pa.Table) -> pa.BinaryArray:
    handler = _handler(stream)
    kinds = {f.name: f.type for f in handler.schema()}
    columns = []
    for column in stream.columns:
        values = rows[column.name]
        if column.type is Price:  # polars writes no exponents, as Arrow does
            digits = pl.Series(values).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
            values = pa.chunked_array([digits.to_arrow()])
        elif column.type is Date:
            values = values.cast(pa.int32())
        columns.append(values.cast(kinds[column.name]).combine_chunks())
    return handler.record_batch_to_array(pa.record_batch(columns, schema=handler.schema()))


@lru_cache(maxsize=64)
def _handler(stream: Stream) -> Any:
    from ptars import HandlerPool, PtarsConfig

    found = message(wire_schema(stream))
    return HandlerPool([found.file], PtarsConfig(timestamp_unit="us")).get_for_message(found)


def _avro(stream: Stream, rows: pa.Table) -> Parts:
    parts: Parts = []
    for column in stream.columns:
        values = rows[column.name].combine_chunks()
        parts += [_branch(values), *_parts(values)] if column.null else _parts(values)
    return parts


def conform(stream: Stream, rows: pa.Table) -> pa.Table:
    """``rows`` as the contract types them, or ``QuantLakeError`` naming the column that does not fit."""
    missing = [c.name for c in stream.columns if c.name not in rows.column_names]
    if missing:
        raise QuantLakeError(f"{stream.path}: rows to send lack the columns {missing}")
    for column in stream.columns:
        _check_nulls(stream, column, rows)
    try:
        return rows.select([c.name for c in stream.columns]).cast(wire_arrow(stream))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise QuantLakeError(f"{stream.path}: rows to send do not fit its columns: {error}") from error


def _check_nulls(stream: Stream, column: Column, rows: pa.Table) -> None:
    if not column.null and rows[column.name].null_count:
        raise QuantLakeError(f"{stream.path}: {rows[column.name].null_count} rows to send have no {column.name}")


def _objects(values: pa.BinaryArray) -> list[bytes | None]:
    """As Python bytes; by way of NumPy, which is several times as fast as ``to_pylist``."""
    return list(values.to_numpy(zero_copy_only=False))


def _join(*parts: pa.Scalar | pa.Array) -> pa.BinaryArray:
    """Row by row concatenation; a null part adds nothing."""
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.binary()), null_handling="replace", null_replacement=b"")


def _branch(values: pa.Array) -> pa.BinaryArray:
    """The branch of ["null", T]: 0 or 1, zigzag."""
    return _fixed((values.is_valid().cast(pa.uint8()).to_numpy() * 2)[:, None])


def _parts(values: pa.Array) -> Parts:
    """A column's values as Avro, to be joined; null values give null parts."""
    kind, valid = values.type, values.is_valid() if values.null_count else None
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return [_varint(pc.binary_length(values)), values.cast(pa.binary())]
    if pa.types.is_list(kind):
        return _list_parts(values)
    if pa.types.is_timestamp(kind) or pa.types.is_integer(kind):
        return [_varint(values.cast(pa.int64()))]
    if pa.types.is_date(kind):
        return [_varint(values.cast(pa.int32()))]
    if pa.types.is_decimal128(kind):
        little = np.frombuffer(values.buffers()[1], np.uint8).reshape(-1, 16)[values.offset : values.offset + len(values)]
        length = np.full((len(values), 1), 2 * 16, np.uint8)
        return [_fixed(np.hstack([length, little[:, ::-1]]), valid)]
    if pa.types.is_boolean(kind):
        return [_fixed(values.cast(pa.uint8()).fill_null(0).to_numpy()[:, None], valid)]
    if pa.types.is_floating(kind):
        floats = np.ascontiguousarray(values.fill_null(0).to_numpy())
        return [_fixed(floats.view(np.uint8).reshape(len(values), -1), valid)]
    raise QuantLakeError(f"no Avro encoding for the Arrow type {kind}")


def _list_parts(values: pa.ListArray) -> Parts:
    """One block of all items, then the end of blocks; an empty list is the end alone."""
    lengths = pc.list_value_length(values)
    items = _join(*_parts(values.flatten())) if pc.any(pc.greater(lengths, 0)).as_py() else pa.array([], pa.binary())
    offsets = np.concatenate([[0], np.cumsum(lengths.fill_null(0).to_numpy())]).astype(np.int32)
    blocks = pc.binary_join(pa.ListArray.from_arrays(offsets, items), pa.scalar(b"", pa.binary()))
    count = _varint(pc.if_else(pc.greater(lengths, 0), lengths, None))
    return [count, blocks, pc.if_else(values.is_valid(), pa.scalar(b"\0", pa.binary()), pa.scalar(None, pa.binary()))]


def _varint(numbers: pa.Array) -> pa.BinaryArray:
    """Zigzag, then 7 bits a byte, lowest first, the high bit set on all but the last."""
    signed = numbers.fill_null(0).cast(pa.int64()).to_numpy()
    zigzag = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    width = max(1, -(-int(zigzag.max(initial=0)).bit_length() // 7))
    groups = zigzag[:, None] >> np.arange(0, 7 * width, 7, dtype=np.uint64)
    follows = np.hstack([groups[:, 1:] != 0, np.zeros((len(groups), 1), bool)])
    encoded = (groups & np.uint64(0x7F)).astype(np.uint8) | (follows.astype(np.uint8) << 7)
    used = np.hstack([np.ones((len(groups), 1), bool), follows[:, :-1]])
    offsets = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int32)
    return _binary(encoded[used], offsets, numbers.is_valid() if numbers.null_count else None)


def _fixed(matrix: npt.NDArray[np.uint8], valid: pa.BooleanArray | None = None) -> pa.BinaryArray:
    """Every row of a byte matrix as one value."""
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * np.int32(matrix.shape[1])
    return _binary(np.ascontiguousarray(matrix).reshape(-1), offsets, valid)


def _binary(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], valid: pa.BooleanArray | None) -> pa.BinaryArray:
    array = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    return array if valid is None else pc.if_else(valid, array, pa.scalar(None, pa.binary()))
