"""Fingerprints: order-free, multiset, exact where types are exact, and equal to a computation in plain Python."""

import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import (
    PARTITION_DATE,
    Boolean,
    Bytes,
    Column,
    Date,
    Float,
    Integer,
    Price,
    Text,
    TextList,
    Timestamp,
    Type,
    Vector,
)
from quantlake.contract.fingerprint import EMPTY, Fingerprint, fingerprint, fingerprints

DAY, NEXT = date(2024, 1, 1), date(2024, 1, 2)
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
Row = dict[str, Any]


def table(rows: list[Row], columns: tuple[Column, ...]) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema([pa.field(c.name, c.type.arrow) for c in columns]))


def typed(*types: Type) -> tuple[Column, ...]:
    return (*(Column(f"c{n}", kind, "Any.", null=True) for n, kind in enumerate(types)), PARTITION_DATE)


def of(types: tuple[Type, ...], *rows: tuple[Any, ...], day: date = DAY) -> Fingerprint:
    columns = typed(*types)
    return fingerprint(table([{**{f"c{n}": v for n, v in enumerate(row)}, "partition_date": day} for row in rows], columns), columns)


EXACT = (Text, Integer, Boolean, Date, Timestamp, Price)
VALUES = st.tuples(
    st.none() | st.text(max_size=5) | st.sampled_from(["null", ",", '"', "\\", "a,b", "\n"]),
    st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.booleans(), st.none() | st.dates(),
    st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC)),
    st.none() | st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -18))),
)  # fmt: skip


def by_hand(rows: list[Row], columns: tuple[Column, ...]) -> Fingerprint:
    """From first principles: each row as comma-joined JSON-like members without nulls, MD5 as a 128-bit number, its halves summed apart."""
    high = low = 0
    for row in rows:
        text = ",".join(f'"{c.name}":{_text(row[c.name], c.type)}' for c in sorted(columns, key=lambda c: c.name) if row[c.name] is not None)
        number = int.from_bytes(hashlib.md5(text.encode()).digest(), "little")
        high, low = high + (number >> 64), low + (number & (2**64 - 1))
    return Fingerprint(len(rows), f"{len(rows):x}-{high:032x}{low:032x}")


def _text(value: Any, kind: Type) -> str:
    if value is None:
        return "null"
    if kind is Text:
        return '"' + "".join(ESCAPES.get(c) or (f"\\u{ord(c):04X}" if c < " " else c) for c in value) + '"'
    if kind is TextList:
        return "[" + ",".join(_text(v, Text) for v in value) + "]"
    if kind is Timestamp:
        return str((value - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution))
    if kind is Float:
        return "0" if value == 0 else f"{value:.9g}"
    if kind is Vector:
        return "[" + ", ".join("0" if abs(x) < 1e-9 else f"{x:.4g}" for x in value) + "]"
    if kind is Bytes:
        return value.hex().upper()
    return {True: "true", False: "false"}[value] if kind is Boolean else f"{value:f}" if kind is Price else str(value)


ALL = typed(Text, Integer, Float, Price, Boolean, Timestamp, Date, TextList, Vector, Bytes)
KNOWN: list[Row] = [
    {
        "c0": "a,\"é\"", "c1": -5, "c2": 0.1 + 0.2, "c3": Decimal("1.500000000000000000"), "c4": True, "c5": datetime(1969, 12, 31, 23, tzinfo=UTC),
        "c6": date(1, 1, 1), "c7": ["x", ""], "c8": [0.25, -1.0], "c9": b"\0,", "partition_date": DAY,
    },
    {f"c{n}": None for n in range(10)} | {"partition_date": NEXT},
]  # fmt: skip


def test_a_known_value_from_first_principles() -> None:
    rows = table(KNOWN, ALL)
    assert fingerprint(rows, ALL) == by_hand(KNOWN, ALL)
    assert fingerprint(rows.slice(1), ALL).hash == "1-" + _halves('"partition_date":2024-01-02')


def _halves(text: str) -> str:
    digest = int.from_bytes(hashlib.md5(text.encode()).digest(), "little")
    return f"{digest >> 64:032x}{digest & (2**64 - 1):032x}"


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=6))
def test_it_is_the_computation_in_plain_python(values: list[tuple[Any, ...]]) -> None:
    columns = typed(*EXACT)
    rows = [{**{f"c{n}": v for n, v in enumerate(row)}, "partition_date": DAY} for row in values]
    assert fingerprint(table(rows, columns), columns) == by_hand(rows, columns)


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=6), st.lists(VALUES, max_size=6), st.randoms(use_true_random=False))
def test_it_is_that_of_the_multiset(one: list[Any], other: list[Any], random: Any) -> None:
    shuffled = list(one)
    random.shuffle(shuffled)
    assert of(EXACT, *shuffled) == of(EXACT, *one)
    assert (of(EXACT, *one) == of(EXACT, *other)) == (sorted(map(repr, one)) == sorted(map(repr, other)))


