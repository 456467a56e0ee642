"""The simulated market: which symbols trade when, at what prices.

Here: trades of one day as the venues print them. Not here: what is planted among them and the order of sending (simulate.py).
Prices are geometric random walks in cents from day to day, sizes lots or fractions of a coin. Equities (venue `usa`) have no
trade ids and trade in XNYS sessions, busiest at open and close; crypto pairs (venue `simx`) have ids and trade round the clock.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from quantlake.datasets.market import common
from quantlake.sources.importers import decimals
from quantlake.sources.simulate_news import COMPANIES, PAIRS

CRYPTO_VENUE = "simx"
CONDITIONS = ("1", "20000020", "20", "2000", "20002020", "4800", "20100200")  # about as frequent as in LEAN's recorded days
CONDITION_SHARES = (0.62, 0.28, 0.05, 0.02, 0.01, 0.01, 0.01)
DAILY_VOLATILITY = 0.02

Hours = tuple[datetime, datetime]


class Market:
    """Symbols and their prices; ``trades`` must be asked for one date after the other, since prices go on."""

    def __init__(self, dates: Sequence[date], symbols: int, seed: int, trades_per_day: int) -> None:
        self.equities = (3 * symbols + 2) // 5
        self.symbols = (*_names(COMPANIES, "EQ{}", self.equities), *_names(PAIRS, "C{}-USD", symbols - self.equities))
        coins = [6_000_000 // (1 + 19 * i) for i in range(symbols - self.equities)]
        self._cents = [2_500 + 3_700 * (i % 13) for i in range(self.equities)] + coins
        self._sessions = _sessions(dates)
        self._seed, self._mean = seed, trades_per_day

    def trades(self, day: date) -> pl.DataFrame | None:
        """Every symbol's trades of a partition date, with the columns of ``trades.raw``, by ``known_at``; None: all is closed."""
        midnight = datetime.combine(day, time(), UTC)
        printed = []
        for i in range(len(self.symbols)):
            hours = self._sessions.get(day) if i < self.equities else (midnight, midnight + timedelta(days=1))
            if hours:
                printed.append(self._symbol_trades(i, day, hours))
        return pl.concat(printed).sort("known_at", "source_name", "line_number") if printed else None

    def _symbol_trades(self, i: int, day: date, hours: Hours) -> pl.DataFrame:
        random = np.random.default_rng([self._seed, day.toordinal(), i])
        n, equity, symbol = max(1, int(random.poisson(self._mean))), i < self.equities, self.symbols[i]
        event_us = _event_times(n, equity, hours, random)
        latency_us = np.clip(40_000 * np.exp(random.normal(0, 1.2, n)), 1_000, 5_000_000).astype(np.int64)
        walk = np.exp(np.cumsum(random.normal(0, DAILY_VOLATILITY / np.sqrt(n), n)))
        cents = np.maximum(1, np.rint(self._cents[i] * walk)).astype(np.int64)
        self._cents[i] = int(cents[-1])
        rows = pl.DataFrame({
            "price": decimals(pl.Series(cents), shift=2),
            "event_time": pl.Series(event_us).cast(pl.Datetime("us", "UTC")),
            "known_at": pl.Series(event_us + latency_us).cast(pl.Datetime("us", "UTC")),
            "line_number": np.arange(1, n + 1),
            **(_equity_print(n, random) if equity else _crypto_print(n, random)),
        })
        return rows.with_columns(
            symbol=pl.lit(symbol),
            venue=pl.lit(common.CONSOLIDATED_US if equity else CRYPTO_VENUE),
            trade_id=pl.lit(None, pl.String) if equity else pl.format("{}-{}-{}", pl.lit(self._seed), pl.lit(day), "line_number"),
            partition_date=pl.lit(day),
            source_name=pl.lit(f"simulated/{self._seed}/trades/{symbol}/{day}"),
            source_version=pl.lit(None, pl.String),
            source_records=pl.lit(None, pl.Int64),
        )


def _event_times(n: int, equity: bool, hours: Hours, random: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Microseconds since 1970, ascending: equities in milliseconds, U-shaped over the session; crypto even over the day."""
    opened, closed = (int(moment.timestamp()) * 1_000_000 for moment in hours)
    share = np.sort(random.beta(0.6, 0.6, n) if equity else random.random(n))
    offset = (share * (closed - opened - 1)).astype(np.int64)
    return opened + (offset // 1_000 * 1_000 if equity else offset)


def _equity_print(n: int, random: np.random.Generator) -> dict[str, pl.Series]:
    shares = np.where(random.random(n) < 0.2, random.integers(1, 100, n), 100 * random.geometric(0.4, n))
    return {
        "size": decimals(pl.Series(shares)),
        "side": pl.Series(["unknown"] * n),
        "exchange": pl.Series(random.choice(["P", "Q", "D", "N"], n).tolist()),
        "conditions": pl.Series(random.choice(CONDITIONS, n, p=CONDITION_SHARES).tolist()),
    }


def _crypto_print(n: int, random: np.random.Generator) -> dict[str, pl.Series]:
    hundred_millionths = np.maximum(1, 1e8 * np.exp(random.normal(-2, 1.2, n))).astype(np.int64)
    return {
        "size": decimals(pl.Series(hundred_millionths), shift=8),
        "side": pl.Series(random.choice(["buy", "sell"], n).tolist()),
        "exchange": pl.Series([None] * n, dtype=pl.String),
        "conditions": pl.Series([None] * n, dtype=pl.String),
    }


def _names(known: Mapping[str, str], pattern: str, count: int) -> list[str]:
    return [*known, *(pattern.format(i) for i in range(len(known), count))][:count]


def _sessions(dates: Sequence[date]) -> dict[date, Hours]:
    """Open and close of XNYS's sessions, by date."""
    import exchange_calendars  # costs most of a second, which only a simulation should pay

    margin = timedelta(days=10)  # a calendar without any session cannot be made
    schedule = exchange_calendars.get_calendar("XNYS", start=str(dates[0] - margin), end=str(dates[-1] + margin)).schedule
    hours = zip(schedule.index, schedule["open"], schedule["close"], strict=True)
    return {session.date(): (opened.to_pydatetime(), closed.to_pydatetime()) for session, opened, closed in hours}
