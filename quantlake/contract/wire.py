"""A stream on the wire: its registry subject, its Avro record and the same record as Arrow.

Here: what producers and landing must agree on. Not here: encoding (sources), decoding (landing), the registry (its port).
"""

from typing import Any

import pyarrow as pa

from quantlake.contract.columns import Column
from quantlake.contract.datasets import Stream


def subject(stream: Stream) -> str:
    """The registry subject of the stream's values (Confluent's topic name strategy)."""
    return f"{stream.topic}-value"


def wire_schema(stream: Stream) -> dict[str, Any]:
    """The Avro record of a message: ``raw/market/trades`` is ``quantlake.market.trades``.

    A column that may be null is the union of null and its type, null by default, so that readers may gain columns.
    """
    return {
        "type": "record",
        "name": stream.name,
        "namespace": f"quantlake.{stream.family}",
        "doc": stream.doc,
        "fields": [_field(column) for column in stream.columns],
    }


def message_keys(values: pa.Array) -> pa.Array:
    """The keys of messages, as bytes: the text of their ``message_key`` column."""
    return values.cast(pa.string()).cast(pa.binary())


def wire_arrow(stream: Stream) -> pa.Schema:
    """The Arrow schema of messages before they are encoded: the stream's own columns, without the broker's."""
    return pa.schema([pa.field(c.name, c.type.arrow, nullable=c.null) for c in stream.columns])


def _field(column: Column) -> dict[str, Any]:
    if column.null:
        return {"name": column.name, "type": ["null", column.type.avro], "default": None, "doc": column.doc}
    return {"name": column.name, "type": column.type.avro, "doc": column.doc}
