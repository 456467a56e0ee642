"""`quantlake produce` files: exact values, defaults, and errors that name line and field."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from quantlake.contract import QuantLakeError
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.alt import news
from quantlake.datasets.market import trades
from quantlake.sources import jsonl

NOW = datetime(2024, 5, 2, 12, tzinfo=UTC)
TRADE = {"symbol": "IBM", "venue": "usa", "price": "181.52", "size": 100, "event_time": "2013-10-07T23:30:00-04:00"}


def lines(folder: Path, *records: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
    return path


def test_omitted_columns_follow_the_contract(tmp_path: Path) -> None:
    path = lines(tmp_path, TRADE, TRADE | {"partition_date": "2013-10-08", "known_at": "2013-10-08T00:00:00Z"}, TRADE)
    rows = jsonl.read(path, trades.raw, NOW)
    assert rows.schema == wire_arrow(trades.raw)
    first, second, third = rows.to_pylist()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(first["partition_date"]) == "2013-10-07"
    assert (first["side"], first["known_at"], second["known_at"]) == ("unknown", NOW, datetime(2013, 10, 8, tzinfo=UTC))
    assert (first["source_name"], first["source_version"]) == (f"produce/{digest[:12]}", digest)
    assert [r["source_records"] for r in (first, second, third)] == [2, 1, 2]
    assert [r["line_number"] for r in (first, second, third)] == [1, 2, 3]


def test_decimals_are_read_from_their_text(tmp_path: Path) -> None:
    number = '{"symbol":"X","venue":"v","price":0.100000000000000001,"size":1e-18,"event_time":"2024-01-01T00:00:00Z"}'
    rows = jsonl.read(lines(tmp_path, number, TRADE | {"price": "12345678901234567890.123456789012345678"}), trades.raw, NOW)
    assert rows["price"].to_pylist() == [Decimal("0.100000000000000001"), Decimal("12345678901234567890.123456789012345678")]
    assert rows["size"][0].as_py() == Decimal("1e-18")


def test_lists_default_to_empty(tmp_path: Path) -> None:
    item = {"source": "me", "guid": "1", "title": "t", "event_time": "2024-01-01T00:00:00Z"}
    rows = jsonl.read(lines(tmp_path, item, item | {"tickers": ["A"]}), news.raw, NOW)
    assert rows["tickers"].to_pylist() == [[], ["A"]] and rows["feeds"].to_pylist() == [[], []]


@pytest.mark.parametrize(("bad", "found"), [
    (TRADE | {"prize": 1}, "line 3: raw/market/trades has no field 'prize'"),
    (TRADE | {"price": "abc"}, "line 3: price is \"abc\", which is no decimal(38,18)"),
    (TRADE | {"price": True}, "line 3: price is true"),
    (TRADE | {"price": "0.1234567890123456789"}, "line 3: price is"),
    (TRADE | {"price": "1e25"}, "line 3: price is"),
    (TRADE | {"event_time": "2013-10-07T10:00:00"}, "line 3: event_time is"),
    (TRADE | {"event_time": 5}, "line 3: event_time is 5"),
    (TRADE | {"partition_date": "2013-13-01"}, "line 3: partition_date is"),
    (TRADE | {"line_number": 1.5}, "line 3: line_number is"),
    (TRADE | {"symbol": None}, "line 3: symbol is missing"),
    ({k: v for k, v in TRADE.items() if k != "event_time"}, "line 3: event_time is missing"),
    ('{"price": NaN}', "line 3 is not JSON: NaN"),
    ('{"price": ', "line 3 is not JSON"),
    ("[1]", "line 3 is not a JSON object"),
])
def test_a_bad_line_is_named_with_its_field(tmp_path: Path, bad: object, found: str) -> None:
    path = lines(tmp_path, TRADE, bad)
    with pytest.raises(QuantLakeError) as error:
        jsonl.read(path, trades.raw, NOW)
    assert f"{path} {found}" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError, match=r"none\.jsonl cannot be read: No such file"):
        jsonl.read(tmp_path / "none.jsonl", trades.raw, NOW)
