"""The broker port: Kafka as landing, producers and the audit need it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

RECORD_SCHEMA = pa.schema([
    pa.field("_partition", pa.int64(), nullable=False),
    pa.field("_offset", pa.int64(), nullable=False),
    pa.field("_timestamp", pa.timestamp("us", "UTC")),
    pa.field("_key", pa.binary()),
    pa.field("_headers", pa.string()),
    pa.field("value", pa.binary()),
])
"""Columns of the batches a broker is read in. ``_headers`` is a JSON list of [name, base64 value]; null value = tombstone."""


@dataclass(frozen=True)
class Message:
    """One record to produce."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Batch:
    """Records read (``RECORD_SCHEMA``) and, where a partition's end was met, the offset after its last record."""

    records: pa.Table
    ends: Mapping[int, int]


class Broker(Protocol):
    """A Kafka cluster. Every method raises ``QuantLakeError`` with the address if the broker cannot be reached."""

    def log_id(self, topic: str) -> str:
        """The identity of a topic's log, ``cluster id/topic id``: another id means that earlier offsets mean nothing."""
        ...

    def partitions(self, topic: str) -> tuple[int, ...]:
        """The topic's partition numbers; raises ``QuantLakeError`` if there is no such topic."""
        ...

    def create_topic(self, topic: str, partitions: int) -> bool:
        """Create a topic; False if it was there. The only thing that ever creates one."""
        ...

    def read(self, topic: str, start: Mapping[int, int], *, batch_rows: int = 50_000) -> Iterator[Batch]:
        """Read from ``start`` (offset by partition; absent = from the beginning) to the first end of every partition, or, where
        it is written to without pause, a little beyond what was there when the read began.

        Each partition with a start above 0 is first probed by reading the record at start - 1. Raises ``QuantLakeError`` where
        that record is not there (truncated, expired or another log), or where neither a record nor an end arrives in 5 s.
        """
        ...

    def ends(self, topic: str, start: Mapping[int, int]) -> dict[int, int]:
        """The end offset of each partition, found by reading on from ``start`` to the end event."""
        ...

    def produce(self, topic: str, messages: Iterable[Message]) -> int:
        """Produce, wait for every acknowledgement, and return how many; raises ``QuantLakeError`` if one was refused."""
        ...
