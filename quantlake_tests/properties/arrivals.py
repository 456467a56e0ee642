"""The alphabet of the property tests: what may arrive on the topics, and when a refresh follows or is killed.

Arrivals are plain values, whose repr is their constructor: a sequence that failed is played again by pasting it into ``@example``.
``of`` means one of the rows sent before, counted from the oldest, modulo how many there are (none yet: nothing arrives).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

from quantlake.contract import Stream
from quantlake.contract.catalog import discover
from quantlake.ports import Message
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake.wiring import Adapters

GRAPH = discover()
TRADES, NEWS = GRAPH.stream("market/trades"), GRAPH.stream("alt/news")
SYMBOLS = ("ACME", "BTC-USD")
VENUES = ("usa", "coinbase")  # a session date of New York, one of UTC
DAYS = tuple(date(2024, 3, 4) + timedelta(days=n) for n in range(4))
TIMES = (
    time(15, 0, 5), time(15, 0, 50), time(15, 20),  # twice in a minute, once in the same half hour
    time(23, 59, 58), time(0, 0, 1),  # either side of midnight UTC
    time(4, 59, 59), time(5),  # and of New York's
)  # fmt: skip


@dataclass(frozen=True)
class Trade:
    """A trade, on time or late; size 0 is legal."""

    symbol: str
    venue: str
    at: datetime
    price: int
    size: int


@dataclass(frozen=True)
class Historical(Trade):
    """A trade of a recording: known when it happened, whenever it arrives."""


@dataclass(frozen=True)
class News:
    """An article."""

    at: datetime
    title: str


@dataclass(frozen=True)
class Correction:
    """An earlier row again, known now: a trade at another price, of another size, a little earlier or later; news of another title."""

    of: int
    price: int
    size: int
    seconds: int


@dataclass(frozen=True)
class Repeat:
    """An earlier message again, byte for byte."""

    of: int


@dataclass(frozen=True)
class Undecodable:
    """Bytes, or a tombstone, that no reader makes a row of."""

    topic: str
    value: bytes | None


Arrival = Trade | News | Correction | Repeat | Undecodable


@dataclass(frozen=True)
class Kill:
    """SIGKILL to a refresh, so long after its n-th call of a port began."""

    call: int
    milliseconds: int


@dataclass(frozen=True)
class Step:
    """Some arrivals, then a refresh; with ``kill`` its process may not see its end."""

    arrivals: tuple[Arrival, ...]
    kill: Kill | None = None


_at = st.builds(lambda day, clock: datetime.combine(day, clock, UTC), st.sampled_from(DAYS), st.sampled_from(TIMES))
_of, _price, _size = st.integers(0, 20), st.integers(1, 9), st.sampled_from((1, 2, 5, 0))
_traded = (st.sampled_from(SYMBOLS), st.sampled_from(VENUES), _at, _price, _size)
_trade, HISTORICAL = st.builds(Trade, *_traded), st.builds(Historical, *_traded)
_news = st.builds(News, _at, st.sampled_from(("Rates <b>rise</b>", "Rates fall", "Bitcoin &amp; gold")))
_correction = st.builds(Correction, _of, _price, _size, st.sampled_from((0, 0, 50, -50)))
_undecodable = st.builds(Undecodable, st.sampled_from((TRADES.topic, NEWS.topic)), st.sampled_from((b"", b"no", b"\0\0\0\0\1cut", None)))
ARRIVALS = st.one_of(_trade, _trade, _correction, _news, st.builds(Repeat, _of), _undecodable)
KILLS = st.builds(Kill, st.integers(1, 120), st.sampled_from((0, 0, 2, 10, 40)))  # a refresh makes 60 to 120 calls


def sequences(arrivals: st.SearchStrategy[Arrival], kills: st.SearchStrategy[Kill | None], most: int) -> st.SearchStrategy[list[Step]]:
    """Up to ``most`` steps: a refresh after each arrival or after several."""
    several = st.lists(arrivals, min_size=1, max_size=5).map(tuple)
    return st.lists(st.builds(Step, several, kills), min_size=2, max_size=most)


ONE_OF_EACH = [
    Step((
        Trade("ACME", "usa", datetime(2024, 3, 4, 15, 0, 5, tzinfo=UTC), 3, 1),
        Trade("ACME", "usa", datetime(2024, 3, 4, 15, 20, tzinfo=UTC), 4, 2),
        Trade("BTC-USD", "coinbase", datetime(2024, 3, 5, 23, 59, 58, tzinfo=UTC), 5, 2),
        News(datetime(2024, 3, 4, 15, tzinfo=UTC), "Rates <b>rise</b>"),
        Undecodable(TRADES.topic, b"no"),
    )),
    Step((
        Trade("ACME", "usa", datetime(2024, 3, 5, 4, 59, 59, tzinfo=UTC), 6, 1),  # late, and of the fourth in New York
        Trade("BTC-USD", "coinbase", datetime(2024, 3, 6, 0, 0, 1, tzinfo=UTC), 7, 0),
        Correction(0, price=8, size=5, seconds=0),
        Repeat(2),
        Undecodable(NEWS.topic, None),
    ), Kill(call=45, milliseconds=2)),
    Step((Correction(3, price=2, size=1, seconds=0), Correction(1, price=2, size=1, seconds=0), Repeat(0))),
]  # fmt: skip
"""A sequence that every run of the tests plays; those that are drawn take minutes."""


class Topics:
    """Plays arrivals into a broker; what is sent is known at that moment."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters
        self._sent: list[tuple[Stream, dict[str, Any]]] = []

    def play(self, arrival: Arrival) -> None:
        now = datetime.now(UTC)
        new = {"known_at": now, "source_name": "test"}
        number = str(len(self._sent))
        match arrival:
            case Trade(symbol, venue, at, price, size):
                key = {"symbol": symbol, "venue": venue, "trade_id": number}
                known = {"known_at": at if isinstance(arrival, Historical) else now}
                self._send(TRADES, new | key | known | {"event_time": at, "price": Decimal(price), "size": Decimal(size)})
            case News(at, title):
                self._send(NEWS, new | {"source": "wire", "guid": number, "event_time": at, "title": title})
            case Correction(of, price, size, seconds) if self._sent:
                stream, row = self._sent[of % len(self._sent)]
                moved = row["event_time"] + timedelta(seconds=seconds)
                other = {"price": Decimal(price), "size": Decimal(size), "event_time": moved} if stream is TRADES else {"title": f"Corrected {price}"}
                self._send(stream, row | other | {"known_at": now})
            case Repeat(of) if self._sent:
                self._send(*self._sent[of % len(self._sent)])
            case Undecodable(topic, value):
                self._adapters.broker.produce(topic, [Message(b"any", value)])

    def send_again(self, adapters: Adapters) -> None:
        """Every row so far, in order, known when it was, to another broker."""
        for stream, row in self._sent:
            _send(adapters, stream, row)

    def _send(self, stream: Stream, row: dict[str, Any]) -> None:
        self._sent.append((stream, row))
        _send(self._adapters, stream, row)


def _send(adapters: Adapters, stream: Stream, row: dict[str, Any]) -> None:
    frame = pl.DataFrame([row], schema=pl.DataFrame(stream.spec.arrow.empty_table()).select(c.name for c in stream.columns).schema)
    assert stream.filler
    send(adapters.broker, adapters.registry, stream, typed(stream, stream.filler(frame)))
