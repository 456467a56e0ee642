"""Rows on their way to Kafka: one delivery after the other, each tried until it is acknowledged.

Here: turns, attempts, what becomes of a delivery at the stop. Not here: how rows become messages (sources/publish.py), buffers of messages
that come faster than they are sent (delivery.py).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.sources.live.delivery import started
from quantlake.sources.live.limits import Backoff, Tuning
from quantlake.sources.live.stats import Teller

Send = Callable[[Stream, pa.Table], int]


class Outbox:
    """Hands rows to ``send``, which may block and returns when they are acknowledged."""

    def __init__(self, send: Send, teller: Teller, tuning: Tuning) -> None:
        self._send, self._teller, self._stats, self._tuning = send, teller, teller.stats, tuning
        self._turn = asyncio.Lock()
        self._abandon = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    async def deliver(self, tables: Sequence[tuple[Stream, pa.Table]], before: Callable[[], None] | None = None) -> None:
        """Send tables in their order, each when the one before it is acknowledged; goes on behind a caller that is cancelled.

        ``before``: what is done first, and again with each attempt at the first table.
        """
        task = asyncio.ensure_future(self._all(tables, before))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        await asyncio.shield(task)

    def abandon(self) -> None:
        """End without waiting for the broker."""
        self._abandon.set()

    async def settle(self) -> None:
        """What is being sent may end within ``grace_seconds``, unless it is abandoned; the rest is counted as lost."""
        if self._sending:
            given_up = asyncio.ensure_future(self._abandon.wait())
            pending = asyncio.gather(*self._sending, return_exceptions=True)
            both: set[asyncio.Future[Any]] = {pending, given_up}
            await asyncio.wait(both, timeout=self._tuning.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
            given_up.cancel()
            pending.cancel()
            await asyncio.gather(given_up, pending, return_exceptions=True)
        self._stats.lost = self._stats.messages - self._stats.acknowledged

    async def _all(self, tables: Sequence[tuple[Stream, pa.Table]], before: Callable[[], None] | None) -> None:
        stats, read = self._stats, time.time_ns()
        stats.messages += sum(rows.num_rows for _, rows in tables)
        stats.oldest = min(stats.oldest or read, read)
        async with self._turn:
            for n, (stream, rows) in enumerate(tables):
                await self._attempts(stream, rows, before if n == 0 else None)
                stats.acknowledged += rows.num_rows
        stats.acknowledged_to = read
        if stats.messages == stats.acknowledged:
            stats.oldest = None

    async def _attempts(self, stream: Stream, rows: pa.Table, before: Callable[[], None] | None) -> None:
        stats = self._stats
        backoff = Backoff(self._tuning.first_delay, self._tuning.longest_delay / 12)

        def work() -> None:
            if before:
                before()
            self._send(stream, rows)

        while error := await started(work):
            if not isinstance(error, QuantLakeError):
                raise error
            stats.retries += 1
            if not stats.trouble:
                self._teller.error(f"not delivered, and tried until it is: {error}")
            stats.trouble = str(error)
            await asyncio.sleep(backoff.next())
        if stats.trouble:
            self._teller.say("the broker takes messages again")
            stats.trouble = ""
