"""Reading a topic with confluent-kafka's consumer: probing where a read begins, polls into columns, ends, what is behind.

Here: one read of one topic, by ``assign`` (no group, no commits). Not here: clients and topics (``kafka``), offsets (landing).
"""

import base64
import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from quantlake.contract import QuantLakeError
from quantlake.ports import Batch, Last, LogBrokenError, LostRange, Records
from quantlake.ports.broker import NONE

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

SILENCE_SECONDS = 5.0  # neither a record nor an end of partition for so long is an error, never an empty read
OVERTIME_SECONDS = 5.0  # a busy topic has no end: a read goes on so long after it met records younger than itself
POLL_SECONDS = 0.25
POLL_STEPS = 5  # a poll's bytes are looked at so often: it holds what a broker sends in a step beyond its limit, however large records are
END_STEPS = 25  # on the way to ends also whether all are met, which the client waits on beyond: a topic without news took 250 ms, and takes 25
NEW_PARTITIONS_SECONDS = 5.0  # also how soon a follower learns that its broker is gone: the client itself says nothing
UNKNOWN_BYTES = 8 << 20  # a record's size before any is known


class Reading:
    """One read of one topic. ``close`` it. Raises ``QuantLakeError`` naming the ``address``."""

    def __init__(
        self, consumer: "Consumer", topic: str, address: str, batch_rows: int, batch_bytes: int, again: "Callable[[], Consumer]"
    ) -> None:
        """``again`` makes another consumer, to look at what was read while this one reads on."""
        self._consumer, self._topic, self._address, self._again = consumer, topic, address, again
        self._rows, self._bytes, self._size = batch_rows, batch_bytes, float(UNKNOWN_BYTES)
        self._reached: dict[int, int] = {}
        self._begins: dict[int, int] = {}
        self._last: dict[int, Last] = {}  # record read, by partition
        self._turned: dict[int, Last] = {}  # of those of which the last poll had records of several leaders: the last one before
        self._over: set[int] = set()  # partitions of which nothing more is wanted

    def close(self) -> None:
        self._consumer.close()

    def to_ends(self, partitions: Sequence[int], start: Mapping[int, int], last: Mapping[int, Last] = NONE) -> Iterator[Batch]:
        """Until each partition's first end; of a topic that has none because it is written to, a little beyond the read's begin."""
        began, deadline = time.time() * 1000, math.inf
        open_ends, overtaken = set(partitions), set[int]()  # overtaken: partitions that gave a record younger than this read
        self._begin(partitions, start, last)
        last_heard = time.monotonic()
        while open_ends:
            records, ends = self._poll(to_end=True)
            if len(records) or ends:
                last_heard = time.monotonic()
                overtaken.update(records.partitions[records.timestamps > began].tolist())
                skipped = self._gone_on(records, ends)
                if deadline == math.inf and open_ends <= overtaken:
                    deadline = last_heard + OVERTIME_SECONDS
                if last_heard > deadline:
                    ends = {p: self._reached[p] for p in open_ends} | ends
                self._require_same(self._turned)
                yield Batch(records, ends, self._first(), skipped=skipped, last=self._of(records))
                open_ends -= set(ends)
                self._over |= set(ends)
                for p in ends:
                    self._consumer.incremental_unassign([self._at(p, 0)])
            elif time.monotonic() - last_heard > SILENCE_SECONDS:
                raise self._silent(sorted(open_ends))

    def onward(
        self, partitions: Sequence[int], start: Mapping[int, int], stop: Event, last: Mapping[int, Last] = NONE
    ) -> Iterator[Batch]:
        """Until ``stop``: every poll's records, whether there are any or not, and what the broker still holds beyond them."""
        known = set(partitions)
        self._begin(partitions, start, last)
        looked = time.monotonic()
        while not stop.is_set():
            records, ends = self._poll(to_end=False)
            skipped = self._gone_on(records, ends)
            self._require_same(self._turned)
            yield Batch(records, ends, self._first(), self._behind(), skipped, self._of(records))
            if time.monotonic() - looked > NEW_PARTITIONS_SECONDS:
                looked = time.monotonic()
                try:
                    found = self._consumer.list_topics(self._topic, timeout=SILENCE_SECONDS).topics[self._topic].partitions
                except Exception as error:
                    raise QuantLakeError(f"topic {self._topic} of {self._address}: the broker does not answer ({error})") from error
                if new := set(found) - known:
                    known |= new
                    self._reached |= dict.fromkeys(new, 0)
                    self._consumer.incremental_assign([self._at(p, 0) for p in sorted(new)])

    def _begin(self, partitions: Sequence[int], start: Mapping[int, int], last: Mapping[int, Last]) -> None:
        """Assign every partition; raises ``LogBrokenError`` where a log no longer holds what it has to."""
        lost = [found for p, o in start.items() if o > 0 and (found := self._probe(p, o, last.get(p)))]
        self._reached = {}
        for p in partitions:
            low = 0 if start.get(p) else self._watermarks(p)[0]
            if low and p in start:
                lost.append(LostRange(p, 0, low, "expired"))
            elif low:
                self._begins[p] = low
            self._reached[p] = start.get(p, 0) or low
        self._require_whole(lost)
        self._last = dict(last)
        self._consumer.assign([self._at(p, o) for p, o in self._reached.items()])

    def _probe(self, partition: int, offset: int, last: Last | None) -> LostRange | None:
        """Look at what was read before: a log that ends below ``offset`` gives no error and no end, for ever.

        At ``offset - 1``, or later: compaction removes records, and a transaction's marker is never handed over. Where the ``last``
        record is known, at that one: a log that was cut below it and has gone beyond it again holds one of a later leader there. (The
        client compares epochs too, but not always: of a broker that has just come back, one time in four not.)
        """
        found = self._answer(partition, offset - 1 if last is None else last.offset)
        if found is not None and last is not None:
            if found.offset == last.offset and found.epoch != last.epoch:
                return LostRange(partition, self._cut(partition, last), offset, "truncated")
            if found.offset == last.offset and found.end < offset:  # then there was no record to see
                found = self._answer(partition, found.end)
                found = found and replace(found, end=found.end if found.offset is None else found.offset)
        if found is not None:
            return LostRange(partition, found.end, offset, "truncated") if found.end < offset else None
        low, high = self._watermarks(partition)
        if low >= offset:
            return LostRange(partition, offset, low, "expired") if low > offset else None
        at = self._end(partition, low, high)
        if at is None:
            raise self._silent([partition])
        return LostRange(partition, at, offset, "truncated") if at < offset else None

    def _answer(self, partition: int, offset: int) -> "_Answer | None":
        """The first record from an offset on, or the end there; None: neither."""
        from confluent_kafka import KafkaError

        self._consumer.assign([self._at(partition, offset)])
        message = self._consumer.poll(SILENCE_SECONDS)
        while message is not None and _of_group(message.error()):
            message = self._consumer.poll(SILENCE_SECONDS)
        if message is None:
            return None
        error, found = message.error(), message.offset()
        if error is None:
            return None if found is None else _Answer(found + 1, found, message.leader_epoch())
        if error.code() == KafkaError._PARTITION_EOF and found is not None:
            return _Answer(found)
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return None
        raise self._failed(message)

    def _cut(self, partition: int, last: Last) -> int:
        """From where a log that was cut holds other records than it did; leaders' epochs only grow along a log."""
        low, high = self._watermarks(partition)[0], last.offset
        while low < high:
            middle = (low + high) // 2
            found = self._answer(partition, middle)
            if found is None or found.offset is None or found.epoch is None or found.epoch > last.epoch:
                high = middle
            else:
                low = found.end
        return high

    def _require_same(self, turned: Mapping[int, Last]) -> None:
        """Another leader took over meanwhile: raise ``LogBrokenError`` where the log holds another record in place of the last before.

        One that has expired by now was read, as were those behind it, which are in hand.
        """
        if not turned:
            return
        consumer = self._again()
        try:
            other = Reading(consumer, self._topic, self._address, self._rows, self._bytes, self._again)
            lost = [found for p, last in turned.items() if (found := other._probe(p, last.offset + 1, last))]
        finally:
            consumer.close()
        self._require_whole([found for found in lost if found.why == "truncated"])

    def _require_whole(self, lost: Sequence[LostRange]) -> None:
        if lost:
            told = "; ".join(map(str, lost))
            raise LogBrokenError(f"topic {self._topic} of {self._address}: {told}", lost)

    def _end(self, partition: int, low: int, high: int) -> int | None:
        """The end of a log, by reading on to it from what it says of its end, which the embedded broker understates."""
        self._consumer.assign([self._at(partition, max(low, high - 1))])
        reached, heard = None, time.monotonic()
        while time.monotonic() - heard < SILENCE_SECONDS:
            records, ends = self._poll(to_end=False)
            if ends:
                return ends[partition]
            if len(records):
                reached, heard = int(records.offsets[-1]) + 1, time.monotonic()
        return reached

    def _watermarks(self, partition: int) -> tuple[int, int]:
        from confluent_kafka import KafkaError, KafkaException

        moving = KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART  # of a new topic too
        deadline = time.monotonic() + SILENCE_SECONDS
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(self._at(partition, 0), timeout=SILENCE_SECONDS)
                return low, high
            except KafkaException as error:
                if error.args[0].code() not in moving or time.monotonic() > deadline:
                    told = f"topic {self._topic} partition {partition} of {self._address} does not say where it begins"
                    raise QuantLakeError(f"{told}: {error.args[0].str()}") from error
            time.sleep(0.05)

    def _behind(self) -> int:
        """How many records the broker holds beyond what was read, by what its last answers said: this asks nothing."""
        total = 0
        for p, reached in self._reached.items():
            _, high = self._consumer.get_watermark_offsets(self._at(p, 0), cached=True)
            total += max(0, high - reached)
        return total

    def _gone_on(self, records: Records, ends: Mapping[int, int]) -> dict[int, npt.NDArray[np.int64]]:
        """Be where these records and ends are; the ranges without a record on the way there."""
        skipped = {}
        for p in {*np.unique(records.partitions).tolist(), *ends}:
            first, own = self._reached[p], records.offsets[records.partitions == p]
            self._reached[p] = end = max(int(own[-1]) + 1 if len(own) else first, ends.get(p, first))
            if end - first != len(own):
                edges = np.concatenate([[first - 1], own, [end]])
                (at,) = np.nonzero(np.diff(edges) > 1)
                skipped[p] = np.stack([edges[at] + 1, edges[at + 1]], axis=1)
        return skipped

    def _first(self) -> Mapping[int, int]:
        begins, self._begins = self._begins, {}
        return begins

    def _poll(self, *, to_end: bool) -> tuple[Records, dict[int, int]]:
        """One poll's records and ends. ``to_end``: up to each partition's first end; what is behind it is the next read's."""
        from confluent_kafka import Message

        # every record is an object that the collector would walk through: 0.3 of 1.2 CPU-s per million
        was_on = gc.isenabled()
        gc.disable()
        try:
            messages: list[Any] = []
            limit, held = min(self._rows, max(1, int(self._bytes / self._size))), 0
            steps = END_STEPS if to_end else POLL_STEPS
            for _ in range(steps):
                messages += (more := self._consumer.consume(limit - len(messages), POLL_SECONDS / steps))
                if len(messages) == limit or (held := held + sum(map(len, more))) >= self._bytes:
                    break
                if to_end and more and self._all_ended(messages):
                    break
            del more
            ends: dict[int, int] = {}
            if any(map(Message.error, messages)):
                messages = self._sorted_out(messages, ends, to_end)
            elif self._over:
                messages = [m for m in messages if m.partition() not in self._over]
            records = _columns(messages)
            self._turned = {}
            for p in np.unique(records.partitions).tolist():
                self._note(p, messages, np.flatnonzero(records.partitions == p))
            del messages  # gone before the collector is back
        finally:
            if was_on:
                gc.enable()
        if len(records):
            self._size = max(1.0, records.bytes / len(records))
        return records, ends

    def _all_ended(self, messages: Sequence[Any]) -> bool:
        """Whether each partition of which more is wanted has met its end, by messages the last of which must be an end."""
        from confluent_kafka import KafkaError

        if messages[-1].error() is None:
            return False
        ended = {m.partition() for m in messages if (error := m.error()) and error.code() == KafkaError._PARTITION_EOF}
        return ended >= self._reached.keys() - self._over

    def _note(self, partition: int, messages: Sequence[Any], places: npt.NDArray[np.int64]) -> None:
        """The last record of a partition, and the last one before its leader took over, where that was meanwhile."""
        newest = _last(messages[places[-1]])
        if newest is None:
            return
        first = _last(messages[places[0]])
        before = self._last.get(partition) or first
        if before is not None and before.epoch != newest.epoch:
            older = [found for at in places if (found := _last(messages[at])) and found.epoch != newest.epoch]
            self._turned[partition] = older[-1] if older else before
        self._last[partition] = newest

    def _of(self, records: Records) -> dict[int, Last]:
        """The last record of each partition that these are of."""
        return {p: self._last[p] for p in np.unique(records.partitions).tolist() if p in self._last}

    def _sorted_out(self, messages: list[Any], ends: dict[int, int], to_end: bool) -> list[Any]:
        from confluent_kafka import KafkaError

        kept = []
        for message in messages:
            error = message.error()
            if _of_group(error) or message.partition() in self._over or (to_end and message.partition() in ends):
                continue
            if error is None:
                kept.append(message)
                ends.pop(message.partition(), None)  # it was written after the end was met
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[message.partition()] = message.offset()
            else:
                raise self._failed(message)
        return kept

    def _failed(self, message: Any) -> QuantLakeError:
        return QuantLakeError(f"reading {message.topic()} partition {message.partition()} of {self._address}: {message.error().str()}")

    def _silent(self, partitions: Sequence[int]) -> QuantLakeError:
        return QuantLakeError(
            f"topic {self._topic} of {self._address}: neither a record nor the end of partitions {list(partitions)} came in "
            f"{SILENCE_SECONDS:.0f} s; is this the log that was read before? See `quantlake audit`"
        )

    def _at(self, partition: int, offset: int) -> "TopicPartition":
        from confluent_kafka import TopicPartition

        return TopicPartition(self._topic, partition, offset)


