"""What the live client has to know of an exchange.

Here: the shape of it, what is said of a message, and which exchanges there are. Not here: connections (connection.py), the exchanges
themselves (binance.py, coinbase.py, kraken.py), what messages mean to tables (quantlake/exchanges).
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from quantlake.contract import QuantLakeError

NAMES = ("binance", "coinbase", "kraken")
Channel = Literal["trades", "ticker", "book"]
CHANNELS: tuple[Channel, ...] = ("trades", "ticker", "book")


@dataclass(frozen=True)
class Wanted:
    """One subscription: a channel of a symbol, as the exchange spells it."""

    channel: Channel
    symbol: str


@dataclass(frozen=True)
class Notice:
    """Something that a message says about the feed itself.

    ``gap``: messages are missing. ``resync``: the same of a symbol's book, which needs a new snapshot. ``refused``: a subscription was,
    in the exchange's words. ``error``: any other complaint, to be counted. ``reconnect``: the connection is of no use any more.
    """

    kind: Literal["gap", "resync", "refused", "error", "reconnect"]
    words: str
    symbol: str = ""


class Watch(Protocol):
    """Follows the messages of one connection, in order; holds no data that is sent on."""

    def see(self, payload: str) -> Sequence[Notice]:
        """What a websocket message says about the feed. Raises ``ValueError``, ``LookupError`` or ``TypeError`` where it is not understood."""
        ...

    def see_snapshot(self, symbol: str, payload: str) -> Sequence[Notice]:
        """The same of a snapshot that came by REST."""
        ...


@dataclass(frozen=True)
class Allowance:
    """So much in so many seconds."""

    amount: int
    seconds: float


@dataclass(frozen=True)
class Rest:
    """REST requests of an exchange: ``snapshot`` and ``check`` give the path, with query, and weight of a request about a symbol.

    ``check`` is asked of a symbol whose book is not wanted, only to learn whether there is one. ``used`` is the header that tells how much
    of the exchange's own ``limit`` is used in this minute. ``refuses`` gives the exchange's words where a body says that it has no such symbol.
    """

    url: str
    weights: Allowance
    used: str
    limit: int
    snapshot: Callable[[str], tuple[str, int]]
    check: Callable[[str], tuple[str, int]]
    refuses: Callable[[int, str], str | None]


def base_alone(base: str, _: Sequence[Wanted]) -> str:
    """The address of a feed whose subscriptions are sent."""
    return base


def nothing(_: object) -> list[str]:
    """No message, where something else does it."""
    return []


@dataclass(frozen=True)
class Venue:
    """An exchange's public feed. ``source`` is the parser of its messages (quantlake/exchanges).

    ``symbols`` is how many a connection may carry; ``silence_seconds`` without a message end one; ``sends`` are messages we may send on a
    connection, ``connects`` connections we may open. ``address`` is where to connect for subscriptions, ``subscribe`` what to send then,
    ``resubscribe`` what to send for a new snapshot of a symbol's book where that comes by websocket.
    """

    name: str
    source: str
    url: str
    symbols: int
    silence_seconds: float
    sends: Allowance
    connects: Allowance
    spelled: Callable[[str], str]
    watch: Callable[[Sequence[Wanted]], Watch]
    address: Callable[[str, Sequence[Wanted]], str] = base_alone
    subscribe: Callable[[Sequence[Wanted]], list[str]] = nothing
    resubscribe: Callable[[str], list[str]] = nothing
    rest: Rest | None = None


def venue(name: str) -> Venue:
    """The exchange of that name. Raises ``QuantLakeError`` where there is none."""
    if name not in NAMES:
        raise QuantLakeError(f"no live feed of {name!r}; there are {', '.join(NAMES)}")
    found: Venue = importlib.import_module(f"quantlake.sources.live.{name}").VENUE
    return found


def channels(text: str) -> tuple[Channel, ...]:
    """Channels from ``trades,book``. Raises ``QuantLakeError`` naming the one that is none."""
    asked = [c.strip() for c in text.split(",") if c.strip()]
    if wrong := [c for c in asked if c not in CHANNELS]:
        raise QuantLakeError(f"--channels: there is no {wrong[0]!r}; there are {','.join(CHANNELS)}")
    if not asked:
        raise QuantLakeError(f"--channels names none; there are {','.join(CHANNELS)}")
    return tuple(c for c in CHANNELS if c in asked)


def wanted(venue: Venue, symbols: str, asked: Sequence[Channel]) -> list[list[Wanted]]:
    """Subscriptions by connection, all of a symbol on the same one; ``symbols`` as a person writes them: ``BTC-USD,ETH-USD``.

    Raises ``QuantLakeError`` where there is none, or one that is none.
    """
    named = list(dict.fromkeys(s.strip() for s in symbols.split(",") if s.strip()))
    if not named:
        raise QuantLakeError("--symbols names none; write them as BTC-USD,ETH-USD")
    if wrong := [s for s in named if not re.fullmatch(r"[A-Za-z0-9]+([-/][A-Za-z0-9]+)?", s)]:
        raise QuantLakeError(f"--symbols: {wrong[0]!r} is no symbol; write BASE-QUOTE, as BTC-USD")
    spelled = list(dict.fromkeys(venue.spelled(s) for s in named))
    groups = [spelled[i : i + venue.symbols] for i in range(0, len(spelled), venue.symbols)]
    return [[Wanted(c, s) for s in group for c in asked] for group in groups]


def base_and_quote(symbol: str) -> tuple[str, str]:
    """``BTC-USD`` or ``BTC/USD`` in two, upper case. Raises ``QuantLakeError`` where it has no separator."""
    base, _, quote = symbol.upper().replace("/", "-").partition("-")
    if not quote:
        raise QuantLakeError(f"--symbols: {symbol!r} does not say where its base ends; write BASE-QUOTE, as BTC-USD")
    return base, quote
