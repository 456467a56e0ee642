"""Binance spot: its public feed, interface of version 3.

Here: addresses, stream names, limits, and what its numbers say about lost messages. Not here: connections, parsing into tables.
Source of all of it: github.com/binance/binance-spot-api-docs, ``web-socket-streams.md`` and ``rest-api.md``. A server's ping (every 20 s,
formerly 3 minutes) is answered by the client; a connection ends after 24 hours, and is opened again as after any other end.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from quantlake.sources.live.venue import Allowance, Channel, Notice, Rest, Venue, Wanted

STREAMS: dict[Channel, str] = {"trades": "aggTrade", "ticker": "bookTicker", "book": "depth@100ms"}
DEPTH = 1000
DEPTH_WEIGHT = 50  # of 501 to 1,000 levels
CHECK_WEIGHT = 2
NO_SUCH_SYMBOL = (-1100, -1121)  # illegal characters in, invalid symbol


@dataclass
class Continuity:
    """Whether the depth updates of a symbol lead on from each other and from its snapshot.

    The first update used has U <= lastUpdateId + 1 <= u, each later one U = previous u + 1 (``web-socket-streams.md``, "How to manage a
    local order book correctly"). One that ends where an earlier one did or before is a repeat, not a gap.
    """

    first: int | None = None  # U of the first update since the last gap
    last: int | None = None
    snapshot: int | None = None

    def update(self, first: int, last: int) -> bool:
        """Whether an update leads on; after False the symbol needs a snapshot."""
        if self.last is not None and last <= self.last:
            return True
        bridges = self.snapshot is None or first <= self.snapshot + 1
        whole = bridges if self.last is None else first == self.last + 1
        if self.first is None or not whole:
            self.first = first
        if not whole:
            self.snapshot = None
        self.last = last
        return whole

    def reaches(self, snapshot: int) -> bool:
        """Whether the updates there are lead on from a snapshot; after False it needs a newer one."""
        self.snapshot = snapshot
        return self.first is None or self.first <= snapshot + 1


class Watch:
    """Update numbers of depth messages, and refusals."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._books = {w.symbol: Continuity() for w in wanted if w.channel == "book"}

    def see(self, payload: str) -> Sequence[Notice]:
        if payload.startswith('{"stream":') and "@depth" not in payload[:80]:
            return ()
        said = json.loads(payload)
        data = said.get("data")
        if data is None:
            return (Notice("error", payload[:300]),) if "code" in said or "error" in said else ()
        symbol, book = data.get("s"), self._books.get(data.get("s"))
        if book is None or data.get("e") != "depthUpdate":
            return ()
        before = book.last if book.last is not None else book.snapshot
        if book.update(data["U"], data["u"]):
            return ()
        return (Notice("resync", f"{symbol}: updates {data['U']} to {data['u']} follow {before}", symbol),)

    def see_snapshot(self, symbol: str, payload: str) -> Sequence[Notice]:
        last = json.loads(payload)["lastUpdateId"]
        if self._books[symbol].reaches(last):
            return ()
        return (Notice("resync", f"{symbol}: the snapshot of {last} is older than the updates", symbol),)


def spelled(symbol: str) -> str:
    return symbol.upper().replace("-", "").replace("/", "")


def address(base: str, wanted: Sequence[Wanted]) -> str:
    return f"{base.rstrip('/')}/stream?streams={'/'.join(f'{w.symbol.lower()}@{STREAMS[w.channel]}' for w in wanted)}"


def refuses(status: int, body: str) -> str | None:
    try:
        said = json.loads(body)
        return str(said["msg"]) if status == 400 and said["code"] in NO_SUCH_SYMBOL else None
    except (ValueError, LookupError, TypeError):
        return None


VENUE = Venue(
    name="binance",
    source="binance_v3",
    url="wss://stream.binance.com:9443",
    symbols=66,  # 198 streams of the 1,024 allowed: an address of 5 kB, which proxies still take
    silence_seconds=300,  # a quiet pair may say nothing for minutes; a dead peer is found by our own ping in 40 s
    sends=Allowance(4, 1),  # 5 a second, pings and pongs counted
    connects=Allowance(150, 300),  # 300 in 5 minutes from one address, of which other processes have half
    spelled=spelled,
    watch=Watch,
    address=address,  # and that subscribes; a new snapshot is a REST request
    rest=Rest(
        url="https://api.binance.com",
        weights=Allowance(3000, 60),  # half of the 6,000 a minute and address
        used="X-MBX-USED-WEIGHT-1M",
        limit=6000,
        snapshot=lambda symbol: (f"/api/v3/depth?symbol={symbol}&limit={DEPTH}", DEPTH_WEIGHT),
        check=lambda symbol: (f"/api/v3/ticker/bookTicker?symbol={symbol}", CHECK_WEIGHT),
        refuses=refuses,
    ),
)
