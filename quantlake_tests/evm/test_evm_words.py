"""Words of 32 bytes as exact decimal text, over all their values."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.evm import words
from quantlake_tests.evm.plain import address, exactly, topic

EDGES = sorted({abs(e + d) for e in (0, *(1 << n for n in (31, 32, 63, 64, 96, 127, 128, 160, 255, 256)), *(10**n for n in (9, 18, 19, 38, 77))) for d in (-1, 0, 1)})  # fmt: skip
numbers = st.one_of(st.sampled_from([e for e in EDGES if e < 1 << 256]), st.integers(0, (1 << 256) - 1), st.integers(0, 256).flatmap(lambda n: st.integers(0, (1 << n) - 1)))
columns = st.lists(st.none() | numbers, max_size=30)
drawn = settings(max_examples=60, deadline=None)


def texts(found: list[int | None]) -> pl.Series:
    return pl.Series([None if n is None else topic(n) for n in found], dtype=pl.String)


def signed(number: int, bits: int) -> int | None:
    value = number - (1 << 256) if number >> 255 else number
    return value if -(1 << (bits - 1)) <= value < 1 << (bits - 1) else None


@drawn
@given(columns, st.sampled_from([24, 128, 160, 255, 256]))
def test_words_are_the_numbers_that_python_reads(column: list[int | None], bits: int) -> None:
    digits = words.digits(texts(column))
    assert words.integers(digits, bits).to_list() == [None if n is None or n >> bits else str(n) for n in column]
    as_signed = [None if n is None else signed(n, bits) for n in column]
    assert words.integers(digits, bits, signed=True).to_list() == [None if n is None else str(n) for n in as_signed]


@drawn
@given(st.lists(st.tuples(numbers, numbers), max_size=20))
def test_differences_are_exact_or_none_where_256_bits_do_not_hold_them(rows: list[tuple[int, int]]) -> None:
    left, right = (words.digits(texts([row[n] for row in rows])) for n in range(2))
    wanted = [str(a - b) if -(1 << 255) <= a - b < 1 << 255 else None for a, b in rows]
    assert words.differences(left, right).to_list() == wanted


@pytest.mark.parametrize(("number", "text"), [
    (0, "0"), (1, "1"), ((1 << 63), "9223372036854775808"), ((1 << 64) - 1, "18446744073709551615"), ((1 << 64) + 1, "18446744073709551617"),
    (1 << 128, "340282366920938463463374607431768211456"), ((1 << 256) - 1, "-1"),
    (1 << 255, "-57896044618658097711785492504343953926634992332820282019728792003956564819968"),
    ((1 << 255) - 1, "57896044618658097711785492504343953926634992332820282019728792003956564819967"),
])  # fmt: skip
def test_edges(number: int, text: str) -> None:
    assert words.integers(words.digits(texts([number])), signed=True).to_list() == [text]


@drawn
@given(st.lists(st.tuples(numbers, st.booleans(), st.integers(0, 3)), max_size=20))
def test_quantities_have_any_length_and_case(rows: list[tuple[int, bool, int]]) -> None:
    given_texts = [f"0x{'0' * zeros}{number:x}" for number, _, zeros in rows]
    wanted = [str(number) if len(text) <= 66 else None for (number, _, _), text in zip(rows, given_texts, strict=True)]
    cased = [f"0x{text[2:].upper()}" if upper else text for (_, upper, _), text in zip(rows, given_texts, strict=True)]
    assert words.quantity(pl.Series(cased, dtype=pl.String)).to_list() == wanted


def test_what_is_no_number_is_none() -> None:
    bad = ["0x", "", "0", "x", "12", "0xg", "0x-1", "0x 1", "0X1", "0x" + "1" * 65, None, "ä1", "0xé"]
    assert words.quantity(pl.Series(bad)).to_list() == [None] * len(bad)
    assert words.addresses(words.digits(pl.Series([*bad, "0x1"]))).to_list() == [None] * (len(bad) + 1)
    assert words.quantity(pl.Series([], dtype=pl.String)).to_list() == []


def test_a_column_that_begins_within_another_is_read_from_there() -> None:
    column = pl.Series([topic(n) for n in range(10)]).slice(7)
    assert words.integers(words.digits(column)).to_list() == ["7", "8", "9"]
    assert words.normalized(pl.Series(["1", "22", "333"]).slice(1), pl.Series([0, 1])).to_list() == [Decimal(22), Decimal("33.3")]


@drawn
@given(columns)
def test_addresses_are_the_last_twenty_bytes_in_lower_case(column: list[int | None]) -> None:
    wanted = [None if n is None else address(n & (1 << 160) - 1) for n in column]
    assert words.addresses(words.digits(texts(column))).to_list() == wanted
    assert words.addresses(words.digits(texts(column).str.to_uppercase().str.replace("0X", "0x"))).to_list() == wanted


@drawn
@given(st.lists(st.tuples(numbers, st.booleans(), st.none() | st.integers(0, 100), st.integers(0, 40)), max_size=20))
def test_normalised_is_exact_or_null(rows: list[tuple[int, bool, int | None, int]]) -> None:
    values = [str(-n * 10**zeros if minus else n * 10**zeros) for n, minus, _, zeros in rows]
    decimals = [d for _, _, d, _ in rows]
    found = words.normalized(pl.Series(values, dtype=pl.String), pl.Series(decimals, dtype=pl.Int64))
    assert found.dtype == pl.Decimal(38, 18)
    assert found.to_list() == [exactly(v, d) for v, d in zip(values, decimals, strict=True)]


@drawn
@given(st.lists(st.tuples(numbers, st.integers(0, 4)), max_size=40))
def test_sums_are_exact_however_large(rows: list[tuple[int, int]]) -> None:
    found = words.sums(pl.Series([str(n) for n, _ in rows], dtype=pl.String), pl.Series([g for _, g in rows], dtype=pl.Int64))
    assert found.to_list() == [str(sum(n for n, g in rows if g == group)) for group in range(max((g for _, g in rows), default=-1) + 1)]


def test_a_sum_with_what_is_no_number_is_none() -> None:
    assert words.sums(pl.Series(["1", None, "x", "2", "-1", "", "5"]), pl.Series([0, 1, 2, 0, 3, 4, 5])).to_list() == ["3", None, None, None, None, "5"]
    assert words.sums(pl.Series([str((1 << 256) - 1)] * 1000), pl.Series([0] * 1000)).to_list() == [str(1000 * ((1 << 256) - 1))]


@pytest.mark.parametrize(("value", "decimals", "wanted"), [
    ("0", 0, "0"), ("0", 255, "0"), ("1", 18, "0.000000000000000001"), ("1", 19, None), ("10", 19, "0.000000000000000001"),
    ("99999999999999999999", 0, "99999999999999999999"), ("100000000000000000000", 0, None), ("-1", 18, "-0.000000000000000001"),
    ("99999999999999999999999999999999999999", 18, "99999999999999999999.999999999999999999"), (None, 18, None), ("1", None, None), ("", 0, None),
    ("-", 0, None), ("1.5", 0, None), ("1e3", 0, None), (str((1 << 256) - 1), 77, None), ("1", -1, None),
])  # fmt: skip
def test_where_a_value_stops_fitting(value: str | None, decimals: int | None, wanted: str | None) -> None:
    found = words.normalized(pl.Series([value], dtype=pl.String), pl.Series([decimals], dtype=pl.Int64)).to_list()
    assert found == [None if wanted is None else Decimal(wanted)]
