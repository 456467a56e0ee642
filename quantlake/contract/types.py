"""The types a column can have.

Here: each type's name, its Arrow type (what every store receives) and its Avro type (what is on the wire).
Not here: how a store spells a type; its adapter maps from Arrow.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Type:
    """A column type: ``name`` as shown in documentation, ``arrow`` in memory and in stores, ``avro`` on the wire."""

    name: str
    arrow: pa.DataType
    avro: Any


_LONG_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}

Text = Type("text", pa.string(), "string")
Integer = Type("integer", pa.int64(), "long")
Boolean = Type("boolean", pa.bool_(), "boolean")
Float = Type("float", pa.float64(), "double")
Bytes = Type("bytes", pa.binary(), "bytes")
Date = Type("date", pa.date32(), {"type": "int", "logicalType": "date"})
Timestamp = Type("timestamp", pa.timestamp("us", "UTC"), {"type": "long", "logicalType": "timestamp-micros"})
Price = Type("decimal(38,18)", pa.decimal128(38, 18), _LONG_DECIMAL)
Size = Price
TextList = Type("list of text", pa.list_(pa.string()), {"type": "array", "items": "string"})
Vector = Type("vector of float32", pa.list_(pa.float32()), {"type": "array", "items": "float"})
