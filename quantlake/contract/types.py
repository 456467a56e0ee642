"""The types a column can have.

Here: each type's name, its Arrow type (what every store receives), its Avro and its Protobuf type (what is on the wire).
Not here: how a store spells a type; its adapter maps from Arrow.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Type:
    """A column type: ``name`` as shown in documentation, ``arrow`` in memory and in stores, ``avro`` or ``protobuf`` on the wire.

    Protobuf has no decimals and no dates: a decimal is its digits as text (``-0.5``, no exponent), a date the days since 1970.
    """

    name: str
    arrow: pa.DataType
    avro: Any
    protobuf: str


TIMESTAMP = "google.protobuf.Timestamp"
_LONG_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}

Text = Type("text", pa.string(), "string", "string")
Integer = Type("integer", pa.int64(), "long", "int64")
Boolean = Type("boolean", pa.bool_(), "boolean", "bool")
Float = Type("float", pa.float64(), "double", "double")
Bytes = Type("bytes", pa.binary(), "bytes", "bytes")
Date = Type("date", pa.date32(), {"type": "int", "logicalType": "date"}, "int32")
Timestamp = Type("timestamp", pa.timestamp("us", "UTC"), {"type": "long", "logicalType": "timestamp-micros"}, TIMESTAMP)
Price = Type("decimal(38,18)", pa.decimal128(38, 18), _LONG_DECIMAL, "string")
Size = Price
TextList = Type("list of text", pa.list_(pa.string()), {"type": "array", "items": "string"}, "repeated string")
Vector = Type("vector of float32", pa.list_(pa.float32()), {"type": "array", "items": "float"}, "repeated float")
