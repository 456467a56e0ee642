"""Reading Protobuf messages together, by ptars (6 M rows/s), and encoding them again (9 M rows/s) to see that nothing was passed over.

Protobuf's readers skip what they do not know, and clamp what they cannot hold. A message whose re-encoded row is the same to the byte
has lost nothing; another one is looked at alone: a writer may order its fields as it likes.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import (
    Boolean,
    Bytes,
    Column,
    Date,
    Float,
    Integer,
    Price,
    Stream,
    Text,
    TextList,
    Timestamp,
    Type,
    Vector,
)
from quantlake.contract.schemas import Schema, field_kind, message
from quantlake.contract.types import TIMESTAMP
from quantlake.landing.quiet import without_panics

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

DECIMAL = r"^-?[0-9]{1,20}(\.[0-9]{1,18})?$"
FITS: dict[str, tuple[str, ...]] = {  # by a column's type: the Protobuf types that it takes without loss
    Text.name: ("string", "enum"), Boolean.name: ("bool",), Bytes.name: ("bytes",), Float.name: ("double", "float"),
    Integer.name: ("int64", "int32", "sint64", "sint32", "sfixed64", "sfixed32", "uint32", "fixed32"), Price.name: ("string",),
    Date.name: ("int32", "sint32", "sfixed32"), Timestamp.name: (TIMESTAMP,), TextList.name: ("repeated string",),
    Vector.name: ("repeated float",),
}  # fmt: skip
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # seconds; the years 1 and 9999
LONGEST_PATH = 16  # a message type within a message type, and so on


class ProtobufReader:
    """Messages of one type of one writer's schema, behind ``prefix`` (frame and message indexes), as the columns of a stream."""

    def __init__(self, stream: Stream, schema: Schema, prefix: bytes, path: tuple[int, ...]) -> None:
        self._stream, self._prefix = stream, prefix
        self._descriptor = message(schema, path)
        self.mismatch = _mismatch(stream, self._descriptor)
        self._handler = None if self.mismatch else _handler(self._descriptor)

    def rows(self, values: Sequence[bytes], size: int) -> pl.DataFrame | None:
        """The messages as rows, in one go; None if any is not exactly one message behind this prefix."""
        framed, at = pa.array(values, pa.binary()), len(self._prefix)
        if not pc.all(pc.equal(pc.binary_slice(framed, 0, at), self._prefix)).as_py():
            return None
        bodies = pc.binary_slice(framed, at, size)
        handler: Any = self._handler
        try:
            with without_panics():
                found = handler.array_to_record_batch(bodies)
                again = handler.record_batch_to_array(found)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic is no Exception
            return None
        if not again.equals(bodies):
            others = pc.indices_nonzero(pc.invert(pc.equal(again, bodies))).to_pylist()
            if any(self.fault(values[n]) for n in others):
                return None
        return self._typed(pl.DataFrame(found))

    def fault(self, value: bytes) -> str:
        """Why one message alone cannot be decoded; "" if it can."""
        from google.protobuf.message import DecodeError, Message
        from google.protobuf.unknown_fields import UnknownFieldSet

        try:
            found: Message = self._class.FromString(value[len(self._prefix) :])
        except (DecodeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        for unknown in UnknownFieldSet(found):
            return f"it has a field {unknown.field_number} that its schema does not know"
        # fields may come in any order, which keeps the length: a field that came twice, or was cut to its type, does not
        if (says := found.ByteSize()) != (has := len(value) - len(self._prefix)):
            return f"its fields are {says} of its {has} bytes"
        for column in self._columns:
            there = not self._descriptor.fields_by_name[column.name].has_presence or found.HasField(column.name)
            if there and (wrong := _wrong(column.type, getattr(found, column.name))):
                return f"{column.name} is {wrong}"
            if (words := self._words(column)) and there and getattr(found, column.name) not in words:
                return f"{column.name} is {getattr(found, column.name)}, for which its enumeration has no word"
        return ""

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        columns = []
        for column in self._columns:
            found = frame[column.name]
            if column.type is Price:
                if not found.str.contains(DECIMAL).all():
                    return None
                found = found.str.to_decimal(scale=18)
            if (words := self._words(column)) and not found.drop_nulls().is_in(list(words.values())).all():
                return None
            columns.append(found.cast(pl.Int32).cast(pl.Date) if column.type is Date else found)
        return pl.DataFrame(columns)

    def _words(self, column: Column) -> dict[int, str]:
        """The words of a field that is an enumeration."""
        kind = self._descriptor.fields_by_name[column.name].enum_type
        return {number: value.name for number, value in kind.values_by_number.items()} if kind else {}

    @cached_property
    def _columns(self) -> list[Column]:
        return [c for c in self._stream.columns if c.name in self._descriptor.fields_by_name]

    @cached_property
    def _class(self) -> Any:
        from google.protobuf.message_factory import GetMessageClass

        return GetMessageClass(self._descriptor)


def _handler(descriptor: "Descriptor") -> Any:
    from ptars import HandlerPool, PtarsConfig

    with without_panics():
        return HandlerPool([descriptor.file], PtarsConfig(timestamp_unit="us", enum_repr="string")).get_for_message(descriptor)


def _wrong(kind: Type, value: Any) -> str:
    """Why a value cannot be kept as it is; "" if it can."""
    if kind is Price and not re.fullmatch(DECIMAL, value):
        return f"{value!r}, no decimal of 20 digits and 18 places"
    if kind is Timestamp and value.nanos % 1000:
        return "finer than a microsecond"
    if kind is Timestamp and not EARLIEST <= value.seconds <= LATEST:
        return "no time between the years 1 and 9999"
    return ""


def message_path(value: bytes, start: int) -> tuple[int, tuple[int, ...]] | None:
    """Where a message's body begins, and the message indexes before it; None: there are none.

    Confluent's wire format: a count, then so many indexes, as zigzag varints; a count of 0 means the first message.
    """
    numbers: list[int] = []
    while not numbers or len(numbers) <= numbers[0]:
        number, start = _zigzag(value, start)
        if number < 0 or len(numbers) > LONGEST_PATH:
            return None
        numbers.append(number)
    return start, tuple(numbers[1:]) or (0,)


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends; -1 where there is none."""
    number = 0
    for shift, byte in enumerate(value[at : at + 5]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + shift + 1
    return -1, at


def _mismatch(stream: Stream, descriptor: "Descriptor") -> str:
    """Why a writer's message type cannot be kept in the stream's columns without loss; "" if it can."""
    known = {c.name: c for c in stream.columns}
    for field in descriptor.fields:
        if field.name not in known:
            return f"the writer has a field {field.name!r} that the contract does not know"
        if (kind := field_kind(field)) not in FITS[known[field.name].type.name]:
            return f"the writer's {field.name!r} is {kind}, the contract says {known[field.name].type.protobuf}"
    return ""
