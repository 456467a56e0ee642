"""The quality port on Great Expectations: every check passes and fails for its own reason, exactly, and per date."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from quantlake.adapters.quality import probes
from quantlake.adapters.quality.great_expectations import GreatExpectations, evaluate
from quantlake.contract import (
    PARTITION_DATE,
    Column,
    Dataset,
    Derived,
    Float,
    Integer,
    Ordered,
    Price,
    QuantLakeError,
    Rollup,
    Rows,
    Sessions,
    Stream,
    Table,
    Text,
    TextList,
    Timestamp,
)
from quantlake.contract.compute import visible
from quantlake.contract.suites import EQUALS_DERIVED, SCHEMA, check_names, described
from quantlake.ports import CheckResult

PORT, ADAPTER = "Quality", "great_expectations"
XNYS = Sessions("XNYS", "America/New_York", opens=time(9, 30), due=time(22, 0))
DAY, NEXT, SATURDAY = date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 6)
COLUMNS = (
    Column("symbol", Text, "s"),
    Column("trade_id", Text, "t", null=True),
    Column("price", Price, "p", above=0),
    Column("low", Price, "l", null=True),
    Column("high", Price, "h", null=True),
    Column("count", Integer, "c", minimum=0, null=True),
    Column("score", Float, "f", minimum=-0.5, null=True),
    Column("side", Text, "b", allowed=("buy", "sell"), null=True),
    Column("flags", TextList, "f"),
    Column("known_at", Timestamp, "k"),
    PARTITION_DATE,
    Column("line", Integer, "n", null=True),
)
stream = Stream("team.family.raw", doc="d", owner="o", topic="t", message_key="line", sessions=XNYS, columns=COLUMNS)
things = Table(
    "team.family.things", doc="d", owner="o", of=stream, columns=COLUMNS, key=("symbol", "trade_id"), fallback_key=("line",),
    checks=(Ordered("low", "price", "high"),),
)  # fmt: skip
GOOD: dict[str, Any] = {
    "symbol": "AAPL", "trade_id": None, "price": Decimal("5"), "low": None, "high": Decimal("5"), "count": 0, "score": -0.5,
    "side": "buy", "flags": [], "known_at": datetime(2024, 1, 2, tzinfo=UTC), "partition_date": DAY, "line": 1,
}  # fmt: skip


def _judge(
    *changes: dict[str, Any], dataset: Dataset = things, dates: tuple[date, ...] = (DAY,)
) -> dict[date, dict[str, CheckResult]]:
    rows = pa.Table.from_pylist([{**GOOD, "line": n, **change} for n, change in enumerate(changes)], dataset.spec.arrow)
    judged = GreatExpectations().judge(dataset, rows, dates)
    ours = [(name, blocking) for name, blocking in check_names(dataset) if name not in (SCHEMA, EQUALS_DERIVED)]
    assert all([(r.check, r.blocking) for r in results] == ours for results in judged.values())
    return {day: {r.check: r for r in results} for day, results in judged.items()}


def _failed(*changes: dict[str, Any]) -> dict[str, CheckResult]:
    return {name: r for name, r in _judge(*changes)[DAY].items() if not r.passed}


def test_good_rows_pass_everything() -> None:
    results = _judge({}, {"trade_id": "1"}, {"trade_id": "2", "side": None, "count": None, "score": None})[DAY]
    assert set(results) == {"not_null", "unique_key", "in_range", "allowed_values", "ordered", "row_count"}
    assert all(r.passed and not r.reason and not r.failing for r in results.values())
    assert results["in_range"].details["price"] == {"element_count": 3, "unexpected_count": 0, "unexpected_percent": 0.0}


@pytest.mark.parametrize(
    ("check", "bad", "reason"),
    [
        ("not_null", {"symbol": None}, "symbol: 1 of 3 rows null"),
        ("not_null", {"flags": None}, "flags: 1 of 3 rows null"),
        ("in_range", {"price": Decimal("-5")}, "price: 1 of 3 rows not above 0, e.g. -5"),
        ("in_range", {"price": Decimal("0")}, "price: 1 of 3 rows not above 0, e.g. 0"),
        ("in_range", {"price": Decimal("-1E-18")}, "price: 1 of 3 rows not above 0, e.g. -0.000000000000000001"),
        ("in_range", {"count": -1}, "count: 1 of 3 rows below 0, e.g. -1"),
        ("in_range", {"score": -0.51}, "score: 1 of 3 rows below -0.5, e.g. -0.51"),
        ("in_range", {"score": float("nan")}, "score: 1 of 3 rows below -0.5, e.g. nan"),
        ("allowed_values", {"side": "Buy"}, "side: 1 of 3 rows not one of buy, sell, e.g. Buy"),
        (
            "ordered",
            {"low": Decimal("5.000000000000000001")},
            "low <= price <= high: 1 of 3 rows not in that order, e.g. 5.000000000000000001, 5, 5",
        ),
        ("ordered", {"high": Decimal("4")}, "low <= price <= high: 1 of 3 rows not in that order, e.g. null, 5, 4"),
    ],
)
def test_a_bad_row_fails_its_check_alone(check: str, bad: dict[str, Any], reason: str) -> None:
    failed = _failed({}, bad, {})
    if check != "ordered":
        failed.pop("ordered", None)  # a price of -5 is rightly out of order too
    assert {name: r.reason for name, r in failed.items()} == {check: reason}
    assert list(failed[check].failing) == [1]
    assert failed[check].blocking


@pytest.mark.parametrize(
    ("side", "shown"),
    [
        ("東京 🚀 שלום", "東京 🚀 שלום"),
        ("a\nb\r\u2028\0", r"a\nb\r\u2028\x00"),
        ("x" * 100, "x" * 100),
        ("x" * 100_000, "x" * 100 + "... (100000 characters)"),
        ("", ""),
    ],
)
def test_any_text_is_an_example_of_one_line(side: str, shown: str) -> None:
    assert _failed({}, {"side": side})["allowed_values"].reason == f"side: 1 of 2 rows not one of buy, sell, e.g. {shown}"


def test_numbers_at_their_ends_are_judged_exactly() -> None:
    high = Decimal("99999999999999999999.999999999999999999")
    assert not _failed({"price": high, "high": high}, {"score": float("inf")}, {"count": 2**63 - 1})
    low = high.copy_negate()  # a minus would round it to 28 digits
    failed = _failed({"price": low, "low": low}, {"score": float("-inf")}, {"count": -(2**63)})
    assert failed["in_range"].reason == (
        f"price: 1 of 3 rows not above 0, e.g. {low}; count: 1 of 3 rows below 0, e.g. {-(2**63)}; score: 1 of 3 rows below -0.5, e.g. -inf"
    )
    assert list(failed["in_range"].failing) == [0, 1, 2]


def test_ten_thousand_bad_rows_are_all_named_in_a_short_reason() -> None:
    failed = _failed(*[{"side": "bad"}] * 10_000)["allowed_values"]
    assert list(failed.failing) == list(range(10_000))
    assert failed.reason == "side: 10000 of 10000 rows not one of buy, sell, e.g. bad"


def test_a_price_of_one_attounit_is_above_zero() -> None:
    assert not _failed({"price": Decimal("1E-18"), "high": None})


def test_decimals_beyond_a_float_are_compared_exactly() -> None:
    limited = replace(things, columns=(*(replace(c, above=10**15) if c.name == "price" else c for c in COLUMNS),), checks=())
    bound, above = Decimal(10**15), Decimal("1000000000000000.000000000000000001")  # the same float
    assert list(_judge({"price": above}, {"price": bound}, dataset=limited)[DAY]["in_range"].failing) == [1]
    below = replace(limited, columns=(*(replace(c, above=10**16) if c.name == "price" else c for c in COLUMNS),))
    assert _judge({"price": above}, dataset=below)[DAY]["in_range"].reason.endswith("e.g. 1000000000000000.000000000000000001")


def test_equal_keys_fail_and_the_fallback_key_identifies_rows_without_one() -> None:
    failed = _failed({"trade_id": "7"}, {}, {"trade_id": "7"}, {"line": 1}, {"trade_id": "8", "line": 1})
    assert list(failed) == ["unique_key"]
    assert list(failed["unique_key"].failing) == [0, 1, 2, 3]
    assert failed["unique_key"].reason == "symbol, trade_id: 4 of 5 rows with a key that another row has, e.g. AAPL, 7"


def test_equal_hashes_of_different_keys_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "row_hashes", lambda identity: pl.zeros(identity.height, pl.UInt64, eager=True))
    assert not _failed({"trade_id": "1"}, {"trade_id": "2"}, {})
    assert list(_failed({"trade_id": "1"}, {"trade_id": "2"}, {"trade_id": "1"})["unique_key"].failing) == [0, 2]


def test_each_date_is_judged_by_its_own_rows() -> None:
    judged = _judge(
        {"trade_id": "1"},
        {"trade_id": "1", "partition_date": NEXT},
        {"price": Decimal(-1), "low": Decimal(-1), "partition_date": NEXT},
        dates=(NEXT, SATURDAY, DAY),
    )
    assert {day: [n for n, r in results.items() if not r.passed] for day, results in judged.items()} == {
        NEXT: ["in_range"], SATURDAY: [], DAY: [],
    }  # fmt: skip
    assert list(judged[NEXT]["in_range"].failing) == [2]
    assert judged[NEXT]["in_range"].reason.startswith("price: 1 of 2 rows")
    assert judged[NEXT]["row_count"].details == {"row_count": 2}


def test_an_open_session_without_rows_is_a_warning() -> None:
    judged = _judge(dates=(DAY, SATURDAY, date(2024, 1, 1), date(1985, 1, 2), date(2024, 11, 29)))
    counts = [results["row_count"] for results in judged.values()]
    assert [r.passed for r in counts] == [False, True, True, True, False]
    assert counts[0].reason == "no rows on 2024-01-02, an open session of XNYS"
    assert not counts[0].blocking
    assert all(r.passed for results in judged.values() for n, r in results.items() if n != "row_count")
    free = Table("a.b.c", doc="d", owner="o", of=replace(stream, sessions=None), columns=COLUMNS)
    assert _judge(dataset=free)[DAY]["row_count"].passed


def test_checks_by_kind_of_dataset() -> None:
    bars = Derived("a.b.bars", doc="d", owner="o", of=(things,), columns=(replace(PARTITION_DATE, null=True),))
    assert check_names(stream) == [("dead_letters", False), ("exactly_once", False)]
    assert check_names(bars) == [(SCHEMA, True), ("row_count", False)]
    day = PARTITION_DATE.name
    rollup = Rollup("a.b.r", doc="d", owner="o", of=things, sql="", columns=(PARTITION_DATE,), key=(day,), equals=bars)
    names = [(SCHEMA, True), ("not_null", True), ("unique_key", True), (EQUALS_DERIVED, True), ("row_count", False)]
    assert check_names(rollup) == names
    assert (EQUALS_DERIVED, True) not in check_names(replace(rollup, equals=None))


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(QuantLakeError, match="a stream is judged where it lands"):
        GreatExpectations().judge(stream, stream.spec.arrow.empty_table(), [DAY])
    with pytest.raises(QuantLakeError, match="2024-01-03, which is not among the dates"):
        _judge({"partition_date": NEXT})
    with pytest.raises(QuantLakeError, match="a row is of None"):
        _judge({"partition_date": None})


def test_an_expectation_that_breaks_is_raised_not_called_bad_data() -> None:
    broken = probes.Probe("allowed_values", "side", "wrong", (), pa.array([[1], [2]]), "unique")
    with pytest.raises(QuantLakeError, match="could not evaluate allowed_values on side"):
        evaluate([broken])


def test_a_thousand_dates_are_one_validation() -> None:
    dates = tuple(DAY + timedelta(days=n) for n in range(1000))
    judged = _judge(*({"partition_date": day, "side": "x" if n == 500 else "buy"} for n, day in enumerate(dates)), dates=dates)
    assert [day for day, results in judged.items() if not results["allowed_values"].passed] == [dates[500]]


def test_importing_the_adapter_imports_no_evaluator() -> None:
    heavy = "{'great_expectations', 'pandas', 'exchange_calendars'}"
    program = f"import sys, quantlake.adapters.quality.great_expectations\nassert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_row_checks_block_warn_or_keep_back_as_the_contract_says() -> None:
    """Null is not bad; a few bad rows of a quarantine are a warning, more than its share block."""
    odd = pl.col("score") > 5
    dataset = replace(things, checks=(
        Rows("small", odd, "too large", ("symbol", "score")),
        Rows("noted", odd, "too large", ("score",), blocking=False),
        Rows("kept_back", odd, "too large", ("score",), quarantine=True, most=0.34),
    ))  # fmt: skip
    rows = pa.Table.from_pylist([{**GOOD, "line": n, "score": score} for n, score in enumerate([1.0, 7.0, None])], dataset.spec.arrow)
    found = {r.check: r for r in GreatExpectations().judge(dataset, rows, [DAY])[DAY]}
    assert {(c, found[c].passed, found[c].blocking) for c in ("small", "noted", "kept_back")} == {
        ("small", False, True), ("noted", False, False), ("kept_back", False, False),
    }  # fmt: skip
    assert found["small"].reason == "symbol, score: 1 of 3 rows too large, e.g. AAPL, 7.0" and list(found["small"].failing) == [1]
    assert visible(dataset, rows).num_rows == 2 and visible(things, rows).num_rows == 3
    many = pa.concat_tables([rows, rows.slice(1, 1)])
    (again,) = (r for r in GreatExpectations().judge(dataset, many, [DAY])[DAY] if r.check == "kept_back")
    assert not again.passed and again.blocking
    assert "up to 34.0% of a date's rows are kept back alone" in described(dataset)["kept_back"]
