"""The broker port: Kafka as landing, producers and the audit need it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from quantlake.contract import QuantLakeError


@dataclass(frozen=True)
class Message:
    """One record to produce."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Records:
    """Records of a topic in the order read, column by column, as the client hands them over: Python's bytes are never copied here.

    ``timestamps`` in milliseconds since 1970, below 0 where there is none; ``headers``: JSON lists of [name, base64 value], or None
    (instead of all: no record has any), a name that is no UTF-8 being null; a value of None is a tombstone; ``sizes`` are the values' bytes.
    """

    partitions: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    keys: Sequence[bytes | None]
    headers: Sequence[str | None] | None
    values: Sequence[bytes | None]
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def bytes(self) -> int:
        """Of values, keys and headers: hostile ones have megabytes of any of them."""
        try:
            keys = sum(map(len, self.keys))  # type: ignore[arg-type]
        except TypeError:  # some have none; to look at each costs twice as much
            keys = sum(map(len, filter(None, self.keys)))
        return int(self.sizes.sum()) + keys + sum(map(len, filter(None, self.headers or ())))


@dataclass(frozen=True)
class Last:
    """The last record read of a partition, and the epoch of the leader that took it: another epoch at its offset is another history."""

    offset: int
    epoch: int


@dataclass(frozen=True)
class Batch:
    """Records read and, where a partition's end was met, the offset after its last record.

    ``begins``: partitions that are read for the first time, and whose log no longer begins at 0; ``behind``: how many records the
    broker is known to hold beyond these. ``skipped``: by partition, the ranges [first, end) that the read went past without a record:
    transaction markers, aborted and compacted records. Records and skipped ranges follow each other without a hole. ``last``: of each
    partition with records, where the broker tells epochs.
    """

    records: Records
    ends: Mapping[int, int]
    begins: Mapping[int, int]
    behind: int = 0
    skipped: Mapping[int, npt.NDArray[np.int64]] = field(default_factory=dict)
    last: Mapping[int, Last] = field(default_factory=dict)


@dataclass(frozen=True)
class LostRange:
    """Offsets of a partition that were expected on the broker: ``first`` to ``end``, exclusive.

    ``expired``: the log now begins at ``end``. ``truncated``: it now ends at ``first``, though it was read up to ``end`` before.
    """

    partition: int
    first: int
    end: int
    why: Literal["expired", "truncated"]

    def __str__(self) -> str:
        told = "expired before they were read" if self.why == "expired" else "were read, and are no longer there"
        return f"partition {self.partition}: offsets [{self.first}, {self.end}) {told}"


NONE: Mapping[int, Last] = {}


class LogBrokenError(QuantLakeError):
    """A log does not hold what was read of it, or has to be read, any more."""

    def __init__(self, message: str, lost: Sequence[LostRange] = ()) -> None:
        super().__init__(message)
        self.lost = tuple(lost)


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

    def read(
        self, topic: str, start: Mapping[int, int], *, last: Mapping[int, Last] = NONE, batch_rows: int = 50_000, batch_bytes: int = 64 << 20
    ) -> Iterator[Batch]:
        """Read from ``start`` (offset by partition; absent = from the beginning) to the first end of every partition, or, where
        it is written to without pause, a little beyond what was there when the read began.

        Each partition with a start above 0 is first probed by reading the record at start - 1, or on from behind the ``last`` record, if
        its leader's epoch is still that of the log. Raises ``LogBrokenError`` with the lost ranges where the log was truncated (and maybe
        written anew) or has expired beneath a start, ``QuantLakeError`` where neither a record nor an end arrives in 5 s. A batch ends at ``batch_rows`` or, but for one poll's records, at ``batch_bytes``.
        """
        ...

    def follow(
        self, topic: str, start: Mapping[int, int], stop: Event, *, last: Mapping[int, Last] = NONE, batch_rows: int = 50_000,
        batch_bytes: int = 64 << 20,
    ) -> Iterator[Batch]:  # fmt: skip
        """As ``read``, beyond every end until ``stop``: a batch at least every half second, with no records where none came."""
        ...

    def ends(self, topic: str, start: Mapping[int, int], last: Mapping[int, Last] = NONE) -> dict[int, int]:
        """The end offset of each partition, found by reading on from ``start`` to the end event."""
        ...

    def produce(self, topic: str, messages: Iterable[Message]) -> int:
        """Produce, wait for every acknowledgement, and return how many; raises ``QuantLakeError`` if one was refused."""
        ...
