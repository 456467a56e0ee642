"""Order books from rows of book_deltas in plain dicts: slow, and simple enough to be checked by eye.

Here: the venues' rules of when a change counts. Not here: rows from messages (quantlake/exchanges), what we publish (book_top).
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple

Row = Mapping[str, Any]
BY_ID = ("bybit", "bitmex")
BUFFERED = ("binance", "bitstamp")  # diffs come before the snapshot that was asked for
CHECKED_LEVELS = 10


class Top(NamedTuple):
    """The best of both sides after a message that counted; None where a side is empty. ``checksum_ok``: None where none was sent."""

    message_key: str
    symbol: str
    bid_price: Decimal | None
    bid_size: Decimal | None
    ask_price: Decimal | None
    ask_size: Decimal | None
    bid_levels: int
    ask_levels: int
    checksum_ok: bool | None


class Level(NamedTuple):
    size: Decimal
    price_text: str | None
    size_text: str | None


@dataclass
class Book:
    venue: str
    synced: bool = False
    last_update_id: int | None = None
    connection: str | None = None  # that the diffs since the snapshot came over
    fresh: bool = False  # no diff has been applied since the snapshot
    sides: dict[str, dict[Decimal, Level]] = field(default_factory=lambda: {"bid": {}, "ask": {}})
    prices: dict[tuple[str, str], Decimal] = field(default_factory=dict)  # of (side, level_id)
    waiting: list[list[Row]] = field(default_factory=list)

    def receive(self, message: list[Row]) -> list[Top]:
        """The tops that follow: none of a message that does not count; several of a snapshot that diffs were waiting for."""
        if message[0]["action"] == "snapshot":
            self.begin(message)
            waiting, self.waiting = self.waiting, []
            return [self.top(message), *(top for diff in waiting for top in self.receive(diff))]
        if message[0]["connection_id"] != self.connection:
            if self.connection is not None:  # what was sent between the two is not known
                self.synced, self.waiting = False, []
            self.connection = message[0]["connection_id"]
        if not self.synced or not self.counts(message[0]):
            if not self.synced and self.venue in BUFFERED:
                self.waiting.append(message)
            return []
        for row in message:
            self.change(row)
        self.truncate(message[0]["depth"])
        return [self.top(message)]

    def begin(self, message: list[Row]) -> None:
        self.sides, self.prices = {"bid": {}, "ask": {}}, {}
        self.connection = self.connection if self.waiting else None
        self.synced, self.fresh, self.last_update_id = True, True, message[0]["last_update_id"]
        for row in message:
            self.change(row)
        self.truncate(message[0]["depth"])

    def counts(self, row: Row) -> bool:
        first, last = row["first_update_id"], row["last_update_id"]
        if self.venue == "binance":
            if last <= self.last_update_id:
                return False
            follows = first <= self.last_update_id + 1 if self.fresh else first == self.last_update_id + 1
            self.synced, self.fresh, self.last_update_id = follows, False, last
            return follows
        return self.venue != "bitstamp" or last >= self.last_update_id

    def change(self, row: Row) -> None:
        side, price = row["side"], row["price"]
        if side is None:
            return
        if self.venue in BY_ID:
            price = price if price is not None else self.prices.get((side, row["level_id"]))
            if price is None:  # of a level that the book does not have
                return
            self.prices[side, row["level_id"]] = price
        if row["size"] is None or row["size"] == 0:
            self.sides[side].pop(price, None)
        else:
            self.sides[side][price] = Level(row["size"], row["price_text"], row["size_text"])

    def truncate(self, depth: int | None) -> None:
        if depth is not None:
            self.sides = {side: {price: self.sides[side][price] for price in self.prices_of(side)[:depth]} for side in self.sides}

    def prices_of(self, side: str) -> list[Decimal]:
        return sorted(self.sides[side], reverse=side == "bid")

    def top(self, message: list[Row]) -> Top:
        best = []
        for side in ("bid", "ask"):
            price = next(iter(self.prices_of(side)), None)
            best += [price, self.sides[side][price].size if price is not None else None]
        sent = message[0]["checksum"]
        ok = None if sent is None else sent == self.checksum()
        return Top(message[0]["message_key"], message[0]["symbol"], *best, len(self.sides["bid"]), len(self.sides["ask"]), ok)

    def checksum(self) -> int:
        """Kraken's: https://docs.kraken.com/api/docs/guides/spot-ws-book-v1"""
        levels = [self.sides[side][price] for side in ("ask", "bid") for price in self.prices_of(side)[:CHECKED_LEVELS]]
        texts = (text.replace(".", "").lstrip("0") for level in levels for text in (level.price_text, level.size_text))
        return zlib.crc32("".join(texts).encode())


def tops(rows: Iterable[Row]) -> list[Top]:
    """The top of a book after each message that counts for it, in the order of receipt; all venues and symbols at once.

    ``rows`` are in any order; messages are taken by time of receipt, then line, their items by number.
    """
    books: dict[tuple[str, str], Book] = {}
    ordered = sorted(rows, key=lambda r: (r["receive_time"], r["source_name"], r["line_number"], r["symbol"], r["item_index"]))
    found: list[Top] = []
    for (_, venue, symbol), message in groupby(ordered, key=lambda r: (r["message_key"], r["venue"], r["symbol"])):
        found += books.setdefault((venue, symbol), Book(venue)).receive(list(message))
    return found
