"""Vendors' errors in daily bars: made ones are found with the right value, right series have none, whatever else they do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.datasets.market import vendor_bar_findings, vendor_bars_repaired
from quantlake.datasets.market.vendor_bar_findings import AHEAD_DAYS, BACK_DAYS, build, findings
from quantlake_tests.datasets.made_bars import PLACES, Row, Walk, frame, made

PRICES = ("open", "high", "low", "close")
QUARTERLY = dict.fromkeys(range(40, 250, 63), 0.012)
seeds = st.integers(0, 2**32)
some = settings(max_examples=15, deadline=None)


def found(rows: list[Row]) -> pl.DataFrame:
    return findings(frame(rows).lazy())


def told(rows: list[Row]) -> set[tuple[int, str, str]]:
    """(row, rule, column) of what is found."""
    number = {row["bar_start"]: n for n, row in enumerate(rows)}
    return {(number[at], rule, column) for at, rule, column in found(rows).select("bar_start", "rule", "column").iter_rows()}


def expected_of(rows: list[Row], row: int, column: str) -> float:
    (value,) = found(rows).filter(pl.col("bar_start") == rows[row]["bar_start"], pl.col("column") == column)["expected"]
    return float(value)


def scaled(rows: list[Row], which: range, by: str, columns: tuple[str, ...] = (*PRICES, "adj_close")) -> None:
    for n in which:
        for column in columns:
            rows[n][column] = (rows[n][column] * Decimal(by)).quantize(Decimal(1).scaleb(-PLACES))


def step(rows: list[Row], at: int, factor: float) -> None:
    """Multiplies the adjusted closes before a row."""
    scaled(rows, range(at), repr(factor), ("adj_close",))


@st.composite
def right_walks(draw: st.DrawFn) -> Walk:
    days = draw(st.sampled_from([40, 250, 500]))
    at = st.integers(1, days - 1)
    every = draw(st.sampled_from([21, 63, 252]))
    share = draw(st.sampled_from([0.0005, 0.003, 0.01, 0.04]))
    walk = Walk(
        seed=draw(seeds), days=days, volatility=draw(st.sampled_from([0.003, 0.01, 0.03])), price=draw(st.sampled_from([0.5, 20.0, 3000.0])),
        thin=draw(st.sampled_from([0.0, 0.3, 0.8])), dividends=dict.fromkeys(range(every // 2, days, every), share),
    )  # fmt: skip
    what = draw(st.sampled_from(["crash", "split", "special", "nothing"]))  # a crash of a split's size beside it is that split, unapplied
    if what == "crash":
        return replace(walk, crashes={draw(at): 0.5})
    if what == "split":
        return replace(walk, splits={draw(at): draw(st.sampled_from([2.0, 10.0, 0.1]))})
    return replace(walk, dividends={draw(st.integers(every // 2 + 1, every // 2 + 15)): 0.1}) if what == "special" else walk


@settings(max_examples=100, deadline=None)
@given(right_walks())
def test_nothing_is_found_in_right_series(walk: Walk) -> None:
    assert found(made(walk)).rows() == []


@some
@given(seeds, st.integers(0, 240), st.integers(1, 9), st.sampled_from(["100", "0.01"]))
def test_rows_in_another_unit(seed: int, first: int, rows: int, by: str) -> None:
    bars = made(Walk(seed=seed, price=50, days=260))
    right = bars[first]["low"]
    scaled(bars, range(first, first + rows), by)
    assert told(bars) == {(n, "unit_100x", c) for n in range(first, first + rows) for c in PRICES}
    assert expected_of(bars, first, "low") == pytest.approx(float(right), rel=1e-5)


@some
@given(seeds, st.integers(5, 150), st.sampled_from(["100", "0.01"]))
def test_of_a_change_of_unit_the_rows_before_are_wrong(seed: int, changed: int, by: str) -> None:
    bars = made(Walk(seed=seed, price=50, days=changed + 8))
    scaled(bars, range(changed), by)
    assert told(bars) == {(n, "unit_100x", c) for n in range(changed) for c in PRICES}


@some
@given(seeds, st.integers(0, 99), st.sets(st.sampled_from(PRICES), min_size=1, max_size=3), st.sampled_from(["100", "0.01"]))
def test_some_prices_of_a_row_in_another_unit(seed: int, row: int, columns: set[str], by: str) -> None:
    bars = made(Walk(seed=seed, days=100, dividends={row: 0.01, min(row + 1, 99): 0.02}))
    right = {column: bars[row][column] for column in columns}
    scaled(bars, range(row, row + 1), by, tuple(columns))
    if "close" in columns:  # what a vendor makes of a close
        scaled(bars, range(row, row + 1), by, ("adj_close",))
    assert told(bars) == {(row, "unit_100x", column) for column in columns}
    for column, price in right.items():
        assert expected_of(bars, row, column) == pytest.approx(float(price), rel=1e-5)


def test_a_price_that_is_off_by_more_than_a_unit_is_none_of_another() -> None:
    """Coinbase printed a low of 0.06 among bitcoins of 1,180 on 2017-04-15."""
    bars = made(Walk(days=60))
    scaled(bars, range(30, 31), "0.00005", ("low",))
    assert told(bars) == set()


def test_the_newest_row_alone_is_wrong_until_its_level_holds() -> None:
    bars = made(Walk(days=60))
    scaled(bars, range(59, 60), "100")
    assert {n for n, *_ in told(bars)} == {59}
    bars = made(Walk(days=60))
    scaled(bars, range(57, 60), "100")
    assert {n for n, *_ in told(bars)} == set(range(57))


@some
@given(seeds, st.sampled_from([2.0, 10.0, 0.1, 0.25]), st.integers(-9, 9), st.booleans())
def test_a_split_applied_to_rows_before_once_too_often_or_not_at_all(seed: int, ratio: float, late: int, twice: bool) -> None:
    bars = made(Walk(seed=seed, days=200, splits={150: ratio}))
    right = bars[149 + late]["high"]
    scaled(bars, range(150 + late), repr(1 / ratio if twice else ratio))
    assert told(bars) == {(n, "split_unapplied", c) for n in range(150 + late) for c in PRICES}
    assert expected_of(bars, 149 + late, "high") == pytest.approx(float(right), rel=1e-5)


@some
@given(seeds, st.sampled_from([2.0, 0.1]), st.integers(1, 5))
def test_a_split_applied_to_some_days_alone(seed: int, ratio: float, days: int) -> None:
    bars = made(Walk(seed=seed, days=200, splits={150: ratio}))
    scaled(bars, range(150, 150 + days), repr(ratio))
    assert told(bars) == {(n, "split_unapplied", c) for n in range(150, 150 + days) for c in PRICES}


def test_raw_prices_show_a_split_on_its_day() -> None:
    bars = made(Walk(days=200, splits={150: 2.0}, source="quandl"))
    for row in bars:
        row["adjustment"] = "raw"
    assert {rule for _, rule, _ in told(bars)} == {"split_unapplied"}
    scaled(bars, range(150), "2", PRICES)
    assert told(bars) == set()


@some
@given(seeds, st.sampled_from(["100", "0.01"]))
def test_a_dividend_in_another_unit_than_its_adjustment(seed: int, by: str) -> None:
    """Of a yield that is common and one that is not the price says which; where it hardly can, how common they are."""
    bars = made(Walk(seed=seed, volatility=0.003, dividends=dict.fromkeys(QUARTERLY, 0.02)))
    right = bars[103]["dividend"]
    for n in QUARTERLY:
        bars[n]["dividend"] *= Decimal(by)
    assert told(bars) == {(n, "dividend_100x", "dividend") for n in QUARTERLY}
    assert expected_of(bars, 103, "dividend") == pytest.approx(float(right), rel=1e-5)


@some
@given(seeds, st.floats(0.12, 0.3))
def test_a_dividend_a_hundred_times_as_large_in_both(seed: int, share: float) -> None:
    bars = made(Walk(seed=seed, dividends={120: share / 100}))
    bars[120]["dividend"] *= 100
    step(bars, 120, (1 - float(bars[120]["dividend"] / bars[119]["close"])) / (1 - float(bars[120]["dividend"] / 100 / bars[119]["close"])))
    assert told(bars) == {(120, "dividend_100x", "dividend")}


@some
@given(seeds)
def test_dividends_a_hundredth_of_what_is_paid_in_both(seed: int) -> None:
    days = dict.fromkeys(range(40, 750, 63), 0.02)
    bars = made(Walk(seed=seed, days=750, dividends=days))
    for n in days:
        paid, before = float(bars[n]["dividend"]), float(bars[n - 1]["close"])
        step(bars, n, (1 - paid / 100 / before) / (1 - paid / before))
        bars[n]["dividend"] /= 100
    assert told(bars) == {(n, "dividend_100x", "dividend") for n in days}


@pytest.mark.parametrize(("share_adjusted", "rule"), [
    (0.0, "dividend_not_adjusted"), (0.01, "dividend_adjusted_100x"), (0.4, "dividend_adjustment"), (3.0, "dividend_adjustment"),
])  # fmt: skip
@some
@given(seed=seeds)
def test_adjusted_closes_are_found_by_event(seed: int, share_adjusted: float, rule: str) -> None:
    bars = made(Walk(seed=seed, volatility=0.005, dividends=dict.fromkeys(QUARTERLY, 0.02)))
    paid, before = float(bars[166]["dividend"]), float(bars[165]["close"])
    step(bars, 166, (1 - share_adjusted * paid / before) / (1 - paid / before))
    assert told(bars) == {(166, rule, "adj_close")}
    (row,) = found(bars).select("found", "expected").iter_rows()
    assert float(row[0]) == pytest.approx(share_adjusted * paid, rel=1e-4, abs=1e-6)
    assert row[1] == bars[166]["dividend"]


@some
@given(seeds)
def test_a_dividend_that_is_missing(seed: int) -> None:
    bars = made(Walk(seed=seed, dividends=QUARTERLY))
    right, bars[166]["dividend"] = bars[166]["dividend"], Decimal(0)
    assert told(bars) == {(166, "dividend_missing", "dividend")}
    assert expected_of(bars, 166, "dividend") == pytest.approx(float(right), rel=1e-4)


@some
@given(seeds, st.integers(1, 2))
def test_a_dividend_that_is_there_twice(seed: int, later: int) -> None:
    bars = made(Walk(seed=seed, volatility=0.003, dividends={120: 0.05}))
    again(bars, later)
    assert told(bars) == {(120 + later, "dividend_twice", "dividend")}


@some
@given(seeds, st.integers(4, 12))
def test_a_dividend_that_is_there_again_weeks_later_and_the_price_does_not_know(seed: int, later: int) -> None:
    bars = made(Walk(seed=seed, volatility=0.003, dividends={40: 0.05, 120: 0.05}))
    again(bars, later)
    assert told(bars) == {(120 + later, "dividend_twice", "dividend")}
    assert told(made(Walk(seed=seed, volatility=0.003, dividends={40: 0.05, 120: 0.05, 120 + later: 0.05}))) == set()


def again(bars: list[Row], later: int) -> None:
    """The dividend of row 120 once more, adjusted for as it is printed."""
    bars[120 + later]["dividend"] = bars[120]["dividend"]
    step(bars, 120 + later, 1 - float(bars[120]["dividend"] / bars[119 + later]["close"]))


@some
@given(seeds, st.sampled_from([2.0, 5.0, 0.2]))
def test_a_dividend_in_shares_of_before_its_split(seed: int, ratio: float) -> None:
    bars = made(Walk(seed=seed, dividends=QUARTERLY, splits={166: ratio}))
    right = bars[166]["dividend"]
    bars[166]["dividend"] *= Decimal(str(ratio))
    assert told(bars) == {(166, "dividend_not_split_adjusted", "dividend")}
    assert expected_of(bars, 166, "dividend") == pytest.approx(float(right), rel=1e-5)


@some
@given(seeds, st.booleans())
def test_a_capital_gain_counted_twice(seed: int, twice: bool) -> None:
    """The dividend holds the gain: the price falls by the dividend, and adj_close is adjusted for both."""
    days = dict.fromkeys(range(60, 500, 200), 0.06)
    bars = made(Walk(seed=seed, days=500, dividends=days))
    for n in days:
        paid, before = float(bars[n]["dividend"]), float(bars[n - 1]["close"])
        bars[n]["capital_gain"] = (bars[n]["dividend"] * Decimal("0.7")).quantize(Decimal("0.0001"))
        if twice:
            step(bars, n, (1 - (paid + float(bars[n]["capital_gain"])) / before) / (1 - paid / before))
    assert told(bars) == ({(n, "capital_gain_counted_twice", "adj_close") for n in days} if twice else set())


@some
@given(seeds)
def test_a_capital_gain_beside_the_dividend(seed: int) -> None:
    """Printed apart, paid both, and both adjusted for."""
    bars = made(Walk(seed=seed, days=300, dividends={200: 0.06}))
    bars[200]["capital_gain"] = bars[200]["dividend"] / 2
    bars[200]["dividend"] /= 2
    assert told(bars) == set()


def test_rows_without_the_adjusted_close_that_their_neighbours_have() -> None:
    bars = made(Walk(days=100, dividends={50: 0.01}))
    for row in bars[:40]:
        row["adj_close"] = None
    assert told(bars) == {(39, "adj_close_no_number", "adj_close")}
    for row in bars:
        row["adj_close"] = None
    assert told(bars) == set()


def weekly(walk: Walk) -> list[Row]:
    return made(replace(walk, interval="1w"))


@some
@given(seeds)
def test_bars_of_weeks(seed: int) -> None:
    bars = weekly(Walk(seed=seed, days=120, volatility=0.02, dividends=dict.fromkeys(range(5, 120, 13), 0.01)))
    assert told(bars) == set()
    scaled(bars, range(60, 61), "0.01")
    assert told(bars) == {(60, "unit_100x", c) for c in PRICES}


Break = Callable[[list[Row]], None]
BREAKS: tuple[Break, ...] = (
    lambda bars: scaled(bars, range(300), "100"),
    lambda bars: scaled(bars, range(200, 204), "0.01"),
    lambda bars: step(bars, 166, 1.01),
    lambda bars: bars[166].update(dividend=bars[166]["dividend"] * 100),
)


@settings(max_examples=12, deadline=None)
@given(seeds, st.sampled_from(BREAKS), st.integers(0, 399), st.integers(1, 60))
def test_a_date_has_the_same_findings_whatever_dates_stand_beside_it(seed: int, wrong: Break, first: int, dates: int) -> None:
    bars = made(Walk(seed=seed, days=400, dividends=dict.fromkeys(range(40, 400, 63), 0.012)))
    wrong(bars)
    whole = build(frame(bars).lazy()).collect()
    days = [row["partition_date"] for row in bars[first : first + dates]]
    read = pl.col("partition_date").is_between(days[0] - timedelta(days=BACK_DAYS), days[-1] + timedelta(days=AHEAD_DAYS))
    asked = pl.col("partition_date").is_in(days)
    assert build(frame(bars).filter(read).lazy()).collect().filter(asked).equals(whole.filter(asked))


def test_a_finding_has_its_row_and_is_known_with_the_last_bar_of_its_evidence() -> None:
    bars = made(Walk(days=60))
    scaled(bars, range(30, 31), "100")
    table = vendor_bar_findings.vendor_bar_findings
    rows = build(frame(bars).lazy()).select(c.name for c in table.columns).collect()
    assert set(rows["partition_date"]) == {bars[30]["partition_date"]}
    assert set(rows["known_at"]) == {bars[33]["known_at"]}  # the third row after it: then the level holds again
    assert set(rows["found"]) == {bars[30][c] for c in PRICES}
    assert rows.select(table.key).is_unique().all()
    assert rows.select(c.name for c in table.columns if not c.null).null_count().row(0) == (0,) * sum(not c.null for c in table.columns)


@settings(max_examples=12, deadline=None)
@given(seeds, st.sampled_from(BREAKS), st.integers(0, 10**6))
def test_a_finding_can_be_made_of_what_was_known_then(seed: int, wrong: Break, which: int) -> None:
    bars = made(Walk(seed=seed, days=400, dividends=dict.fromkeys(range(40, 400, 63), 0.012)))
    wrong(bars)
    rows = found(bars).sort("bar_start", "rule", "column")
    finding = rows.row(which % len(rows), named=True)
    then = found([row for row in bars if row["known_at"] <= finding["known_at"]])
    assert not then.join(rows[which % len(rows) : which % len(rows) + 1], on=["bar_start", "rule", "column", "expected"]).is_empty()


def test_a_repair_is_a_row_of_its_own() -> None:
    bars = made(Walk(days=100, dividends={20: 0.01, 60: 0.01}))
    right = [dict(row) for row in bars]
    scaled(bars, range(30, 32), "100")
    bars[60]["dividend"] = Decimal(0)
    step(bars, 20, 1.01)
    printed = frame(bars).lazy()
    table = vendor_bars_repaired.vendor_bars_repaired
    rows = vendor_bars_repaired.build(build(printed), printed).select(c.name for c in table.columns).collect()
    assert rows["repaired"].to_list() == [sorted(PRICES), sorted(PRICES), ["dividend"]]
    for row, n in zip(rows.iter_rows(named=True), (30, 31, 60), strict=True):
        assert [float(row[c]) for c in (*PRICES, "dividend")] == pytest.approx([float(right[n][c]) for c in (*PRICES, "dividend")], rel=1e-5)
    assert rows["known_at"][2] == bars[60]["known_at"]


def test_sources_that_are_exchanges_own_are_not_judged() -> None:
    bars = made(Walk(days=60, source="lean"))
    scaled(bars, range(30, 31), "100")
    assert build(frame(bars).lazy()).collect().is_empty()


amounts = st.sampled_from([None, 0, -1, 100, 101, 102, 10_000, Decimal("1.01"), Decimal("1e-18"), Decimal("9e19")])
odd_rows = st.fixed_dictionaries(dict.fromkeys((*PRICES, "adj_close", "dividend", "capital_gain", "split_ratio", "volume"), amounts))


@settings(max_examples=100, deadline=None)
@given(st.lists(odd_rows, max_size=25), st.sampled_from(["1d", "1w"]), st.sampled_from(["raw", "split"]))
def test_whatever_stands_in_bars_findings_are_of_the_table(told: list[Row], interval: str, adjustment: str) -> None:
    bars = made(Walk(days=25, interval=interval))[: len(told)]
    for row, odd in zip(bars, told, strict=True):
        row.update({c: value if value is None else Decimal(value) for c, value in odd.items()}, adjustment=adjustment)
    table = vendor_bar_findings.vendor_bar_findings
    rows = build(frame(bars).lazy()).select(c.name for c in table.columns).collect().to_arrow().cast(table.spec.arrow)
    assert pl.DataFrame(rows).select(table.key).is_duplicated().sum() == 0
