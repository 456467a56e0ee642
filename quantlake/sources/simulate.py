"""Simulated trades, quotes and news: what producers would send on some days, a function of the arguments alone.

Here: the order of sending, what is planted and what must come out. Not here: the market and the headlines themselves
(simulate_trades.py, simulate_quotes.py, simulate_news.py), sending (``publish.send`` every batch in order, with its ``cut``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.alt import news
from quantlake.datasets.market import quotes, trades
from quantlake.sources.importers import decimals, typed
from quantlake.sources.simulate_news import articles
from quantlake.sources.simulate_quotes import quotes_before
from quantlake.sources.simulate_trades import Market

DUPLICATES, LATE = 5, 3  # planted in each day's trades
PLANTING = 1 << 20  # the random stream that plants; below it are the symbols'
QUOTING = PLANTING + 1  # the one of quotes


@dataclass(frozen=True)
class Batch:
    """Rows to send together on the simulated ``day``; ``cut``: as messages that cannot be decoded."""

    day: date
    stream: Stream
    rows: pa.Table
    cut: bool = False


@dataclass(frozen=True)
class Planted:
    """The planted trades, with ``trades.raw``'s columns."""

    duplicates: pa.Table
    """Sent twice, the same to the byte."""
    late: pa.Table
    """Of the day before the one on which they are known and, after its own trades, sent."""
    undecodable: pa.Table
    """Sent once more with half of the body."""
    zero_size: pa.Table


@dataclass(frozen=True)
class Simulation:
    """Batches in sending order, what is planted in them, and what must come out.

    ``expected``: rows by (asset path, partition_date); raw counts duplicates, curated does not, neither counts dead letters.
    ``flagged``: curated trades with a flag, by partition_date. ``dead_letters`` take the broker's date.
    """

    batches: tuple[Batch, ...]
    planted: Planted
    expected: Mapping[tuple[str, date], int]
    flagged: Mapping[date, int]
    dead_letters: int


def simulate(start: date, days: int, symbols: int, seed: int, trades_per_day: int = 2_000) -> Simulation:
    """``days`` calendar days from ``start``; three fifths of the ``symbols`` are equities, the others crypto pairs.

    A day's quotes are sent first. Its trades are sent in order of ``known_at``, duplicates behind them, then the run's one undecodable message, the day
    before's late trades, and news. All is held in memory: about 300 bytes a trade.
    Raises ``QuantLakeError`` where a number is too small.
    """
    if min(days, symbols, trades_per_day) < 1 or seed < 0:
        asked = f"{days} days, {symbols} symbols, {trades_per_day} trades a day, seed {seed}"
        raise QuantLakeError(f"cannot simulate {asked}; the least are 1, 1, 1 and 0")
    dates = [start + timedelta(days=i) for i in range(days)]
    market = Market(dates, symbols, seed, trades_per_day)
    batches: list[Batch] = []
    planted: list[_Day] = []
    held = _no_trades()
    for day in dates:
        late = _no_trades()
        if (printed := market.trades(day)) is not None:
            random = np.random.default_rng([seed, day.toordinal(), PLANTING])
            today = _plant(printed, day, random, first=not planted, last=day == dates[-1])
            planted.append(today)
            batches += [Batch(day, quotes.raw, typed(quotes.raw, quotes_before(printed, day, seed, QUOTING)))]
            batches += [Batch(day, trades.raw, today.on_time), Batch(day, trades.raw, today.undecodable, cut=True)]
            late = today.late
        batches += [Batch(day, trades.raw, held), Batch(day, news.raw, articles(day, market.symbols, seed))]
        held = late
    kinds = {f.name: pa.concat_tables([_no_trades(), *(getattr(day, f.name) for day in planted)]) for f in fields(Planted)}
    return _expecting(tuple(batch for batch in batches if batch.rows.num_rows), Planted(**kinds))


@dataclass(frozen=True)
class _Day(Planted):
    """What is planted in one day, and all that is sent on time."""

    on_time: pa.Table


def _plant(printed: pl.DataFrame, day: date, random: np.random.Generator, *, first: bool, last: bool) -> _Day:
    """No trade is planted in two ways; the first day has the zero size and the cut message, the last nothing late."""
    counts = (int(first), int(first), DUPLICATES, 0 if last else LATE)
    zero, cut, twice, late, others = np.split(random.permutation(len(printed)), np.cumsum(counts))
    next_day = pl.lit(datetime.combine(day + timedelta(days=1), time(), UTC), pl.Datetime("us", "UTC"))
    seconds = pl.Series(random.integers(86_400, size=len(late)), dtype=pl.Int64)
    empty = printed[zero].with_columns(size=decimals(pl.Series([0] * len(zero), dtype=pl.Int64)))
    on_time = pl.concat([printed[part] for part in (cut, twice, others)] + [empty]).sort("known_at", "source_name", "line_number")
    delayed = printed[late].with_columns(known_at=next_day + pl.duration(seconds=pl.lit(seconds))).sort("known_at")
    parts = (printed[twice], delayed, printed[cut], empty, pl.concat([on_time, printed[twice]]))
    return _Day(*(typed(trades.raw, part) for part in parts))


def _no_trades() -> pa.Table:
    return wire_arrow(trades.raw).empty_table()


def _expecting(batches: tuple[Batch, ...], planted: Planted) -> Simulation:
    expected: Counter[tuple[str, date]] = Counter()
    curated = {trades.raw: trades.trades, quotes.raw: quotes.quotes, news.raw: news.news}
    for batch in batches:
        if not batch.cut:
            expected.update(dict(_counts(batch.stream.path, batch.rows)) | dict(_counts(curated[batch.stream].path, batch.rows)))
    expected.subtract(dict(_counts(trades.trades.path, planted.duplicates)))
    flagged = {day: n for (_, day), n in _counts(trades.trades.path, planted.zero_size)}
    return Simulation(batches, planted, dict(expected), flagged, planted.undecodable.num_rows)


def _counts(path: str, rows: pa.Table) -> Iterator[tuple[tuple[str, date], int]]:
    for counted in rows["partition_date"].value_counts().to_pylist():
        yield (path, counted["values"]), counted["counts"]
