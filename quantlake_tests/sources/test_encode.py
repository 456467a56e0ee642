"""The encoder against fastavro and polars, over every type and shape a column can have; sending."""

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import (
    PARTITION_DATE,
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
    Type,
    Vector,
)
from quantlake.contract.schemas import Schema
from quantlake.contract.wire import avro_record, subject, wire_arrow, wire_schema
from quantlake.datasets.alt import news
from quantlake.datasets.market import trades
from quantlake.ports import Batch, Message
from quantlake.sources.encode import encode
from quantlake.sources.publish import send

UNITS = 10**38 - 1
VALUES: list[tuple[Type, st.SearchStrategy[Any]]] = [
    (Text, st.text(max_size=200)),
    (Integer, st.integers(-(2**63), 2**63 - 1)),
    (Boolean, st.booleans()),
    (Float, st.floats(allow_nan=False)),
    (Bytes, st.binary(max_size=20)),
    (Date, st.dates()),
    (Timestamp, st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))),
    (Price, st.integers(-UNITS, UNITS).map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -18)))),
    (TextList, st.lists(st.text(max_size=5), max_size=4)),
    (Vector, st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
]
stream = Stream(
    "tests.every.type",
    doc="One column of each type, with and without null.",
    owner="tests",
    topic="every.type.v1",
    message_key="key",
    columns=(
        Column("key", Text, "The key."),
        PARTITION_DATE,
        *(Column(f"c{i}", kind, "Always there.") for i, (kind, _) in enumerate(VALUES)),
        *(Column(f"n{i}", kind, "May be null.", null=True) for i, (kind, _) in enumerate(VALUES)),
    ),
)
ROW = st.fixed_dictionaries(
    {"key": st.text(max_size=5), "partition_date": st.dates()}
    | {f"c{i}": values for i, (_, values) in enumerate(VALUES)}
    | {f"n{i}": st.none() | values for i, (_, values) in enumerate(VALUES)}
)


def container(messages: Iterable[Message]) -> io.BytesIO:
    """An Avro file of one block made of the bodies."""
    bodies = [(m.value or b"")[5:] for m in messages]
    file = io.BytesIO()
    fastavro.writer(file, avro_record(stream), [], sync_marker=b"s" * 16)
    for number in (len(bodies), sum(map(len, bodies))):
        fastavro.schemaless_writer(file, {"type": "long"}, number)
    file.write(b"".join(bodies) + b"s" * 16)
    return io.BytesIO(file.getvalue())


@settings(deadline=None, max_examples=60)
@given(st.lists(ROW, min_size=1, max_size=8), st.integers(0, 3))
def test_fastavro_and_polars_decode_to_the_same(rows: list[dict[str, Any]], skipped: int) -> None:
    table = pa.Table.from_pylist(rows, wire_arrow(stream)).slice(skipped)
    expected = table.to_pylist()
    messages = encode(stream, table, 258)
    schema = fastavro.parse_schema(avro_record(stream))
    decoded = []
    for message in messages:
        body = io.BytesIO(message.value or b"")
        assert body.read(5) == b"\0\0\0\1\2"
        decoded.append(fastavro.schemaless_reader(body, schema, None))
        assert not body.read()
    assert decoded == expected
    assert [m.key for m in messages] == [row["key"].encode() for row in expected]
    if expected:
        assert pl.read_avro(container(messages)).to_arrow().cast(wire_arrow(stream)).to_pylist() == expected


def test_chunks_and_column_order_do_not_matter() -> None:
    row: dict[str, Any] = {
        "key": "k", "partition_date": date(2024, 1, 1), "c0": "é", "c1": -1, "c2": True, "c3": 1.5, "c4": b"\0",
        "c5": date(1969, 1, 1), "c6": datetime(1969, 1, 1, tzinfo=UTC), "c7": Decimal("-0.1"), "c8": [], "c9": [1.0],
    }
    one = pa.Table.from_pylist([row], wire_arrow(stream))
    two = pa.concat_tables([one, one]).select(list(reversed(one.column_names)))
    assert encode(stream, two, 1) == encode(stream, one, 1) * 2


