"""A small stream for landing: its rows, its messages, and what the raw table should hold of them."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import PARTITION_DATE, Column, Integer, Price, Stream, Text, TextList, Timestamp
from quantlake.contract.wire import subject, wire_arrow, wire_schema
from quantlake.ports import Broker, Registry
from quantlake.sources.publish import send

START = date(2024, 1, 1)
PARTITIONS = 3
ticks = Stream(
    "quantlake_tests.landing.ticks",
    doc="A numbered tick.",
    owner="tests",
    topic="ticks.v1",
    topic_partitions=PARTITIONS,
    message_key="symbol",
    first_date=START,
    storage_partition="month",
    columns=(
        Column("symbol", Text, "Spreads ticks over the topic's partitions."),
        Column("number", Integer, "From 0."),
        Column("price", Price, "Exact.", null=True),
        Column("at", Timestamp, "UTC.", null=True),
        Column("tags", TextList, "Any."),
        PARTITION_DATE,
    ),
)


def registered(topic: str, broker: Broker, registry: Registry) -> Stream:
    """The stream on a topic of its own, ready to be sent to."""
    stream = replace(ticks, topic=topic)
    broker.create_topic(topic, PARTITIONS)
    registry.register(subject(stream), wire_schema(stream))
    return stream


def rows(first: int, stop: int, days: int = 5) -> pa.Table:
    """Ticks ``first`` to ``stop``, spread over ``days`` dates."""
    return pa.Table.from_pylist([tick(n, days) for n in range(first, stop)], wire_arrow(ticks))


def tick(n: int, days: int = 5) -> dict[str, Any]:
    day = START + timedelta(days=n % days)
    return {
        "symbol": f"S{n % 17}", "number": n, "price": Decimal(n) / 8 if n % 3 else None, "tags": ["é"] * (n % 3), "partition_date": day,
        "at": datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(microseconds=n),
    }  # fmt: skip


def produced(stream: Stream, broker: Broker, registry: Registry, first: int, stop: int) -> None:
    send(broker, registry, stream, rows(first, stop))


def numbers(stream: Stream, lake: Iceberg) -> list[int]:
    """Which ticks the raw table holds, repeats included, in order; dead letters and tombstones are none."""
    return sorted(n for n in lake.read(stream.spec, columns=["number"])["number"].to_pylist() if n is not None)
