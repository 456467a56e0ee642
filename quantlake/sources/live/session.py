"""One open socket to an exchange: subscribed, read to its last message, watched.

Here: what is sent and asked for on it, and what is done about notices. Not here: what messages say of the feed (the exchange's ``Watch``),
opening it and opening it again (connection.py), where messages go (delivery.py).
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantlake.contract import QuantLakeError
from quantlake.sources.live.delivery import Delivery
from quantlake.sources.live.limits import Rate, Tuning
from quantlake.sources.live.rest import RefusedError, Requests
from quantlake.sources.live.rows import Inbox
from quantlake.sources.live.stats import Teller
from quantlake.sources.live.venue import Notice, Venue, Wanted

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

NOT_UNDERSTOOD = (ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Feed:
    """What the connections of one client share."""

    venue: Venue
    url: str
    trust: ssl.SSLContext
    delivery: Delivery
    teller: Teller
    connects: Rate
    requests: Requests | None
    stop: asyncio.Event
    tuning: Tuning


class Session:
    """One open socket, from its first message to its last."""

    def __init__(self, feed: Feed, wanted: Sequence[Wanted], socket: "ClientConnection", *, first: bool) -> None:
        self._feed, self._wanted, self._socket, self._first = feed, wanted, socket, first
        venue, self._stats, self._delivery = feed.venue, feed.teller.stats, feed.delivery
        self._id = f"live/{venue.name}/{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
        where = feed.venue.address(feed.url, wanted).partition("?")[0]  # the streams asked for would weigh more than the message
        self._inbox = feed.delivery.open(Inbox(venue.source, venue.name, self._id, where, "websocket"))
        self._answers = Inbox(venue.source, venue.name, f"{self._id}/rest", feed.requests.url if feed.requests else "", "rest", channels=[])
        feed.delivery.open(self._answers)
        self._watch = venue.watch(wanted)
        self._sends = Rate(venue.sends)
        self._tasks: set[asyncio.Task[None]] = set()
        self._syncing: dict[str, float] = {}  # when a symbol's snapshot was last asked for; infinite: it is being asked for
        self._why = ""
        self._fatal: QuantLakeError | None = None
        self._heard = time.monotonic()

    async def run(self) -> str:
        """Read it to its end; why it ended. Raises ``QuantLakeError`` where the exchange refuses what the first connection asks for."""
        self._stats.connections += 1
        for work in (self._stopped, self._silence, self._subscribe, self._ask):
            self._start(work)
        try:
            await self._read()
        finally:
            self._stats.connections -= 1
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._inbox.ended = self._answers.ended = True
            await self._socket.close()
        if self._fatal:
            raise self._fatal
        code, reason = self._socket.close_code, self._socket.close_reason
        return self._why or f"the connection ended ({code or 'no code'}{': ' + reason if reason else ''})"

    async def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        put, see, receive, now = self._delivery.put, self._watch.see, self._socket.recv, time.time_ns
        while True:
            try:
                payload = await receive(decode=True)
            except ConnectionClosed as error:
                if error.rcvd is None and error.__cause__ is not None:
                    self._why = self._why or str(error.__cause__)
                return
            put(self._inbox, now(), payload)
            self._heard = time.monotonic()
            try:
                for notice in see(payload):
                    self._heed(notice)
            except NOT_UNDERSTOOD as error:
                self._feed.teller.error(f"a message is not understood ({type(error).__name__}: {error}): {payload[:120]}")
            if self._delivery.full and not self._feed.stop.is_set():
                await self._delivery.room()
                self._heard = time.monotonic()

    def _heed(self, notice: Notice) -> None:
        teller = self._feed.teller
        if notice.kind == "refused" and self._first:
            self._end(QuantLakeError(f"{self._feed.venue.name} refuses the subscription: {notice.words}"))
        elif notice.kind == "gap":
            teller.gap(notice.words)
        elif notice.kind == "resync":
            teller.gap(notice.words)
            self._resync(notice.symbol)
        else:
            teller.error(notice.words)
            if notice.kind == "reconnect":
                self._end(None, notice.words)

    def _resync(self, symbol: str) -> None:
        """Ask for a snapshot of a symbol's book, once at a time."""
        if self._syncing.get(symbol) == float("inf"):
            return
        wait = self._syncing.get(symbol, -float("inf")) + self._feed.tuning.resync_seconds - time.monotonic()
        self._syncing[symbol] = float("inf")
        self._stats.resyncs += 1

        async def later() -> None:
            await asyncio.sleep(max(wait, 0))
            if self._feed.requests:
                await self._snapshot(symbol)
            else:
                self._syncing[symbol] = time.monotonic()
                await self._send(self._feed.venue.resubscribe(symbol))

        self._start(later)

    async def _snapshot(self, symbol: str) -> None:
        """Ask for a snapshot by REST, and again where it does not reach the updates."""
        rest, requests = self._feed.venue.rest, self._feed.requests
        assert rest
        assert requests
        self._syncing[symbol] = float("inf")
        path, weight = rest.snapshot(symbol)
        received, body = await requests.get(path, weight)
        assert self._answers.channels is not None
        self._answers.channels.append(path)
        self._delivery.put(self._answers, received, body)
        self._stats.snapshots += 1
        self._syncing[symbol] = time.monotonic()
        try:
            notices = self._watch.see_snapshot(symbol, body)
        except NOT_UNDERSTOOD as error:
            self._feed.teller.error(f"the snapshot of {symbol} is not understood ({type(error).__name__}: {error}): {body[:120]}")
            self._resync(symbol)
            return
        for notice in notices:
            self._resync(notice.symbol)

    async def _ask(self) -> None:
        """Snapshots of all books wanted; of other symbols, at the start, whether they are there."""
        rest, requests = self._feed.venue.rest, self._feed.requests
        if rest is None or requests is None:
            return
        books = dict.fromkeys(w.symbol for w in self._wanted if w.channel == "book")
        for symbol in books:
            await self._snapshot(symbol)
        for symbol in dict.fromkeys(w.symbol for w in self._wanted) if self._first else ():
            if symbol not in books:
                await requests.get(*rest.check(symbol))

    async def _subscribe(self) -> None:
        await self._send(self._feed.venue.subscribe(self._wanted))

    async def _send(self, messages: Sequence[str]) -> None:
        from websockets.exceptions import ConnectionClosed

        for message in messages:
            await self._sends.take()
            try:
                await self._socket.send(message)
            except ConnectionClosed:
                return  # the reader says so

    async def _stopped(self) -> None:
        """At the stop, close; the reader goes on to the last message that comes before the exchange's answer."""
        await self._feed.stop.wait()
        await self._socket.close()

    async def _silence(self) -> None:
        limit = self._feed.venue.silence_seconds
        while True:
            left = self._heard + limit - time.monotonic()
            if left <= 0 and not self._stats.paused:
                self._why = f"nothing was received for {limit:g} s"
                self._feed.teller.error(f"{self._feed.url}: {self._why}")
                await self._socket.close()
                return
            await asyncio.sleep(max(left, limit / 20))

    def _end(self, fatal: QuantLakeError | None, why: str = "") -> None:
        self._fatal, self._why = self._fatal or fatal, self._why or why
        self._start(self._socket.close)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def guarded() -> None:  # makes the work itself: a task cancelled before its first step would leave it never awaited
            try:
                await work()
            except RefusedError as error:
                self._heed(Notice("refused", str(error)))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