def test_repeats_count() -> None:
    once, twice, thrice = (of((Text,), *[("a",)] * n) for n in (1, 2, 3))
    assert (once.rows, twice.rows) == (1, 2) and len({once.hash, twice.hash, thrice.hash, EMPTY.hash}) == 4
    assert of((Text,), ("a",), ("a",), ("b",)) != of((Text,), ("a",), ("b",), ("b",))


def test_nothing_is_empty() -> None:
    assert of((Text,)) == EMPTY
    assert fingerprints(table([], typed(Text)), typed(Text)) == {}


def differ(types: tuple[Type, ...], *rows: tuple[Any, ...]) -> None:
    found = [of(types, row) for row in rows]
    assert len({f.hash for f in found}) == len(rows), found


def test_null_is_no_text_and_separators_do_not_shift_values() -> None:
    differ((Text,), (None,), ("null",), ("",), ('"null"',), ("NULL",))
    differ((Text, Text), ("a,b", "c"), ("a", "b,c"), ('a","b', "c"), ("a", 'b","c'), ("a,b,c", None), (None, "a,b,c"))
    differ((TextList, TextList), (["a", "b"], []), (["a"], ["b"]), (["a,b"], []), ([None], []), (["null"], []), (None, []), ([], None))
    differ((Bytes, Bytes), (b"a,b", b"c"), (b"a", b"b,c"), (b"null", None), (None, b"null"), (b"", None), (b"\\x00", b""), (b"\0", b""))
    differ((Vector,), (None,), ([],), ([0.0],), ([0.0, 0.0],), ([1.0, 2.0],), ([2.0, 1.0],))


def test_old_rows_keep_it_when_a_nullable_column_is_gained_wherever_it_stands() -> None:
    old = typed(Text, Integer)
    rows = [{"c0": "a", "c1": 1, "partition_date": DAY}, {"c0": None, "c1": 2, "partition_date": DAY}]
    gained = (Column("more", Text, "Gained.", null=True), *old)
    assert fingerprint(table([{**r, "more": None} for r in rows], gained), gained) == fingerprint(table(rows, old), old)
    assert fingerprint(table([{**r, "more": ""} for r in rows], gained), gained) != fingerprint(table(rows, old), old)
    assert of((Text, Text), ("a", None)) != of((Text, Text), (None, "a"))


def test_floats_are_compared_at_nine_digits() -> None:
    assert of((Float,), (0.1 + 0.2,)) == of((Float,), (0.3,)) == of((Float,), (0.3 + 2e-10,))
    assert of((Float,), (0.0,)) == of((Float,), (-0.0,))
    differ((Float,), (0.3,), (0.3 + 2e-9,), (None,), (float("inf"),), (float("-inf"),), (1e300,), (1e-300,), (0.0,))


def test_vectors_are_compared_at_four_digits() -> None:
    assert of((Vector,), ([0.12341, 1e-12],)) == of((Vector,), ([0.123412, 0.0],))
    differ((Vector,), ([0.1234],), ([0.1235],))


def test_decimals_and_times_are_exact() -> None:
    differ((Price,), (Decimal("1E-18"),), (Decimal(0),), (Decimal("-1E-18"),), (Decimal("99999999999999999999.999999999999999999"),))
    differ((Timestamp,), (datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC),), (datetime(2024, 1, 1, tzinfo=UTC),))


@pytest.mark.parametrize("dates", [[DAY], [DAY, NEXT], [NEXT, DAY, NEXT, DAY]])
def test_each_date_has_its_own(dates: list[date]) -> None:
    rows = [{"c0": f"{n}", "partition_date": day} for n, day in enumerate(dates)]
    expected: dict[date, list[Row]] = defaultdict(list)
    for row in rows:
        expected[row["partition_date"]].append(row)
    columns = typed(Text)
    assert fingerprints(table(rows, columns), columns) == {day: by_hand(some, columns) for day, some in expected.items()}


def test_more_than_64_bits_of_sum() -> None:
    n = 5000
    columns = typed(Integer)
    rows = pa.table({"c0": pa.array(np.arange(n)), "partition_date": pa.array([DAY] * n)})
    assert fingerprint(rows, columns) == by_hand([{"c0": i, "partition_date": DAY} for i in range(n)], columns)


@settings(deadline=None, max_examples=25)
@given(st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=3))
def test_parts_add_up_to_the_whole(one: list[Any], other: list[Any], third: list[Any]) -> None:
    parts = [of(EXACT, *values) for values in (one, other, third)]
    assert parts[0] + parts[1] == parts[1] + parts[0] == of(EXACT, *one, *other)
    assert (parts[0] + parts[1]) + parts[2] == parts[0] + (parts[1] + parts[2]) == of(EXACT, *third, *other, *one)
    assert parts[0] + EMPTY == EMPTY + parts[0] == parts[0]


def test_sums_that_are_many_stay_in_their_width() -> None:
    most = Fingerprint(3, f"3-{2**128 - 1:032x}{2**128 - 1:032x}")
    assert most + most == Fingerprint(6, f"6-{2**128 - 2:032x}{2**128 - 2:032x}")
    assert sum([most] * 20, EMPTY).rows == 60 and len(sum([most] * 20, EMPTY).hash) == len("3c-") + 64
