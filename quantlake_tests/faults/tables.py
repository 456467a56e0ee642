"""A raw table that landers are killed over: what is sent to it, what it should hold, and what the kills left in it.

Here: sending numbered ticks with planted dead letters and late dates, and looking. Not here: who lands (``landers``).
"""

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.landing.audit import Audited, audit
from quantlake.landing.deep import deep
from quantlake.landing.land import land
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.ranges import covering, difference, ranges
from quantlake.landing.skips import told
from quantlake.ports import Message
from quantlake.settings import Settings
from quantlake.sources.publish import send
from quantlake.wiring import Adapters
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.landing import ticks as small
from quantlake_tests.landing.ticks import registered, ticks

LATE_EVERY = 11
LATE_DAYS = 45  # into another storage partition
LOOKED_AT = ["number", "_partition", "_offset", "_error_class", "_value"]


def adapters_of(home: Path, address: str, locks: str = "locks") -> Adapters:
    """The real adapters of a home, on a broker of the test's."""
    found = Adapters(Settings(home=home))
    found.__dict__["broker"] = Kafka({"bootstrap.servers": address})
    found.__dict__["lake"] = Iceberg.embedded(home / "lake", home / locks)
    return found


def rows(first: int, stop: int) -> pa.Table:
    """Ticks of the fourth week; every ``LATE_EVERY``-th comes late, dated ``LATE_DAYS`` before those around it."""
    return pa.Table.from_pylist([_tick(n) for n in range(first, stop)], wire_arrow(ticks))


def _tick(n: int) -> dict[str, Any]:
    back = 0 if n % LATE_EVERY == 0 else LATE_DAYS
    made = small.tick(n, 3)
    day: date = made["partition_date"] + timedelta(days=back)
    return made | {"partition_date": day, "at": datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(microseconds=n)}


class Transactions(Kafka):
    """Sends in Kafka transactions: each call's messages twice, in one that is aborted and in one that is committed."""

    def produce(self, topic: str, messages: Iterable[Message]) -> int:
        sent = list(messages)
        for end in (self._transactions.abort_transaction, self._transactions.commit_transaction):
            self._transactions.begin_transaction()
            for m in sent:
                self._transactions.produce(topic, m.value, m.key, headers=list(m.headers))
            assert self._transactions.flush(60) == 0
            end(60)
        return len(sent)

    @cached_property
    def _transactions(self) -> Any:
        from confluent_kafka import Producer

        found = Producer({"bootstrap.servers": self.address, "transactional.id": uuid.uuid4().hex, "linger.ms": 5, "log_level": 0})
        found.init_transactions(60)
        return found


def shown(broker: Kafka, topic: str) -> bool:
    """Whether the broker knows the topic by now: the controller of a cluster answers before."""
    try:
        return len(broker.partitions(topic)) == small.PARTITIONS
    except QuantLakeError:
        return False


