"""One connection to an exchange, kept up: opened, subscribed, read, and opened again however it ends.

Here: the websocket's life, and what is done about notices. Not here: what messages say of the feed (the exchange's ``Watch``), where they
go (delivery.py), how many connections there are (client.py).
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantlake.contract import QuantLakeError
from quantlake.sources.live.delivery import Delivery, Inbox
from quantlake.sources.live.limits import Backoff, Rate, Tuning, unless
from quantlake.sources.live.rest import RefusedError, Requests
from quantlake.sources.live.stats import Teller
from quantlake.sources.live.venue import Notice, Venue, Wanted

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_SECONDS = 10.0
MESSAGE_BYTES = 64 << 20  # a snapshot of a deep book has megabytes; the library's own limit is 1 MB
QUEUE_FRAMES = 256  # 16 by default, which pauses and resumes the socket thousands of times a second
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


class Connection:
    """Keeps one group of subscriptions connected. Raises ``QuantLakeError`` from ``run`` for what no further attempt can mend."""

    def __init__(self, feed: Feed, wanted: Sequence[Wanted]) -> None:
        self._feed, self._wanted, self._stats = feed, wanted, feed.teller.stats
        self._address = feed.venue.address(feed.url, wanted)
        self._opened = 0

    async def run(self) -> None:
        """Until the stop; what had been received by then is in the delivery's buffer."""
        feed, tuning = self._feed, self._feed.tuning
        backoff = Backoff(tuning.first_delay, tuning.longest_delay)
        while not feed.stop.is_set():
            began, told = time.monotonic(), 0.0
            try:
                socket = await self._open()
                if socket is None:
                    return
                words = await Session(self._feed, self._wanted, socket, first=self._opened == 1).run()
            except _failures() as error:
                words, told = self._failed(error)
            if feed.stop.is_set():
                return
            if time.monotonic() - began > tuning.steady_seconds:
                backoff.reset()
            delay = max(backoff.next(), told)
            self._stats.reconnects += 1
            feed.teller.say(f"{feed.url}: {words}; connecting again in {delay:.1f} s")
            await unless(feed.stop, asyncio.sleep(delay))

    async def _open(self) -> "ClientConnection | None":
        from websockets.asyncio.client import connect

        tuning = self._feed.tuning
        trust = self._feed.trust if self._address.startswith("wss:") else None

        async def opening() -> "ClientConnection":
            await self._feed.connects.take()
            return await connect(
                self._address, ssl=trust, open_timeout=OPEN_SECONDS, close_timeout=tuning.close_seconds, ping_interval=tuning.ping_seconds,
                ping_timeout=tuning.ping_seconds, max_size=MESSAGE_BYTES, max_queue=QUEUE_FRAMES,
            )  # fmt: skip

        socket = await unless(self._feed.stop, opening())
        self._opened += socket is not None
        return socket

    def _failed(self, error: Exception) -> tuple[str, float]:
        """What to say of a failed attempt, and how long the exchange wants us to wait. Raises where the first attempt shows that none can succeed."""
        from websockets.exceptions import InvalidStatus

        if isinstance(error, ssl.SSLCertVerificationError):
            words = f"its certificate is not trusted: {error.verify_message}"
            if not self._opened:
                raise QuantLakeError(f"{self._feed.url}: {words}; name the authority that signed it with --ca-file, if it is yours") from error
            return words, 0.0
        if isinstance(error, InvalidStatus):
            status, body = error.response.status_code, " ".join((error.response.body or b"").decode(errors="replace").split())[:200]
            wait = error.response.headers.get("Retry-After", "")
            if not self._opened and 400 <= status < 500 and status not in (408, 418, 425, 429):
                raise QuantLakeError(f"{self._feed.url} refuses the connection with {status}: {body}") from error
            return f"answered {status}: {body}", float(wait) if wait.isdecimal() else 0.0
        return str(error) or type(error).__name__, 0.0


def _failures() -> tuple[type[Exception], ...]:
    from websockets.exceptions import WebSocketException

    return (OSError, TimeoutError, WebSocketException)


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
        for work in (self._stopped(), self._silence(), self._subscribe(), self._ask()):
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

        self._start(later())

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
        self._start(self._socket.close())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except RefusedError as error:
                self._heed(Notice("refused", str(error)))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