def test_rows_that_do_not_fit_are_refused() -> None:
    rows = wire_arrow(trades.raw).empty_table()
    assert encode(trades.raw, rows, 1) == []
    with pytest.raises(QuantLakeError, match=r"lack the columns \['symbol'\]"):
        encode(trades.raw, rows.drop_columns(["symbol"]), 1)
    nulls = pa.table({f.name: pa.nulls(1, f.type) for f in rows.schema})
    with pytest.raises(QuantLakeError, match="raw/market/trades: 1 rows to send have no symbol"):
        encode(trades.raw, nulls, 1)
    wrong = rows.set_column(3, "price", pa.array([], pa.list_(pa.string())))
    with pytest.raises(QuantLakeError, match="do not fit"):
        encode(trades.raw, wrong, 1)


def test_the_record_is_named_by_its_dataset() -> None:
    schema = avro_record(news.raw)
    assert (schema["namespace"], schema["name"], subject(news.raw)) == ("quantlake.alt", "news", "alt.news.v1-value")
    fields = {field["name"]: field for field in schema["fields"]}
    assert fields["body"]["type"] == ["null", "string"] and fields["body"]["default"] is None
    assert fields["title"]["type"] == "string" and "default" not in fields["title"]


class MemoryBroker:
    """The part of a broker that sending needs."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Message]] = []

    def log_id(self, topic: str) -> str:
        raise NotImplementedError

    def partitions(self, topic: str) -> tuple[int, ...]:
        raise NotImplementedError

    def create_topic(self, topic: str, partitions: int) -> bool:
        raise NotImplementedError

    def read(self, topic: str, start: Any, *, batch_rows: int = 1) -> Iterator[Batch]:
        raise NotImplementedError

    def ends(self, topic: str, start: Any) -> dict[int, int]:
        raise NotImplementedError

    def produce(self, topic: str, messages: Iterable[Message]) -> int:
        sent = [(topic, message) for message in messages]
        self.messages += sent
        return len(sent)


class OneSchema:
    """A registry that knows one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def register(self, subject: str, schema: Schema) -> int:
        raise NotImplementedError

    def schema(self, schema_id: int) -> Schema:
        return self._schema

    def latest(self, subject: str) -> tuple[int, Schema]:
        return 5, self._schema


def test_sending_uses_the_newest_schema_only_if_it_is_the_contract() -> None:
    item = {
        "source": "s", "guid": "g", "title": "t", "tickers": [], "feeds": [], "source_name": "n",
        "partition_date": date(2024, 1, 1), "event_time": datetime(2024, 1, 1, tzinfo=UTC),
        "known_at": datetime(2024, 1, 1, tzinfo=UTC),
    }
    rows = pa.Table.from_pylist([item], wire_arrow(news.raw))
    broker = MemoryBroker()
    assert send(broker, OneSchema(wire_schema(news.raw)), news.raw, rows) == 1
    assert send(broker, OneSchema(wire_schema(news.raw)), news.raw, rows, cut=True) == 1
    (topic, whole), (_, cut) = broker.messages
    assert (topic, whole.key, cut.key) == ("alt.news.v1", b"g", b"g")
    assert whole.value and cut.value and whole.value.startswith(cut.value) and 5 < len(cut.value) < len(whole.value)
    schema = fastavro.parse_schema(avro_record(news.raw))
    with pytest.raises((EOFError, IndexError)):
        fastavro.schemaless_reader(io.BytesIO(cut.value[5:]), schema, None)
    with pytest.raises(QuantLakeError, match="quantlake contract register"):
        send(broker, OneSchema(wire_schema(trades.raw)), news.raw, rows)
