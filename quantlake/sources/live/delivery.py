"""From received messages to Kafka: a bounded buffer, batches as rows, sent until they are acknowledged.

Here: what is pending, when it is sent, what happens where the broker does not take it. Not here: sockets, rows (rows.py), how rows become
Kafka messages (sources/publish.py). At least once: a batch that was sent again may be there twice, with the same ``message_key``.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.datasets.market.exchange_messages import raw
from quantlake.sources.live.limits import Backoff, Tuning
from quantlake.sources.live.rows import Inbox, rows
from quantlake.sources.live.stats import Teller

SEND_MESSAGES = 20_000  # one piece of what an outage left: a piece that fails is sent again whole
TOO_LARGE = "message size too large"  # as the client and the broker say it


class Delivery:
    """The buffer of all connections and the task that empties it. ``send`` sends rows and returns when they are acknowledged."""

    def __init__(self, send: Callable[[pa.Table], int], teller: Teller, stop: asyncio.Event, tuning: Tuning) -> None:
        self._send, self._teller, self._stats, self._stop, self._tuning = send, teller, teller.stats, stop, tuning
        self._inboxes: list[Inbox] = []
        self._enough, self._room, self._close, self._abandon = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.pending = 0  # messages, with those that are being sent
        self._bytes = 0
        self._waiting = 0  # messages that are not being sent yet
        self._deadline: float | None = None

    def open(self, inbox: Inbox) -> Inbox:
        self._inboxes.append(inbox)
        return inbox

    def put(self, inbox: Inbox, received: int, payload: str) -> None:
        """Take a message; ``received`` in ns since 1970."""
        inbox.times.append(received)
        inbox.payloads.append(payload)
        self.pending += 1
        self._waiting += 1
        self._bytes += len(payload)
        self._stats.messages += 1
        self._stats.characters += len(payload)
        if self._waiting == self._tuning.batch_messages:
            self._enough.set()

    @property
    def full(self) -> bool:
        return self.pending >= self._tuning.buffer_messages or self._bytes >= self._tuning.buffer_bytes

    async def room(self) -> None:
        """Wait until something can be taken again, or all is to end."""
        if not self._stats.paused:
            self._stats.paused = True
            self._teller.say(f"{self.pending:,} messages wait for the broker: nothing more is read until it takes some")
        while self.full and not self._stop.is_set():
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), 0.5)
        self._stats.paused = False

    def close(self) -> None:
        """No more will come: send the rest, for ``grace_seconds`` at most."""
        self._deadline = time.monotonic() + self._tuning.grace_seconds
        self._close.set()
        self._enough.set()

    def abandon(self) -> None:
        """Do not even wait for that."""
        self._abandon.set()

    async def run(self) -> None:
        """Send what comes, in batches, until it is closed and empty; what was not taken by then is counted as lost."""
        while not self._abandoned and not (self._close.is_set() and not self._waiting):
            if not self._close.is_set() and self._waiting < self._tuning.batch_messages:
                self._enough.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), self._tuning.batch_seconds)
            if self._waiting:
                await self._deliver(self._taken())
        self._stats.lost += self.pending
        self.pending = self._waiting = 0

    @property
    def _abandoned(self) -> bool:
        return self._abandon.is_set() or self._left == 0

    @property
    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0) if self._deadline is not None else float("inf")

    def _taken(self) -> list[Inbox]:
        left, parts = SEND_MESSAGES, []
        for inbox in self._inboxes:
            if left and inbox.times:
                parts.append(inbox.take(left))
                left -= len(parts[-1].times)
        self._inboxes = [i for i in self._inboxes if i.times or not i.ended]
        self._waiting -= sum(len(p.times) for p in parts)
        self._age(parts)
        return parts

    def _age(self, parts: list[Inbox]) -> None:
        """The oldest that is not acknowledged, of what is being sent and what waits."""
        self._stats.oldest = min((i.times[0] for i in (*parts, *self._inboxes) if i.times), default=None)

    async def _deliver(self, parts: list[Inbox]) -> None:
        """Send until it is acknowledged, or time is up."""
        backoff = Backoff(self._tuning.first_delay, self._tuning.longest_delay / 12)
        while parts and not self._abandoned:
            error = await self._attempt(lambda parts=parts: self._send(pa.concat_tables([rows(p) for p in parts])))  # type: ignore[misc]
            if error is None:
                self._acknowledged(parts)
                return
            if error is ABANDONED:
                return
            if TOO_LARGE in str(error).lower():
                await self._apart(parts, error)
                return
            self._stats.retries += 1
            self._undelivered(str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._abandon.wait(), min(backoff.next(), self._left))

    async def _apart(self, parts: list[Inbox], error: Exception) -> None:
        """A message is larger than the broker takes: all others are sent, this one is lost, and said by its key."""
        count = sum(len(p.times) for p in parts)
        if count == 1:
            part = parts[0]
            self._settled(1, len(part.payloads[0]))
            self._stats.lost += 1
            key, size = f"{part.connection_id}:{part.first}", len(part.payloads[0])
            self._teller.error(f"{key} of {size:,} characters is lost: {error}; raise max.message.bytes of {raw.topic}")
            return
        half, left = count // 2, []
        for part in parts:
            left.append(part.take(half))
            half -= len(left[-1].times)
        for some in (left, parts):
            await self._deliver([p for p in some if p.times])

    async def _attempt(self, work: Callable[[], int]) -> Exception | None:
        """None: it succeeded."""
        done = started(work)
        began = time.monotonic()
        while not done.done():
            if time.monotonic() - began > self._tuning.slow_seconds and not self._stats.trouble:
                self._undelivered(f"the broker has acknowledged nothing for {self._tuning.slow_seconds:g} s")
            if self._abandoned:
                return ABANDONED
            await asyncio.wait({done}, timeout=0.1 if self._close.is_set() else 0.5)
        found = done.result()
        if found is not None and not isinstance(found, QuantLakeError):
            raise found
        return found

    def _undelivered(self, why: str) -> None:
        if not self._stats.trouble:
            self._teller.error(f"not delivered, and tried until it is: {why}")
        self._stats.trouble = why

    def _acknowledged(self, parts: list[Inbox]) -> None:
        self._settled(sum(len(p.times) for p in parts), sum(map(len, (text for p in parts for text in p.payloads))))
        self._stats.acknowledged += sum(len(p.times) for p in parts)
        self._stats.acknowledged_to = max(p.times[-1] for p in parts)
        if self._stats.trouble:
            self._teller.say("the broker takes messages again")
            self._stats.trouble = ""
        self._age([])

    def _settled(self, messages: int, size: int) -> None:
        self.pending -= messages
        self._bytes -= size
        if not self.full:
            self._room.set()


def started(work: Callable[[], object]) -> "asyncio.Future[Exception | None]":
    """Work in a thread of its own, which nobody waits for at the end; gives its error, or None."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Exception | None] = loop.create_future()

    def report(found: Exception | None) -> None:
        if not done.done():
            done.set_result(found)

    def run() -> None:
        found: Exception | None = None
        try:
            work()
        except Exception as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(report, found)

    threading.Thread(target=run, daemon=True, name="delivery").start()
    return done


ABANDONED = QuantLakeError("given up")
