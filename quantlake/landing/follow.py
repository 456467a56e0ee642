"""Landing that goes on: each stream is read without end, and what came is committed every few seconds or so many rows.

Here: when to commit, what to do when another lander was faster or a server is away. Not here: reading, writing, committing (``land``).
The table's lock is held for a commit only; a commit that is not behind the offsets it started from is given up, and read again.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Lock, Thread

from quantlake.contract import QuantLakeError, Stream
from quantlake.landing.land import GROUP_ROWS, Landed, Landing, Report, Writing, pieces, reading, resumed
from quantlake.ports import Broker, Lake, LogBrokenError, Registry, StaleWriterError

COMMIT_SECONDS = 2.0
COMMIT_ROWS = 500_000
LONGEST_WAIT_SECONDS = 30.0
SNAPSHOTS = 300  # a commit's cost grows with their number (0.02 CPU-s a hundred): older ones expire at twice as many

Tell = Callable[[Stream, str], None]


@dataclass
class Seen:
    """How one stream stands: rows and dead letters landed since the start, records behind, the last commit, what is wrong ("": nothing)."""

    landed: Landed = field(default_factory=Landed)
    behind: int = 0
    committed_at: datetime | None = None
    trouble: str = ""


class Follower:
    """A lander of several streams, a thread each; commits and reports take turns. Start it, ``stop`` it: what was read is committed."""

    def __init__(
        self, streams: Sequence[Stream], *, broker: Broker, registry: Registry, lake: Lake, report: Report | None = None, tell: Tell | None = None,
        commit_seconds: float = COMMIT_SECONDS, commit_rows: int = COMMIT_ROWS, reopen: Callable[[], Broker] | None = None,
    ) -> None:  # fmt: skip
        """``tell`` hears what goes wrong with a stream, once each; it is tried again until it stops, over the broker that ``reopen`` then
        gives: the embedded one comes back at another address."""
        self._reopen = reopen or (lambda: broker)
        self._registry, self._lake, self._report, self._tell = registry, lake, report, tell
        self._seconds, self._rows = commit_seconds, commit_rows
        self._stop, self._turn = Event(), Lock()
        self.seen = {stream.topic: Seen() for stream in streams}
        self._threads = [Thread(target=self._follow, args=(stream,), name=f"land {stream.topic}", daemon=True) for stream in streams]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Commit what was read, and end."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _follow(self, stream: Stream) -> None:
        seen, wait = self.seen[stream.topic], 1.0
        while not self._stop.is_set():
            try:
                self._read(stream, seen)
                wait = 1.0
            except StaleWriterError:
                continue  # another lander's commit: read on behind it
            except BaseException as error:  # a server that is away, a full disk, a broken log; a panic of polars is no Exception
                found = str(error) if isinstance(error, QuantLakeError) else f"{type(error).__name__}: {error}"
                if found != seen.trouble and self._tell:
                    self._tell(stream, found)
                wait = LONGEST_WAIT_SECONDS if isinstance(error, LogBrokenError) else min(2 * wait, LONGEST_WAIT_SECONDS) if seen.trouble else 1.0
                seen.trouble = found
                self._stop.wait(wait)

    def _read(self, stream: Stream, seen: Seen) -> None:
        """From what is committed until the stop or an error."""
        broker = self._reopen()
        self._lake.ensure(stream.spec)
        landing = resumed(stream, broker.log_id(stream.topic), self._lake)
        with pieces(landing, self._registry, self._lake) as writing:
            since: float | None = None
            met = set[int]()
            for batch in reading(landing, landing.follow(broker, self._stop, GROUP_ROWS // 2)):
                landing.take(batch)
                seen.behind = batch.behind
                met |= batch.ends.keys()
                if met >= landing.start.keys() and landing.moved().text() == landing.written:
                    seen.trouble = ""  # nothing is left to land; what is left may meet the same trouble again, tried ever more rarely
                if landing.full(GROUP_ROWS) and stream.tombstones == "ignore":
                    writing.add(landing)
                if since is None and (landing.rows or landing.moved().text() != landing.written):
                    since = time.monotonic()
                enough = writing.rows + landing.rows >= self._rows or landing.full(GROUP_ROWS)
                if since is not None and (enough or time.monotonic() - since >= self._seconds):
                    self._commit(landing, writing, broker, seen)
                    since = None
            if since is not None:
                self._commit(landing, writing, broker, seen)

    def _commit(self, landing: Landing, writing: Writing, broker: Broker, seen: Seen) -> None:
        if landing.stream.tombstones == "ignore":
            writing.add(landing)
        with self._lake.lock(landing.stream.spec), self._turn:
            writing.add(landing)  # a tombstone's date is looked for under the lock: a redrive may bring its key's row meanwhile
            done = writing.commit(landing, broker, self._report)
        seen.trouble = ""
        seen.landed += done.landed
        seen.committed_at = datetime.now(UTC)
        if done.commit.sequence % (SNAPSHOTS // 4):
            return
        commits = self._lake.commits(landing.stream.spec)
        if len(commits) >= 2 * SNAPSHOTS:
            self._lake.maintain(landing.stream.spec, datetime.now(UTC) - commits[-SNAPSHOTS].committed_at)


def land_until(follower: Follower, stop: Event, look: Callable[[], None], seconds: float) -> None:
    """Run a follower until ``stop``, looking every few seconds; what was read is committed whatever ends it."""
    follower.start()
    try:
        while not stop.wait(seconds):
            look()
    finally:
        with suppress(KeyboardInterrupt):
            follower.stop()