@dataclass
class Raw:
    """The table of one topic. ``ticks`` and ``dead`` have been sent."""

    home: Path
    stream: Stream
    adapters: Adapters
    ticks: int = 0
    dead: list[bytes] = field(default_factory=list)
    numbers: Counter[int] = field(default_factory=Counter)
    letters: Counter[bytes] = field(default_factory=Counter)
    places: Counter[tuple[int, int]] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def made(cls, home: Path, address: str, topic: str, sender: type[Kafka] = Kafka) -> "Raw":
        """A new topic, and its table, empty; ``sender`` is what is sent by."""
        adapters = adapters_of(home, address)
        adapters.__dict__["broker"] = sender({"bootstrap.servers": address})
        raw = cls(home, registered(topic, adapters.broker, adapters.registry), adapters)
        wait_for(lambda: shown(raw.broker, topic), 30)
        raw.land()
        return raw

    @property
    def lake(self) -> Iceberg:
        found: Iceberg = self.adapters.lake  # type: ignore[assignment]
        return found

    @property
    def broker(self) -> Kafka:
        found: Kafka = self.adapters.broker  # type: ignore[assignment]
        return found

    def send(self, ticks: int, dead: int = 0) -> None:
        """So many further ticks, and dead letters, each of which is like no other: no framing, an unknown schema, a cut body."""
        made = [self._dead(len(self.dead) + n) for n in range(dead)]
        self.broker.produce(self.stream.topic, [Message(b"dead%d" % n, value) for n, value in enumerate(made)])
        send(self.broker, self.adapters.registry, self.stream, rows(self.ticks, self.ticks + ticks))
        self.ticks += ticks
        self.dead += made

    @staticmethod
    def _dead(n: int) -> bytes:
        return (b"plain %d", b"\0\0\0\x03\xe7unknown schema %d", b"\0\0\0\0\1%d")[n % 3] % n

    def land(self) -> None:
        """Land what is pending, in this process, which nobody kills."""
        a = self.adapters
        land(self.stream, broker=a.broker, registry=a.registry, lake=a.lake)

    def commits(self) -> int:
        table: Any = self.lake.catalog.load_table((self.stream.layer, f"{self.stream.family}_{self.stream.name}"))
        return len(table.metadata.snapshots)

    def look(self) -> None:
        """Read the files that are new since the last look; asserts that each offset to where it was committed is there exactly once."""
        table: Any = self.lake.catalog.load_table((self.stream.layer, f"{self.stream.family}_{self.stream.name}"))
        files = {task.file.file_path for task in table.scan().plan_files()}
        assert self._seen <= files, "files that were committed are gone"
        for path in files - self._seen:
            found = pq.ParquetFile(path.removeprefix("file://")).read(LOOKED_AT).to_pydict()
            self.numbers.update(n for n in found["number"] if n is not None)
            self.letters.update(v for v, e in zip(found["_value"], found["_error_class"], strict=True) if e is not None)
            self.places.update(zip(found["_partition"], found["_offset"], strict=True))
        self._seen = files
        for counted in (self.numbers, self.letters, self.places):
            assert not [what for what, n in counted.items() if n > 1], "something is there twice"
        (log,) = Logs.parse(table.properties).logs or (None,)
        lost, strange = [], set(self.places)
        for p, end in log.offsets.items() if log else ():
            there, committed = covering(np.array([o for own, o in self.places if own == p], np.int64))[0], ranges((0, end))
            skipped = told(log.skipped.get(p, ()) if log else (), difference(committed, there), there)
            assert not skipped.doubtful and not len(skipped.filled), f"partition {p}: {skipped}"
            lost += [(p, first) for first in skipped.gaps[:, 0].tolist()]
            strange -= {(own, o) for own, o in strange if own == p and o < end}
        assert not lost and not strange, f"{len(lost)} ranges committed and not there: {lost[:5]}; {len(strange)} there and not committed"
        assert table.properties.get(PROPERTY) == table.current_snapshot().summary[PROPERTY], "the snapshot says something else"

    def missing(self) -> int:
        """How many of what was sent are not in the table, by their numbers."""
        return len(set(range(self.ticks)) - self.numbers.keys()) + len(set(self.dead) - self.letters.keys())

    def doubled(self) -> int:
        return sum(n - 1 for counted in (self.numbers, self.letters) for n in counted.values())

    def left_behind(self) -> int:
        """How many data files lie there that no snapshot has."""
        return len(list((self.home / "lake").rglob("*.parquet"))) - len(self._seen)

    def audited(self) -> list[Audited]:
        """The whole audit, and the deep one."""
        a = self.adapters
        found = audit(self.stream, lake=a.lake, broker=a.broker)
        return deep(self.stream, found, lake=a.lake, broker=a.broker, registry=a.registry)

    def whole(self) -> list[Audited]:
        """Asserts that all that was sent is there once, by its numbers and by the audits."""
        self.look()
        assert (self.missing(), self.doubled()) == (0, 0)
        assert sorted(self.numbers) == list(range(self.ticks)) and sorted(self.letters) == sorted(self.dead)
        found = self.audited()
        assert all(a.clean and not a.pending and a.status == "live" for a in found), [a.reason for a in found]
        assert (sum(a.rows for a in found), sum(a.dead_letters for a in found)) == (self.ticks, len(self.dead))
        assert sum(a.content.compared for a in found if a.content) == self.ticks + len(self.dead)
        dates = frozenset().union(*(commit.dates for commit in self.lake.commits(self.stream.spec)))
        assert dates == set(self.lake.counts(self.stream.spec)), "a date was touched and no commit says so"
        return found
