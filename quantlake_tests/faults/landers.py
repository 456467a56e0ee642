"""Lander processes for kills: forked from a process that has imported all, told what to do, and heard until they end.

Here: the processes. Not here: what they land (``tables``), what is checked.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlake_tests.faults import steps
from quantlake_tests.faults.steps import Kill

GROUP_ROWS = 20
COMMIT_ROWS = 40
ENDS_SECONDS = 60.0
STALE = 3  # exit status: another lander was faster, so this one committed nothing more
WARM = (
    "quantlake_tests.faults.steps", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.compute", "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow",
    "pyiceberg_core", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite.pysqlite", "confluent_kafka.admin", "fastavro", "pydantic_settings",
    "dagster", "dagster._cli.api", "dagster._core.storage.sqlite_storage", "dagster._core.storage.local_compute_log_manager",
    "dagster._core.executor.in_process", "psutil", "openlineage.client", "exchange_calendars", "alembic.command",
)  # fmt: skip
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(list(WARM))


@dataclass(frozen=True)
class Work:
    """What a lander does: ``batch`` lands what is pending and ends, ``follow`` lands on, ``dagster`` is a run that drains the topic.

    ``locks``: the folder of its locks, as if it were another machine's. ``jumps``: its clocks jump by hours. ``retry_seconds``: how
    long a follower waits at most before it tries again.
    """

    mode: str
    address: str
    home: Path
    topic: str
    dagster: Path
    kill: Kill | None = None
    locks: str = "locks"
    jumps: bool = False
    retry_seconds: float = 30.0


@dataclass
class Journal:
    """What a lander said: commits begun and done, reports, troubles."""

    begun: int = 0
    done: int = 0
    reports: int = 0
    troubles: int = 0
    ready: bool = False

    def heard(self, letters: bytes) -> None:
        self.begun += letters.count(b"b")
        self.done += letters.count(b"c")
        self.reports += letters.count(b"r")
        self.troubles += letters.count(b"t")
        self.ready |= b"s" in letters


living: list["Lander"] = []


class Lander:
    """A process at work; ``ended`` waits for its end."""

    def __init__(self, work: Work) -> None:
        self.work, self.journal = work, Journal()
        self._pipe, theirs = _processes.Pipe(duplex=False)
        living.append(self)
        self._process: Any = _processes.Process(target=_lands, args=(work, theirs))
        with _one_thread():
            self._process.start()
        theirs.close()

    def wait(self, seconds: float = ENDS_SECONDS, *, done: int = 0, troubles: int = 0) -> bool:
        """Until it lands, and has done so many commits, or told so many troubles; False where it ended before."""
        deadline = time.monotonic() + seconds
        while not (self.journal.ready and self.journal.done >= done and self.journal.troubles >= troubles):
            if not self._hear(deadline - time.monotonic()):
                return False
        return True

    def lives(self, seconds: float) -> bool:
        """Whether it has not ended after so long."""
        return not self._pipe.poll(seconds) or self._hear(1)

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """As SIGTERM ends `quantlake land --follow`."""
        self._process.terminate()

    def ended(self, seconds: float = ENDS_SECONDS) -> int:
        """Its exit status, negative for a signal."""
        deadline = time.monotonic() + seconds
        try:
            while self._hear(deadline - time.monotonic()):
                pass
            self._process.join(max(0.0, deadline - time.monotonic()))
            assert self._process.exitcode is not None, f"{self.work} did not end in {seconds} s"
            return int(self._process.exitcode)
        finally:
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            self._pipe.close()
            living.remove(self)

    def end(self) -> None:
        """Whatever it does, for a test that is over."""
        if not self._pipe.closed:
            self.kill()
            self.ended()

    def _hear(self, seconds: float) -> bool:
        assert seconds > 0 and self._pipe.poll(seconds), f"{self.work} says nothing"
        letters = os.read(self._pipe.fileno(), 4096)
        self.journal.heard(letters)
        return bool(letters)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The first process starts the server that forks, which may have no threads."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _lands(work: Work, pipe: Any) -> None:
    """The process."""
    from dataclasses import replace

    from quantlake.landing import follow
    from quantlake.landing import land as landing
    from quantlake_tests.faults.tables import adapters_of, ticks

    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "200"  # as the commands have it: what was not written yet is lost with the process
    landing.GROUP_ROWS = follow.GROUP_ROWS = GROUP_ROWS
    landing.land.__kwdefaults__["commit_rows"] = COMMIT_ROWS
    follow.LONGEST_WAIT_SECONDS = work.retry_seconds

    def tell(letter: str) -> None:
        os.write(pipe.fileno(), letter.encode())

    stream = replace(ticks, topic=work.topic)
    adapters = adapters_of(work.home, work.address, work.locks)
    if work.jumps:
        _jumping()
    steps.armed(work.kill or Kill(work.mode), tell)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    from quantlake.orchestration.instance import open_instance

    with open_instance(work.dagster) as instance:
        steps.landing()
        tell("s")
        MODES[work.mode](stream, adapters, instance, stop, tell)


def _batch(stream: Any, adapters: Any, instance: Any, *_: Any) -> None:
    from quantlake.landing.land import land
    from quantlake.orchestration.assets import report_landing
    from quantlake.ports import StaleWriterError

    try:
        land(stream, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake, report=report_landing(instance, adapters, [stream]))
    except StaleWriterError:
        sys.exit(STALE)


def _follow(stream: Any, adapters: Any, instance: Any, stop: threading.Event, tell: steps.Told) -> None:
    from quantlake.landing.follow import Follower, land_until
    from quantlake.orchestration.assets import report_landing

    follower = Follower(
        [stream], broker=adapters.broker, registry=adapters.registry, lake=adapters.lake, report=report_landing(instance, adapters, [stream]),
        commit_seconds=0.1, commit_rows=COMMIT_ROWS, tell=lambda *_: tell("t"),
    )  # fmt: skip
    land_until(follower, stop, lambda: None, 0.5)


def _dagster(stream: Any, adapters: Any, instance: Any, *_: Any) -> None:
    """What `quantlake refresh` runs to land: the real asset, in a Dagster run of this process."""
    from quantlake.contract.catalog import Catalog
    from quantlake.orchestration.refresh import refresh

    done = refresh(Catalog((stream,)), [stream], adapters, instance)
    if any("another writer" in error for error in done.errors):
        sys.exit(STALE)
    assert not done.errors, done.errors


MODES = {"batch": _batch, "follow": _follow, "dagster": _dagster}


def _jumping() -> None:
    """Both clocks of this process jump by hours, forth and back, at every few calls."""
    wall, monotonic, calls = time.time, time.monotonic, iter(range(1 << 62))
    hours = [0, 7, -5, 30, -48, 1]

    def jump() -> float:
        return 3600.0 * hours[next(calls) // 7 % len(hours)]

    time.time = lambda: wall() + jump()
    time.monotonic = lambda: monotonic() + abs(jump())
