"""A resident client of one exchange: its connections, its delivery, from start to stop.

Here: that they run together and end together. Not here: each of them.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.sources.live.connection import Connection
from quantlake.sources.live.delivery import Delivery
from quantlake.sources.live.limits import Rate, Tuning
from quantlake.sources.live.rest import Requests
from quantlake.sources.live.session import Feed
from quantlake.sources.live.stats import Stats, Teller
from quantlake.sources.live.venue import Venue, Wanted


class Client:
    """Receives what is wanted (a list a connection) and hands rows of ``raw/market/exchange_messages`` to ``send``, which may block."""

    def __init__(
        self, venue: Venue, wanted: Sequence[Sequence[Wanted]], send: Callable[[pa.Table], int], say: Callable[[str], None], *,
        url: str | None = None, rest_url: str | None = None, ca_file: Path | None = None, tuning: Tuning | None = None,
    ) -> None:  # fmt: skip
        self._venue, self._wanted, self._send = venue, wanted, send
        self._url = encrypted(url or venue.url, "wss", "ws")
        self._rest_url = encrypted(rest_url or venue.rest.url, "https", "http") if venue.rest else ""
        self._trust = trusting(ca_file)
        self._tuning = tuning or Tuning()
        self.stats = Stats()
        self._teller = Teller(self.stats, say)
        self._delivery: Delivery | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``, then until all that was received is delivered or given up (``stats.lost``).

        Raises ``QuantLakeError``, after that, where the exchange refuses what is wanted.
        """
        delivery = self._delivery = Delivery(self._send, self._teller, stop, self._tuning)
        requests = Requests(self._venue.rest, self._rest_url, self._trust, self._teller, self._tuning) if self._venue.rest else None
        feed = Feed(
            self._venue, self._url, self._trust, delivery, self._teller, Rate(self._venue.connects), requests, stop, self._tuning
        )  # fmt: skip
        sending = asyncio.ensure_future(delivery.run())
        reading = [asyncio.ensure_future(Connection(feed, group).run()) for group in self._wanted]
        read = asyncio.gather(*reading)
        try:
            both: set[asyncio.Future[Any]] = {sending, read}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            await asyncio.gather(read, *reading, return_exceptions=True)
            delivery.close()
            await asyncio.gather(sending, return_exceptions=True)
            if requests:
                await requests.close()
        for task in (sending, *reading):
            task.result()

    def abandon(self) -> None:
        """End without waiting for the broker."""
        if self._delivery:
            self._delivery.abandon()


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates are always checked: against the system's authorities, or instead of these against one's own."""
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise QuantLakeError(f"--ca-file {ca_file}: {error.strerror or error}; it is to be a PEM file of certificates") from error


def encrypted(url: str, scheme: str, plain: str) -> str:
    """An address, if it may be used: without TLS only on this machine. Raises ``QuantLakeError`` otherwise."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise QuantLakeError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in (scheme, plain) or not host:
        raise QuantLakeError(f"{url!r} is no address of the feed: write {scheme}://host[:port]")
    if parts.scheme == plain and not _loopback(host):
        raise QuantLakeError(f"{url} is not encrypted: {plain}:// is for this machine alone; write {scheme}://")
    return url


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
