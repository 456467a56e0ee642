"""Coinbase Exchange (formerly Pro): its public feed.

Here: the address, subscriptions, limits, and what its numbers say about lost messages. Not here: connections, parsing into tables.
Source: docs.cdp.coinbase.com/exchange/websocket-feed, pages overview, channels and rate-limits. Since 2023-08-01 the channel ``level2``
wants a key; ``level2_batch`` sends the same messages every 50 ms without one. ``heartbeat`` comes once a second and product, so a
silence is an end of the connection and not of trading.
"""

import json
from collections.abc import Sequence

from quantlake.sources.live.venue import Allowance, Channel, Notice, Venue, Wanted, base_and_quote

NAMES: dict[Channel, str] = {"trades": "matches", "ticker": "ticker", "book": "level2_batch"}
NUMBERED = ("match", "last_match", "ticker")


class Watch:
    """Trade ids and sequences of matches and tickers, and refusals.

    ``sequence`` numbers all that happens to a product, orders too, so that on these channels it has holes by nature, and only one that
    falls is wrong. ``trade_id`` has none: that is where a lost trade is seen.
    """

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._trades: dict[str, int] = {}
        self._sequences: dict[tuple[str, str], int] = {}

    def see(self, payload: str) -> Sequence[Notice]:
        if payload.startswith(('{"type":"l2update"', '{"type":"snapshot"')):
            return ()
        message = json.loads(payload)
        kind = message["type"]
        if kind == "error":
            words = ": ".join(str(message[k]) for k in ("message", "reason") if message.get(k))
            return (Notice("refused" if "subscribe" in words else "error", words),)
        if kind not in NUMBERED:
            return ()
        return self._numbers("ticker" if kind == "ticker" else "match", message)

    def see_snapshot(self, symbol: str, payload: str) -> Sequence[Notice]:
        return ()

    def _numbers(self, kind: str, message: dict[str, object]) -> Sequence[Notice]:
        product, sequence, trade = str(message["product_id"]), message.get("sequence"), message.get("trade_id")
        found = []
        if isinstance(sequence, int):
            before = self._sequences.get((kind, product), sequence)
            if sequence < before:
                found.append(Notice("error", f"{product}: the {kind} of sequence {sequence} came after {before}"))
            self._sequences[kind, product] = max(sequence, before)
        if kind == "match" and isinstance(trade, int):
            last = self._trades.get(product, trade)
            if trade > last + 1:
                found.append(Notice("gap", f"{product}: trade {trade} follows {last}", product))
            self._trades[product] = max(trade, last)
        return found


def subscribe(wanted: Sequence[Wanted]) -> list[str]:
    """One message: products by channel, and heartbeats of all."""
    products = list(dict.fromkeys(w.symbol for w in wanted))
    names = [NAMES[c] for c in NAMES if any(w.channel == c for w in wanted)]
    return [_message("subscribe", products, [*names, "heartbeat"])]


def resubscribe(symbol: str) -> list[str]:
    book = [NAMES["book"]]
    return [_message("unsubscribe", [symbol], book), _message("subscribe", [symbol], book)]


def _message(what: str, products: Sequence[str], names: Sequence[str]) -> str:
    return json.dumps({"type": what, "product_ids": products, "channels": names}, separators=(",", ":"))


VENUE = Venue(
    name="coinbase",
    source="coinbase_pro",
    url="wss://ws-feed.exchange.coinbase.com",
    symbols=100,
    silence_seconds=30,  # of heartbeats that come every second
    sends=Allowance(20, 1),  # of 100 a second and address; a subscription is due in 5 s
    connects=Allowance(4, 1),  # of 8 a second and address
    spelled=lambda symbol: "-".join(base_and_quote(symbol)),
    subscribe=subscribe,
    resubscribe=resubscribe,
    watch=Watch,
)
