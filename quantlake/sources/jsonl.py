"""JSON Lines to a stream's rows, for ``quantlake produce``: small manual corrections, and planting.

Here: strict parsing by the contract and the defaults of what is omitted. Not here: sending; large data (an importer's work).
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from quantlake.contract import (
    Boolean,
    Bytes,
    Column,
    Date,
    Float,
    Integer,
    Price,
    QuantLakeError,
    Stream,
    Text,
    TextList,
    Timestamp,
)
from quantlake.contract.wire import wire_arrow
from quantlake.sources.importers import decoded, sha256, typed

EXACT, UNIT = Context(prec=60), Decimal(1).scaleb(-18)


def read(path: Path, stream: Stream, now: datetime) -> pa.Table:
    """The messages of a file, typed as the stream, in file order.

    Decimals as strings or numbers (their text is read, never a float), times in ISO 8601 with an offset, dates in ISO 8601,
    bytes in base64. What is omitted or null: ``known_at`` is ``now`` (any zone), the source columns name this content, the
    rest follows the stream's own rule (``fill``).
    Raises ``QuantLakeError`` naming line and field: unknown, of another type, or missing though the contract needs it.
    """
    content, text = _content(path)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    columns = {column.name: column for column in stream.columns}
    records = [_record(line, columns, stream, f"{path} line {number}") for number, line in lines]
    rows = pa.table([pa.array([r.get(c.name) for r in records], c.type.arrow) for c in stream.columns], wire_arrow(stream).names)
    filled = _fill(pl.DataFrame(pl.from_arrow(rows)), stream, content, now)
    for column in (c for c in stream.columns if not c.null):
        if (empty := filled[column.name].is_null().arg_true()).len():
            raise QuantLakeError(f"{path} line {lines[empty[0]][0]}: {column.name} is missing ({column.doc})")
    return typed(stream, filled)


def _fill(rows: pl.DataFrame, stream: Stream, content: bytes, now: datetime) -> pl.DataFrame:
    version = sha256(content)
    defaults = {
        "known_at": pl.lit(now.astimezone(UTC)).cast(pl.Datetime("us", "UTC")),
        "source_name": pl.lit(f"produce/{version[:12]}"),
        "source_version": pl.lit(version),
        "line_number": pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    }
    rows = rows.with_columns(pl.col(name).fill_null(value) for name, value in defaults.items() if name in rows.columns)
    rows = stream.filler(rows) if stream.filler else rows
    if "source_records" not in rows.columns:
        return rows
    return rows.with_columns(pl.col("source_records").fill_null(pl.len().over("partition_date").cast(pl.Int64)))


def _content(path: Path) -> tuple[bytes, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise QuantLakeError(f"{path} cannot be read: {error.strerror}") from error
    return content, decoded(content, str(path))


def _record(line: str, columns: Mapping[str, Column], stream: Stream, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise QuantLakeError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise QuantLakeError(f"{where} is not a JSON object: {line[:60]!r}")
    for name in record:
        if name not in columns:
            raise QuantLakeError(f"{where}: {stream.path} has no field {name!r}; it has {', '.join(columns)}")
    return {name: _value(value, columns[name], f"{where}: {name}") for name, value in record.items() if value is not None}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _value(value: Any, column: Column, where: str) -> Any:
    convert = CONVERTERS.get(column.type.arrow)
    if convert is None:
        raise QuantLakeError(f"{where}: a {column.type.name} cannot be given in a JSON Lines file")
    try:
        return convert(value)
    except (ValueError, TypeError, ArithmeticError) as error:
        found = json.dumps(value, default=str)[:60]
        raise QuantLakeError(f"{where} is {found}, which is no {column.type.name}: {error or type(error).__name__}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a JSON string is expected")
    value.encode()  # a lone surrogate is legal JSON and no text
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError("a whole number of 64 bits is expected")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is expected")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError("a number is expected")
    return float(value)


def _decimal(value: Any) -> Decimal:
    if type(value) not in (int, Decimal, str):
        raise TypeError("a decimal as a string, or a number, is expected")
    if isinstance(value, str) and not NUMBER.fullmatch(value):  # Decimal itself also takes 1_000 and full-width digits
        raise ValueError("digits, a point, an exponent are what a decimal is written with")
    number = Decimal(value)
    if not number.is_finite() or abs(number) >= 10**20 or EXACT.quantize(number, UNIT) != number:
        raise ValueError("20 digits before the point and 18 behind it are what fits")
    return number


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError("it needs an offset, such as Z")
    return time.astimezone(UTC)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("a JSON array of strings is expected")
    return [_text(item) for item in value]


NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

CONVERTERS: Mapping[pa.DataType, Callable[[Any], Any]] = {
    Text.arrow: _text,
    Integer.arrow: _integer,
    Boolean.arrow: _boolean,
    Float.arrow: _float,
    Price.arrow: _decimal,
    Timestamp.arrow: _time,
    Date.arrow: lambda value: date.fromisoformat(_text(value)),
    Bytes.arrow: lambda value: base64.b64decode(_text(value), validate=True),
    TextList.arrow: _texts,
}
