"""The simulator: one seed, one stream of bytes; what it says must come out follows from what it sends."""

from collections import Counter
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from quantlake.contract import QuantLakeError
from quantlake.datasets.alt import news
from quantlake.datasets.market import quotes, trades
from quantlake.sources.encode import encode
from quantlake.sources.simulate import DUPLICATES, LATE, Batch, Simulation, simulate

FRIDAY = date(2024, 3, 8)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(FRIDAY, 4, 5, 7, trades_per_day=300)


def sent(simulation: Simulation, path: str) -> list[Batch]:
    return [b for b in simulation.batches if b.stream.path == path and not b.cut]


def messages(simulation: Simulation) -> list[object]:
    return [(b.day, b.cut, encode(b.stream, b.rows, 1)) for b in simulation.batches]


def test_the_seed_alone_decides(simulation: Simulation) -> None:
    assert messages(simulate(FRIDAY, 4, 5, 7, trades_per_day=300)) == messages(simulation)
    assert messages(simulate(FRIDAY, 4, 5, 8, trades_per_day=300)) != messages(simulation)


def test_what_is_expected_is_what_was_sent(simulation: Simulation) -> None:
    rows = pa.concat_tables([b.rows for b in sent(simulation, trades.raw.path)])
    raw = Counter(rows["partition_date"].to_pylist())
    unique = {(r["source_name"], r["line_number"], r["partition_date"]) for r in rows.to_pylist()}
    curated = Counter(day for *_, day in unique)
    quoted = Counter(day for b in sent(simulation, quotes.raw.path) for day in b.rows["partition_date"].to_pylist())
    items = Counter(day for b in sent(simulation, news.raw.path) for day in b.rows["partition_date"].to_pylist())
    assert simulation.expected == (
        {(trades.raw.path, d): n for d, n in raw.items()} | {(trades.trades.path, d): n for d, n in curated.items()}
        | {(news.raw.path, d): n for d, n in items.items()} | {(news.news.path, d): n for d, n in items.items()}
        | {(path, d): n for path in (quotes.raw.path, quotes.quotes.path) for d, n in quoted.items()}
    )
    assert all(6 <= n <= 10 for n in items.values())
    assert sum(raw.values()) - sum(curated.values()) == 4 * DUPLICATES == simulation.planted.duplicates.num_rows
    assert raw[FRIDAY] == pytest.approx(5 * 300, rel=0.1)


def test_what_is_planted_is_there(simulation: Simulation) -> None:
    planted = simulation.planted
    assert planted.late.num_rows == 3 * LATE
    assert all(row["known_at"].date() == row["partition_date"] + timedelta(days=1) for row in planted.late.to_pylist())
    for day in (FRIDAY, FRIDAY + timedelta(days=1)):
        of_next_day = [b for b in sent(simulation, trades.raw.path) if b.day == day + timedelta(days=1)]
        assert [b.rows["partition_date"][0].as_py() for b in of_next_day] == [day + timedelta(days=1), day]
    assert planted.zero_size.num_rows == 1 and planted.zero_size["size"][0].as_py() == 0
    rows = pa.concat_tables([b.rows for b in sent(simulation, trades.raw.path)])
    assert rows.filter(pc.equal(rows["size"], pa.scalar(0).cast(rows["size"].type))).equals(planted.zero_size)
    assert simulation.flagged == {FRIDAY: 1}
    assert [b.rows.num_rows for b in simulation.batches if b.cut] == [simulation.dead_letters] == [1]
    duplicated = [row for row, n in Counter(str(row) for row in rows.to_pylist()).items() if n == 2]
    assert sorted(duplicated) == sorted(str(row) for row in planted.duplicates.to_pylist())


def test_the_market_has_hours(simulation: Simulation) -> None:
    rows = pa.concat_tables([b.rows for b in sent(simulation, trades.raw.path)]).to_pylist()
    equities = [row for row in rows if row["venue"] == "usa"]
    assert {row["symbol"] for row in equities} == {"ACME", "BOLT", "CRUX"}
    assert {row["symbol"] for row in rows} - {"ACME", "BOLT", "CRUX"} == {"BTC-USD", "ETH-USD"}
    assert {row["partition_date"] for row in equities} == {FRIDAY, FRIDAY + timedelta(days=3)}
    latest_first = sorted(equities, key=lambda row: row["event_time"], reverse=True)
    opens = {row["partition_date"]: row["event_time"].strftime("%H:%M") for row in latest_first}
    assert opens == {FRIDAY: "14:30", FRIDAY + timedelta(days=3): "13:30"}  # summer time began on the Sunday
    assert all(row["trade_id"] is None for row in equities)
    assert all(row["event_time"].date() == row["partition_date"] and row["trade_id"] for row in rows if row["venue"] == "simx")
    assert all(row["event_time"] < row["known_at"] and row["price"] > 0 for row in rows)


def test_a_closed_market_is_no_error_and_nonsense_is_one() -> None:
    weekend = simulate(FRIDAY + timedelta(days=1), 1, 1, 0)
    assert [b.stream.path for b in weekend.batches] == [news.raw.path] and weekend.dead_letters == 0
    with pytest.raises(QuantLakeError, match="cannot simulate 0 days"):
        simulate(FRIDAY, 0, 1, 0)
