"""Text to columns: every decimal exact or null, JSON as strict as JSON is, times to the microsecond."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, NoReturn

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.exchanges import parsing

WIDE, UNIT = Context(prec=2000, Emin=-999_999, Emax=999_999), Decimal(1).scaleb(-18)
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def parsed(convert: Any, *texts: str | None) -> list[Any]:
    return pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).select(convert(pl.col("text"))).to_series().to_list()


@pytest.mark.parametrize(("text", "value"), [
    ("1.819e-05", "0.00001819"), ("2.63", "2.63"), ("0.100000000000000005", "0.100000000000000005"), ("1E+5", "100000"), ("-0", "0"),
    ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"), ("0.10000000000000000000000", "0.1"),
    ("0.1000000000000000055", None), ("1e-19", None), ("10e-19", "1e-18"), ("100000000000000000000", None), ("1e20", None),
    ("1e-9223372036854775808", None), ("1e400", None), ("", None), ("abc", None), ("1_000", None), ("0x10", None), ("٣", None), (" 1", None),
    ("NaN", None), ("Infinity", None),
])  # fmt: skip
def test_a_decimal_is_exact_or_null(text: str, value: str | None) -> None:
    assert parsed(parsing.decimal, text) == [None if value is None else Decimal(value)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.from_regex(r"-?[0-9]{1,24}(\.[0-9]{0,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True) | st.text("0123456789.eE+-", max_size=12)))
def test_any_text_is_the_decimal_it_says_or_null(texts: list[str]) -> None:
    for text, found in zip(texts, parsed(parsing.decimal, *texts), strict=True):
        said = Decimal(text) if NUMBER.fullmatch(text) else None
        fits = said is not None and said.adjusted() < 20 and said == said.quantize(UNIT, context=WIDE)
        assert found == (said if fits else None) or (said == 0 and found in (None, 0))


@pytest.mark.parametrize(("convert", "text", "micros"), [
    (parsing.seconds, "1618678142.557535", 557_535), (parsing.seconds, "1618678142.5575359", 557_535), (parsing.seconds, "1618678142", 0),
    (parsing.seconds, "1618678142.5", 500_000), (parsing.milliseconds, "1618678142557", 557_000),
    (parsing.microseconds, "1618678142557535", 557_535), (parsing.iso, "2021-04-17T16:49:02.557535Z", 557_535),
    (parsing.iso, "2021-04-17T16:49:02.557Z", 557_000), (parsing.iso, "2021-04-17T16:49:02Z", 0),
    (parsing.iso, "2021-04-17T16:49:02.557535999Z", 557_535),
])  # fmt: skip
def test_times_are_exact_and_cut_below_a_microsecond(convert: Any, text: str, micros: int) -> None:
    assert parsed(convert, text) == [datetime(2021, 4, 17, 16, 49, 2, micros, UTC)]


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "99999999999999999999", "999999999999999999", "2021-13-17T16:49:02Z"])
def test_what_is_no_time_is_null(text: str) -> None:
    for convert in (parsing.seconds, parsing.milliseconds, parsing.microseconds, parsing.iso):
        found = parsed(convert, text)[0]
        assert found is None or (convert is parsing.microseconds and found.year > 9000)


@given(st.integers(0, parsing.LAST_SECOND * 1_000_000 + 999_999))
@settings(deadline=None)
def test_seconds_as_text_lose_no_microsecond(micros: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    found = parsed(parsing.seconds, f"{micros // 1_000_000}.{micros % 1_000_000:06}")
    assert found == [expected if micros <= parsing.LAST_SECOND * 1_000_000 else None]


def messages(*payloads: str) -> pl.DataFrame:
    return pl.DataFrame({"payload": pl.Series(payloads, dtype=pl.String)}).with_row_index("row")


def test_numbers_keep_their_text() -> None:
    numbers = ["1.819e-05", "1E-7", "0.1000000000000000055", "12345678901234567890123", "-0.0", "1E+5", "2.630"]
    payload = '{"text": "a \\"1, 2], 3", "numbers": [' + ", ".join(f'["{n}", {n}]' for n in numbers) + '], "last": 7}'
    found = parsing.fields(messages(payload), {"text": "$.text", "last": "$.last"}, {"numbers": "$.numbers"}).row(0, named=True)
    assert found == {"row": 0, "text": 'a "1, 2], 3', "last": "7", "numbers": [[n, n] for n in numbers]}


@pytest.mark.parametrize("text", ["1}", "x 5, y", "a:-1,", "[2]", "3", '\\"4,'])
def test_numbers_in_strings_are_left_alone(text: str) -> None:
    payload = json.dumps({"n": 1, "a": text, "b": text})
    assert parsing.fields(messages(payload, json.dumps(text)), {"a": "$.a", "b": "$.b", "n": "$.n"}).rows() == [
        (0, text, text, "1"), (1, None, None, None),
    ]  # fmt: skip


def test_what_has_another_shape_is_null_in_its_place() -> None:
    found = parsing.fields(messages('{"a":[["1"],2,{"b":3},["4",5]]}', '{"a":6}', "[]", "null"), {"a": "$.a[0][0]"}, {"l": "$.a"})
    assert found["l"].to_list() == [[["1"], None, None, ["4", "5"]], None, None, None]
    assert found["a"].to_list() == ["1", None, None, None]


@pytest.mark.parametrize("payload", [
    '{"a":1,}', "[1,]", '{"a":NaN}', '{"a":-Infinity}', '{"a":inf}', '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":+1}', "{1:2}", "{'a':1}",
    '{"a":1}}', '{"a":1', '{"a":"', "", "x", '"a "5"', '{"a":1} 2', '{"a":"\n"}', '["a,5]', '\ufeff{"a":1}',
])  # fmt: skip
def test_what_is_no_json_has_no_fields(payload: str) -> None:
    found = parsing.fields(messages('{"a":1}', payload, '{"a":"nan, inf,]"}'), {"a": "$.a"})
    assert found.rows() == [(0, "1"), (2, "nan, inf,]")]


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab\\\"1,:]}nNfi é\n", max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "1"]), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def jsonish(draw: st.DrawFn) -> str:
    """JSON, half the time with a place changed."""
    text = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        at, cut = draw(st.integers(0, len(text))), draw(st.integers(0, 2))
        text = text[:at] + draw(st.text('[]{},:"\\019.eE+-nNaAfFiIt \t\n', max_size=2)) + text[at + cut :]
    return text


@settings(max_examples=200, deadline=None)
@given(st.lists(jsonish(), max_size=20))
def test_json_is_read_where_and_only_where_it_is_json(payloads: list[str]) -> None:
    expected = []
    for row, payload in enumerate(payloads):
        try:
            value = json.loads(payload, parse_int=str, parse_float=str, parse_constant=refuse)
        except ValueError:
            continue
        first = value.get("a") if isinstance(value, dict) and payload.count('"a"') == 1 else None
        expected.append((row, first if isinstance(first, str) else None))
    found = parsing.fields(messages(*payloads), {"a": "$.a"})
    assert found["row"].to_list() == [row for row, _ in expected]
    for (row, said), read in zip(expected, found["a"], strict=True):
        assert said is None or read == said, payloads[row]
