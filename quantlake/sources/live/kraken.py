"""Kraken spot: its public feed, websocket interface of version 1.

Here: the address, subscriptions, limits, and a small book whose checksum says whether a message was lost. Not here: connections, parsing
into tables. Source: docs.kraken.com, "Spot WebSocket" v1: overview, book, rate limits. A heartbeat comes every second in which nothing else does.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

from quantlake.sources.live.venue import Allowance, Channel, Notice, Venue, Wanted, base_and_quote

NAMES: dict[Channel, str] = {"trades": "trade", "ticker": "ticker", "book": "book"}
THEIRS = {"BTC": "XBT", "DOGE": "XDG"}
DEPTH = 1000
TOP = 10  # levels of a side that the checksum covers
TOO_FAST = "msg rate"  # "Exceeded msg rate": to be tried again, not a wrong symbol

Level = tuple[int, str]  # sorts as its number does: a pair's prices all have the same decimals


class Side:
    """One side of a book: price -> size as sent, the prices in ascending order."""

    def __init__(self, levels: Iterable[Sequence[str]], *, bids: bool) -> None:
        self._bids = bids
        self._sizes = {(len(p), p): size for p, size, *_ in levels}
        self._prices = sorted(self._sizes)

    def put(self, price: str, size: str) -> None:
        """Set a level, or take it away (size 0), and keep no more than ``DEPTH``, as the exchange does."""
        level = (len(price), price)
        at = bisect_left(self._prices, level)
        there = level in self._sizes
        if not float(size):
            if there:
                del self._prices[at], self._sizes[level]
            return
        self._sizes[level] = size
        if not there:
            self._prices.insert(at, level)
            if len(self._prices) > DEPTH:
                del self._sizes[self._prices.pop(0 if self._bids else -1)]

    def digits(self) -> str:
        """The best levels as the checksum takes them: price, then size, each without dot and leading zeros."""
        best: list[Level] = self._prices[: -TOP - 1 : -1] if self._bids else self._prices[:TOP]
        return "".join(_digits(level[1]) + _digits(self._sizes[level]) for level in best)


class Watch:
    """A book of each pair, of which only the checksum is wanted, and refusals."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._books: dict[str, tuple[Side, Side]] = {}  # asks, bids; none: a snapshot is awaited

    def see(self, payload: str) -> Sequence[Notice]:
        if payload.startswith("["):
            message = json.loads(payload)
            return self._book(message[-1], message[1:-2]) if message[-2].startswith("book-") else ()
        message = json.loads(payload)
        if message.get("status") == "error" or message.get("event") == "error":
            words = " ".join(str(message[k]) for k in ("errorMessage", "pair") if message.get(k)) or payload[:300]
            if TOO_FAST in words:
                return (Notice("reconnect", words),)
            return (Notice("refused" if message.get("event") == "subscriptionStatus" else "error", words),)
        return ()

    def see_snapshot(self, symbol: str, payload: str) -> Sequence[Notice]:
        return ()

    def _book(self, pair: str, parts: Sequence[dict[str, Any]]) -> Sequence[Notice]:
        if "as" in parts[0] or "bs" in parts[0]:
            self._books[pair] = Side(parts[0].get("as", ()), bids=False), Side(parts[0].get("bs", ()), bids=True)
            return ()
        book = self._books.get(pair)
        if book is None:
            return ()
        for part in parts:
            for side, name in zip(book, "ab", strict=True):
                for price, size, *_ in part.get(name, ()):
                    side.put(price, size)
        sent = parts[-1].get("c")
        if sent is None or crc32((book[0].digits() + book[1].digits()).encode()) == int(sent):
            return ()
        del self._books[pair]
        return (Notice("resync", f"{pair}: the book's checksum is not {sent}", pair),)


def _digits(number: str) -> str:
    return number.replace(".", "").lstrip("0")


def spelled(symbol: str) -> str:
    base, quote = base_and_quote(symbol)
    return f"{THEIRS.get(base, base)}/{THEIRS.get(quote, quote)}"


def subscribe(wanted: Sequence[Wanted]) -> list[str]:
    """One message a channel."""
    asked = [(c, [w.symbol for w in wanted if w.channel == c]) for c in NAMES]
    return [_message("subscribe", pairs, c) for c, pairs in asked if pairs]


def resubscribe(symbol: str) -> list[str]:
    return [_message("unsubscribe", [symbol], "book"), _message("subscribe", [symbol], "book")]


def _message(event: str, pairs: Sequence[str], channel: Channel) -> str:
    what = {"name": NAMES[channel]} | ({"depth": DEPTH} if channel == "book" else {})
    return json.dumps({"event": event, "pair": pairs, "subscription": what}, separators=(",", ":"))


VENUE = Venue(
    name="kraken",
    source="kraken_v1",
    url="wss://ws.kraken.com",
    symbols=100,
    silence_seconds=15,  # of heartbeats that come every second; Kraken's guide ends a connection after 5 s
    sends=Allowance(1, 1),  # a moving limit, whose words are "Exceeded msg rate"
    connects=Allowance(60, 600),  # about 150 in 10 minutes from one address, else it is banned for 10
    spelled=spelled,
    subscribe=subscribe,
    resubscribe=resubscribe,
    watch=Watch,
)
