"""One connection to an exchange, kept up: opened, and opened again however it ends.

Here: attempts, delays, what no further attempt can mend. Not here: an open socket (session.py), how many connections there are (client.py).
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantlake.contract import QuantLakeError
from quantlake.sources.live.limits import Backoff, unless
from quantlake.sources.live.session import Feed, Session
from quantlake.sources.live.venue import Wanted

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_SECONDS = 10.0
MESSAGE_BYTES = 64 << 20  # a snapshot of a deep book has megabytes; the library's own limit is 1 MB
QUEUE_FRAMES = 256  # 16 by default, which pauses and resumes the socket thousands of times a second


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
