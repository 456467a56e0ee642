"""A stream on the wire: its registry subject, its Avro record or Protobuf message, and the same as Arrow.

Here: what producers and landing must agree on. Not here: encoding (sources), decoding (landing), the registry (its port).
"""

from typing import Any

import pyarrow as pa

from quantlake.contract.columns import Column
from quantlake.contract.datasets import Stream
from quantlake.contract.schemas import Schema, avro
from quantlake.contract.types import TIMESTAMP


def subject(stream: Stream) -> str:
    """The registry subject of the stream's values (Confluent's topic name strategy)."""
    return f"{stream.topic}-value"


def wire_schema(stream: Stream) -> Schema:
    """The schema of the stream's messages."""
    return avro(avro_record(stream)) if stream.wire == "avro" else Schema("PROTOBUF", proto_file(stream))


def avro_record(stream: Stream) -> dict[str, Any]:
    """The Avro record of a message: ``raw/market/trades`` is ``quantlake.market.trades``.

    A column that may be null is the union of null and its type, null by default, so that readers may gain columns.
    """
    return {
        "type": "record",
        "name": stream.name,
        "namespace": f"quantlake.{stream.family}",
        "doc": stream.doc,
        "fields": [_avro_field(column) for column in stream.columns],
    }


def proto_file(stream: Stream) -> str:
    """The .proto file of a message: ``raw/market/quotes`` is ``quantlake.market.Quotes``, its columns numbered from 1.

    Every field but lists is ``optional``, so that what a producer left out is null and never a zero.
    """
    lines = ['syntax = "proto3";', f"package quantlake.{stream.family};"]
    lines += ['import "google/protobuf/timestamp.proto";'] if any(c.type.protobuf == TIMESTAMP for c in stream.columns) else []
    lines += [f"// {' '.join(stream.doc.split())}", f"message {stream.name.title().replace('_', '')} {{"]
    for number, column in enumerate(stream.columns, 1):
        kind = column.type.protobuf if column.type.protobuf.startswith("repeated ") else f"optional {column.type.protobuf}"
        lines += [f"  // {' '.join(column.doc.split())}", f"  {kind} {column.name} = {number};"]
    return "\n".join([*lines, "}", ""])


def message_keys(values: pa.Array) -> pa.Array:
    """The keys of messages, as bytes: the text of their ``message_key`` column."""
    return values.cast(pa.string()).cast(pa.binary())


def wire_arrow(stream: Stream) -> pa.Schema:
    """The Arrow schema of messages before they are encoded: the stream's own columns, without the broker's."""
    return pa.schema([pa.field(c.name, c.type.arrow, nullable=c.null) for c in stream.columns])


def _avro_field(column: Column) -> dict[str, Any]:
    if column.null:
        return {"name": column.name, "type": ["null", column.type.avro], "default": None, "doc": column.doc}
    return {"name": column.name, "type": column.type.avro, "doc": column.doc}
