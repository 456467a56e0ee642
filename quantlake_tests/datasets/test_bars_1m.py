"""Bars from trades, in polars and in ClickHouse, against plain Python Decimals."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantlake.adapters.olap.clickhouse import ClickHouse
from quantlake.contract import QuantLakeError, decimals
from quantlake.datasets.market.bars import COUNTED
from quantlake.datasets.market.bars_1m import bars, rollup
from quantlake.datasets.market.conditions import Policy, updates_ohlc, updates_volume
from quantlake.datasets.market.trades import trades

NOON = datetime(2013, 10, 7, 16, tzinfo=UTC)
DAY = date(2013, 10, 7)
MINUTE = timedelta(minutes=1)
SCHEMA = trades.spec.arrow
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    home: Path = tmp_path_factory.mktemp("home")
    return ClickHouse.embedded(home / "clickhouse", home / "locks")


def trade(price: str, size: str, seconds: float = 0, line: int | None = 1, **others: Any) -> dict[str, Any]:
    at = NOON + timedelta(seconds=seconds)
    return {
        "symbol": "IBM", "venue": "usa", "trade_id": None, "price": Decimal(price), "size": Decimal(size), "side": "unknown",
        "event_time": at, "known_at": at, "partition_date": DAY, "source_name": "file", "line_number": line, "flags": [],
        **others,
    }  # fmt: skip


def table(rows: Rows, policy: Policy = Policy.lean) -> pa.Table:
    """Trades as a policy judges them."""
    printed = pl.DataFrame(pa.Table.from_pylist(rows, schema=SCHEMA))
    judged = printed.with_columns(updates_ohlc=updates_ohlc(policy), updates_volume=updates_volume(policy))
    return judged.to_arrow().cast(SCHEMA)


def derived(rows: Rows) -> Rows:
    assert bars.function is not None
    built = bars.function(pl.DataFrame(table(rows)).lazy()).collect().to_arrow()
    result: Rows = built.select([c.name for c in COUNTED]).cast(rollup.spec.arrow).to_pylist()
    return result


def rolled_up(clickhouse: ClickHouse, rows: Rows) -> Rows:
    result: Rows = clickhouse.transform(rollup.sql, {"input": table(rows)}, rollup.spec.arrow).to_pylist()
    return result


def both(clickhouse: ClickHouse, rows: Rows) -> Rows:
    built = derived(rows)
    assert built == rolled_up(clickhouse, rows)
    return built


def test_the_two_share_their_columns() -> None:
    assert bars.columns[: len(COUNTED)] == rollup.columns == COUNTED
    assert (bars.path, rollup.path) == ("derived/market/bars_1m", "rollup/market/bars_1m")


def test_one_minute(clickhouse: ClickHouse) -> None:
    rows = [
        trade("10", "1", 0, 1),
        trade("12", "2", 30, 2),
        trade("9", "3", 59.999999, 4),
        trade("11", "4", 59.999999, 5),
        trade("50", "1", 60, 6),
    ]
    first, second = both(clickhouse, rows[::-1])
    assert [first[c] for c in ("open", "high", "low", "close", "volume", "trade_count")] == [10, 12, 9, 11, 10, 4]
    assert (first["notional"], first["vwap"]) == (105, Decimal("10.5"))
    assert (first["bar_start"], first["known_at"], second["bar_start"]) == (NOON, NOON + MINUTE, NOON + MINUTE)


def test_no_trades_no_bars(clickhouse: ClickHouse) -> None:
    assert both(clickhouse, []) == []
    assert both(clickhouse, [trade("10", "0"), trade("10", "1", conditions="5344A2E")]) == []


def test_what_conditions_hide(clickhouse: ClickHouse) -> None:
    rows = [
        trade("10", "1", 1, 1, conditions="1"),
        trade("99", "5", 2, 2, conditions="344A2E"),
        trade("20", "7", 3, 3, conditions="5000000"),
        trade("11", "2", 4, 4, conditions="0x344A2E"),
    ]
    (bar,) = both(clickhouse, rows)
    assert [bar[c] for c in ("open", "high", "low", "close", "volume", "trade_count", "notional")] == [10, 20, 10, 11, 8, 3, 527]


def test_only_one_sort_of_trade(clickhouse: ClickHouse) -> None:
    (unpriced,) = both(clickhouse, [trade("10", "3", conditions="2")])
    assert [unpriced[c] for c in ("open", "high", "low", "close")] == [None] * 4
    assert unpriced["vwap"] == 10
    (unsized,) = both(clickhouse, [trade("10", "3", conditions="1000000")])
    assert [unsized[c] for c in ("open", "volume", "notional", "vwap", "trade_count")] == [10, 0, 0, None, 0]


@pytest.mark.parametrize("printed", [None, "", "zz", "-2", "+2", "0x2", " 2", "2\n", "2 ", "٢", "F F", "2\0"])
def test_odd_conditions_hide_nothing(clickhouse: ClickHouse, printed: str | None) -> None:
    (bar,) = both(clickhouse, [trade("10", "1", conditions=printed)])
    assert (bar["open"], bar["volume"]) == (10, 1)


@pytest.mark.parametrize("printed", ["2", "e", "0000000000000000000000000002", "FFFFFFFFF00344A2E"])
def test_masks_of_any_length_are_read(clickhouse: ClickHouse, printed: str) -> None:
    (bar,) = both(clickhouse, [trade("10", "1", conditions=printed)])
    assert bar["open"] is None


def test_the_order_is_total(clickhouse: ClickHouse) -> None:
    ids = [(None, None, "z"), (None, "9", "b"), (None, "10", "a"), (1, None, "a"), (1, None, "b"), (2, "1", "a")]
    rows = [trade(str(n + 1), "1", 0, line, trade_id=i, source_name=source) for n, (line, i, source) in enumerate(ids)]
    for turned in (rows, rows[::-1], rows[3:] + rows[:3]):
        (bar,) = both(clickhouse, turned)
        assert (bar["open"], bar["close"]) == (1, 6)
        (bar,) = both(clickhouse, [r for r in turned if r["price"] in (2, 3)])
        assert (bar["open"], bar["close"]) == (2, 3)


def test_known_when_the_last_trade_was(clickhouse: ClickHouse) -> None:
    late = NOON + timedelta(hours=3, microseconds=1)
    (bar,) = both(clickhouse, [trade("10", "1"), trade("10", "1", 1, 2, known_at=late)])
    assert bar["known_at"] == late
    withdrawn = trade("1", "0", 2, 3, known_at=late + MINUTE)  # what the bar was before, nobody knew to be wrong until then
    (bar,) = both(clickhouse, [trade("10", "1"), trade("10", "1", 1, 2, known_at=late), withdrawn])
    assert (bar["known_at"], bar["trade_count"]) == (late + MINUTE, 2)


def test_sums_are_exact_and_rounded_half_up_once(clickhouse: ClickHouse) -> None:
    tiny = "0.000000001"
    (bar,) = both(clickhouse, [trade(tiny, "0.0000000005"), trade("0.000000000000000001", "0.5", 1, 2)])
    assert bar["notional"] == Decimal("0.000000000000000001")  # 5e-19 + 5e-19; rounding each first would give 2e-18
    (bar,) = both(clickhouse, [trade("1", "1"), trade("2", "2", 1, 2)])
    assert bar["vwap"] == Decimal("1.666666666666666667")
    (bar,) = both(clickhouse, [trade("-1", "1"), trade("-2", "2", 1, 2)])
    assert bar["vwap"] == Decimal("-1.666666666666666667")


@pytest.mark.parametrize(
    "rows",
    [
        [trade("3", "60000000000000000000")],
        [trade("60000000000000000000", "3")],
        [trade("1", "60000000000000000000"), trade("1", "60000000000000000000", 1, 2)],
        [trade("0.01", "90000000000000000000", n, n) for n in range(4)],
        [trade("99999999999999999999", "99999999999999999999", n, n) for n in range(6)],
        [trade("102", "1"), trade("1", "-0.999999999999999999", 1, 2)],
    ],
)
def test_what_does_not_fit_is_refused(clickhouse: ClickHouse, rows: Rows) -> None:
    with pytest.raises(QuantLakeError):
        derived(rows)
    with pytest.raises(QuantLakeError):
        rolled_up(clickhouse, rows)


def test_large_sums_that_fit_are_exact(clickhouse: ClickHouse) -> None:
    (bar,) = both(clickhouse, [trade("0.9", "99999999999999999999.999999999999999999")])
    assert bar["notional"] == Decimal("89999999999999999999.999999999999999999")
    (bar,) = both(clickhouse, [trade("3", "60000000000000000000"), trade("3", "-50000000000000000000", 1, 2)])
    assert (bar["notional"], bar["vwap"]) == (Decimal("3e19"), 3)
    (bar,) = both(clickhouse, [trade("3", "60000000000000000000"), trade("3", "-60000000000000000000", 1, 2)])
    assert (bar["volume"], bar["notional"], bar["vwap"]) == (0, 0, None)


def count(rows: Rows, mask: int) -> Rows:
    def hidden(printed: str | None) -> bool:
        return bool(re.fullmatch("[0-9A-Fa-f]+", printed or "")) and bool(int(printed or "", 16) & mask)

    return [r for r in rows if r["size"] and not hidden(r.get("conditions"))]


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    line, ident = row["line_number"], row["trade_id"]
    name = (-1, b"") if ident is None else (len(ident.encode()), ident.encode())
    return row["event_time"], -1 if line is None else line, *name, row["source_name"]


def brute(rows: Rows) -> Rows:
    """The bars by the definition; raises OverflowError where one does not fit."""
    groups: dict[tuple[str, str, datetime], Rows] = {}
    for row in rows:
        groups.setdefault((row["symbol"], row["venue"], row["event_time"].replace(second=0, microsecond=0)), []).append(row)
    made = [bar(*key, sorted(groups[key], key=place)) for key in sorted(groups)]
    return [b for b in made if b]


def bar(symbol: str, venue: str, start: datetime, rows: Rows) -> dict[str, Any]:
    priced, sized = count(rows, 0x344A2E), count(rows, 0x5000000)
    prices = [r["price"] for r in priced]
    with localcontext(prec=200):
        terms = [r["price"] * r["size"] for r in sized]
        notional, volume = sum(terms, Decimal(0)), sum((r["size"] for r in sized), Decimal(0))
        exact = {"volume": volume, "notional": notional, "vwap": notional / volume if volume else None}
        fit = {n: v if v is None else v.quantize(Decimal("1e-18"), ROUND_HALF_UP) for n, v in exact.items()}
        if any(abs(t) >= 10**30 for t in terms) or any(v is not None and abs(v) >= 10**20 for v in fit.values()):
            raise OverflowError
    if not priced and not sized:
        return {}
    ends = {"open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1]} if prices else {}
    known = max(start + MINUTE, *(r["known_at"] for r in rows))
    values = {**ends, **fit, "trade_count": len(sized), "known_at": known}
    return {c.name: values.get(c.name) for c in COUNTED} | {
        "symbol": symbol, "venue": venue, "bar_start": start, "partition_date": DAY
    }  # fmt: skip


def scaled(digits: int, exponent: int) -> Decimal:
    return Decimal(digits).scaleb(-exponent)


small = st.builds(scaled, st.integers(-(10**9), 10**9), st.integers(0, 18))
any_size = st.builds(scaled, st.integers(-(10**25), 10**25), st.integers(6, 18))
numbers = st.one_of(small, small, small, any_size)
random_trades = st.builds(
    lambda price, size, seconds, line, **others: trade(str(price), str(size), seconds, line, **others),
    numbers,
    numbers,
    st.sampled_from([0, 1.5, 59.999999, 60, 61]),
    st.sampled_from([None, 1, 2, 30]),
    symbol=st.sampled_from(["A", "é"]),
    venue=st.sampled_from(["usa", "coinbase"]),
    trade_id=st.sampled_from([None, "", "9", "10", "é"]),
    source_name=st.sampled_from(["a", "b"]),
    conditions=st.sampled_from([None, "0", "2", "1000000", "5000002", "zz", "FFFFFFFFFF", "20002020"]),
    known_at=st.sampled_from([NOON, NOON + timedelta(days=1)]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(random_trades, max_size=40, unique_by=lambda r: (r["symbol"], r["venue"], place(r))))
def test_both_engines_equal_plain_decimals(clickhouse: ClickHouse, rows: Rows) -> None:
    try:
        expected = brute(rows)
    except OverflowError:
        with pytest.raises(QuantLakeError):
            derived(rows)
        with pytest.raises(QuantLakeError):
            rolled_up(clickhouse, rows)
        return
    assert derived(rows) == expected
    assert rolled_up(clickhouse, rows) == expected


@given(st.lists(st.tuples(any_size, any_size), max_size=20))
def test_products_and_quotients_are_exact(pairs: list[tuple[Decimal, Decimal]]) -> None:
    left, right = (pa.chunked_array([pa.array([p[n] for p in pairs], pa.decimal128(38, 18))]) for n in (0, 1))
    with localcontext(prec=200):
        assert decimals.multiply(left, right).to_pylist() == [a * b for a, b in pairs]
        quotients = [(a / b).quantize(Decimal("1e-18"), ROUND_HALF_UP) if b else None for a, b in pairs]
    if all(q is None or abs(q) < 10**20 for q in quotients):
        assert decimals.divide(left, right).to_pylist() == quotients