@dataclass(frozen=True)
class _Answer:
    """A log's answer at an offset: a record, and the offset behind it; or its end."""

    end: int
    offset: int | None = None
    epoch: int | None = None


def _last(message: Any) -> Last | None:
    epoch = message.leader_epoch()
    return None if epoch is None else Last(message.offset(), epoch)


def _of_group(error: Any) -> bool:
    """The client asks for the coordinator of its group, which it must have; we use none, so that nobody need be allowed to."""
    from confluent_kafka import KafkaError

    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def _columns(messages: Sequence[Any]) -> Records:
    """In single passes without a Python frame: calls on the client's objects are most of what a record costs here."""
    from confluent_kafka import Message

    n = len(messages)
    try:
        headers: list[Any] = list(map(Message.headers, messages))
    except SystemError:  # the client's word for a name that is no UTF-8
        headers = list(map(_readable, messages))
    return Records(
        np.fromiter(map(Message.partition, messages), np.int32, n),
        np.fromiter(map(Message.offset, messages), np.int64, n),
        np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, n),
        list(map(Message.key, messages)),
        [_headers(h) for h in headers] if any(headers) else None,
        list(map(Message.value, messages)),
        np.fromiter(map(len, messages), np.int64, n),
    )


def _readable(message: Any) -> list[tuple[str | None, bytes | None]]:
    """A record's headers, None for a name that is no UTF-8: there the client's pair has no object at all, and to look at it is the end."""
    from confluent_kafka import Message

    # by `map`, which sees the error that the client leaves beside its answer; a call from Python does not, and the next one fails
    with suppress(SystemError):
        list(map(Message.headers, [message]))
    (headers,) = map(Message.headers, [message])
    return [(pair[0] if len(gc.get_referents(pair)) == 2 else None, pair[1]) for pair in cast(Any, headers) or ()]


def _headers(headers: Any) -> str | None:
    if not headers:
        return None
    return json.dumps([[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers])
