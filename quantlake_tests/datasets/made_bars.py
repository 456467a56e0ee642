"""Made daily bars of one symbol, right in themselves: random walks with crashes, splits, dividends, days without trades."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import polars as pl

from quantlake.datasets.market.vendor_bars import bars as vendor_bars

FIRST = date(2020, 1, 2)
PLACES = 12
SCHEMA = pl.DataFrame(vendor_bars.spec.arrow.empty_table()).schema
Row = dict[str, Any]


@dataclass(frozen=True)
class Walk:
    """What a made series does. Dates are row numbers; ``crashes`` and ``dividends`` in shares of the price, ``splits`` in new shares.

    ``thin``: how many days have no trade; their prices are the last close, their volume 0. ``tick``: what prices are rounded to.
    """

    seed: int = 0
    days: int = 250
    volatility: float = 0.01
    price: float = 100.0
    tick: str = "0.0001"
    thin: float = 0.0
    crashes: Mapping[int, float] = field(default_factory=dict)
    splits: Mapping[int, float] = field(default_factory=dict)
    dividends: Mapping[int, float] = field(default_factory=dict)
    gains: Mapping[int, float] = field(default_factory=dict)
    source: str = "yfinance"
    interval: str = "1d"


def made(walk: Walk) -> list[Row]:
    """The bars, oldest first; adjusted closes as Yahoo makes them, prices adjusted for splits."""
    chance = random.Random(walk.seed)
    rows: list[Row] = []
    last, day = walk.price, FIRST
    tick = float(walk.tick)
    for n in range(walk.days):
        paid = round(walk.dividends.get(n, 0.0) * last, 6) if n else 0.0
        gain = round(walk.gains.get(n, 0.0) * last, 6) if n else 0.0
        quiet = chance.random() < walk.thin and n not in walk.crashes
        opens = max((last - paid) * (1 - walk.crashes.get(n, 0.0)) * _moved(chance, walk.volatility / 2), tick)
        close = last if quiet else max(opens * _moved(chance, walk.volatility), tick)
        opens = last if quiet else opens
        high = max(opens, close) * (1 if quiet else _moved(chance, walk.volatility / 4, upward=True))
        low = min(opens, close) / (1 if quiet else _moved(chance, walk.volatility / 4, upward=True))
        prices = {name: _rounded(value, walk.tick) for name, value in zip(("open", "high", "low", "close"), (opens, high, low, close), strict=True)}
        rows.append(prices | _about(walk, day) | {
            "volume": Decimal(0 if quiet else chance.randrange(100, 10**6)), "dividend": Decimal(str(paid)), "capital_gain": Decimal(str(gain)),
            "split_ratio": Decimal(str(walk.splits.get(n, 0.0))),
        })  # fmt: skip
        last = float(prices["close"])
        day += timedelta(days=7 if walk.interval == "1w" else 3 if day.weekday() == 4 else 1)
    return adjusted(rows)


def adjusted(rows: list[Row]) -> list[Row]:
    """With adjusted closes as the rows' own dividends make them."""
    factor = 1.0
    for row, before in zip(reversed(rows), [*reversed(rows[:-1]), None], strict=True):
        row["adj_close"] = Decimal(repr(float(row["close"]) * factor)).quantize(Decimal(1).scaleb(-PLACES))
        if before is not None and row["dividend"]:
            factor *= 1 - float(row["dividend"] / before["close"])
    return rows


def frame(rows: list[Row]) -> pl.DataFrame:
    """As curated ``vendor_bars``."""
    return pl.DataFrame(rows, schema=SCHEMA)


def _moved(chance: random.Random, volatility: float, *, upward: bool = False) -> float:
    move = chance.gauss(0, volatility)
    return float((1 + abs(move)) if upward else max(1 + move, 0.5))


def _rounded(value: float, tick: str) -> Decimal:
    return max(Decimal(repr(value)).quantize(Decimal(tick), ROUND_HALF_EVEN), Decimal(tick))


def _about(walk: Walk, day: date) -> Row:
    start = datetime.combine(day, time(), UTC)
    return {
        "source": walk.source, "venue": "unknown", "symbol": "X", "interval": walk.interval, "bar_start": start, "price_type": "trade",
        "is_final": True, "adjustment": "split", "event_time": start, "known_at": start + timedelta(days=7 if walk.interval == "1w" else 1),
        "partition_date": day, "source_name": "x.csv", "line_number": 1, "flags": [],
    }  # fmt: skip
