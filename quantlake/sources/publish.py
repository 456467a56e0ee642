"""Sending rows to Kafka, as every producer does.

Here: schema id, framing, chunks. Not here: where rows come from; topics and subjects are made by ``quantlake contract register``.
"""

from collections.abc import Iterator

import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import subject, wire_schema
from quantlake.ports import Broker, Message, Registry
from quantlake.sources.encode import conform, encode

CHUNK_ROWS = 20_000


def send(broker: Broker, registry: Registry, stream: Stream, rows: pa.Table, *, cut: bool = False) -> int:
    """Send rows (the stream's columns) under the subject's newest schema; returns how many were acknowledged.

    ``cut`` halves each message's body behind its intact framing, so that it cannot be decoded (what the simulator plants).
    Raises ``QuantLakeError``: rows that do not fit, an unknown subject, a subject whose newest schema is not this contract's.
    """
    schema_id, registered = registry.latest(subject(stream))
    if not registered.same(wire_schema(stream)):
        raise QuantLakeError(f"the newest schema of {subject(stream)} (id {schema_id}) is not that of {stream.path}; "
                             "run `quantlake contract register`")
    return broker.produce(stream.topic, _messages(stream, conform(stream, rows), schema_id, cut))


def _messages(stream: Stream, rows: pa.Table, schema_id: int, cut: bool) -> Iterator[Message]:
    for start in range(0, rows.num_rows, CHUNK_ROWS):
        for message in encode(stream, rows.slice(start, CHUNK_ROWS), schema_id):
            yield Message(message.key, (message.value or b"")[: 5 + len(message.value or b"") // 2]) if cut else message
