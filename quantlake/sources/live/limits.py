"""Waiting: for an allowance, between attempts, and no longer than until the stop.

Here: how long, and that it ends early. Not here: what is waited for, the exchanges' numbers.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from quantlake.sources.live.venue import Allowance

T = TypeVar("T")


@dataclass(frozen=True)
class Tuning:
    """Times in seconds, sizes in messages or bytes; the defaults are what runs."""

    batch_seconds: float = 0.2
    batch_messages: int = 2_000
    buffer_messages: int = 200_000
    buffer_bytes: int = 256 << 20
    slow_seconds: float = 5.0  # a send that takes longer is said
    grace_seconds: float = 3.0  # for what is not delivered at the stop
    close_seconds: float = 1.0  # for the exchange's answer to our close
    first_delay: float = 0.5
    longest_delay: float = 60.0
    steady_seconds: float = 30.0  # a connection of that age was a good one: the next attempt waits as the first
    resync_seconds: float = 5.0  # between two snapshots of a symbol
    ping_seconds: float = 20.0
    look_seconds: float = 3.0  # between two looks at a chain's newest block, at most


class Rate:
    """No more than an allowance in any stretch of its time, whoever asks."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance, self._clock = allowance, clock
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._held = 0.0
        self._turn = asyncio.Lock()

    def delay(self, amount: int = 1) -> float:
        """Seconds until ``amount`` (at most the whole allowance) may be taken; 0: now."""
        now, left = self._clock(), self._sum
        while self._taken and now - self._taken[0][0] >= self._allowance.seconds:
            taken = self._taken.popleft()[1]
            self._sum -= taken
            left -= taken
        wait = self._held - now
        for at, taken in self._taken:
            if left + amount <= self._allowance.amount:
                break
            left -= taken
            wait = max(wait, at + self._allowance.seconds - now)
        return max(wait, 0.0)

    def note(self, amount: int = 1) -> None:
        """It is taken."""
        self._taken.append((self._clock(), amount))
        self._sum += amount

    def hold(self, seconds: float) -> None:
        """Nothing for so long: the exchange said so."""
        self._held = max(self._held, self._clock() + seconds)

    async def take(self, amount: int = 1) -> None:
        """Wait for it, in the order asked."""
        async with self._turn:
            while (wait := self.delay(amount)) > 0:
                await asyncio.sleep(wait)
            self.note(amount)


class Backoff:
    """Delays between attempts: twice as long at most each time, each drawn from the half below it, so that many clients do not come at once."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self.reset()

    def reset(self) -> None:
        self._next = self._first

    def next(self) -> float:
        bound, self._next = self._next, min(2 * self._next, self._longest)
        return random.uniform(bound / 2, bound)  # noqa: S311


async def unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What ``work`` gives; None where the stop came first, ``work`` being cancelled then."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return None if task.cancelled() else task.result()
