"""Databento's reference data: recorded actions and securities, other kinds, and bad records."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.reference import corporate_actions, instruments, symbol_map
from quantlake.sources import databento_reference
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import require_counted

FOLDER = "reference/databento_reference"
ACTION: dict[str, Any] = {
    "ts_record": "2023-10-10T04:37:14Z", "event_unique_id": "U-1", "security_id": "S-1", "event_action": "U", "event": "DIV", "ex_date": "2023-10-11",
    "symbol": "AB", "local_code": None, "rate_info": {"gross_dividend": 0.1}, "rate_currency": "USD", "ratio_old": None, "ratio_new": None,
}  # fmt: skip


def read(path: Path) -> dict[Stream, pl.DataFrame]:
    found = databento_reference.recognise(path)
    assert isinstance(found, Importer)
    frames = {stream: pl.DataFrame(rows) for stream, rows in found.read(path)}
    for frame in frames.values():
        require_counted(frame)
    return frames


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_recorded_actions_are_reverse_splits() -> None:
    rows = read(recorded(f"{FOLDER}/test_data.corporate-actions.jsonl"))[corporate_actions.raw]
    assert rows.select("symbol", "type", "event", "ex_date", "ratio", "status").rows() == [
        ("BOMO", "split", "RSPLT", date(2023, 10, 10), Decimal("0.001"), "active"),
        ("BRQS", "split", "RSPLT", date(2023, 10, 10), Decimal("0.083333333333333333"), "active"),
    ]
    pit = read(recorded(f"{FOLDER}/test_data.corporate-actions-pit.jsonl"))[corporate_actions.raw]
    assert pit["source_event_id"].unique().to_list() == ["U-40179043276-1888618"]
    assert pit["known_at"].to_list() == [datetime(2023, 10, 10, 4, 37, 14, tzinfo=UTC), datetime(2023, 11, 1, tzinfo=UTC)]
    assert pit["partition_date"].to_list() == [date(2023, 10, 10), date(2023, 11, 1)]


def test_the_recorded_security_is_an_instrument_and_a_symbol() -> None:
    frames = read(recorded(f"{FOLDER}/test_data.security-master.jsonl"))
    apple = frames[instruments.raw].row(0, named=True)
    assert (apple["instrument_id"], apple["asset_class"], apple["name"]) == ("databento:S-33449", "equity", "Apple Inc")
    assert (apple["isin"], apple["figi"], apple["cik"], apple["listed"]) == ("US0378331005", "BBG000B9Y5X2", "0000320193", date(1980, 12, 12))
    assert frames[symbol_map.raw].select("venue", "symbol", "valid_from", "valid_to").unique().rows() == [("xnas", "AAPL", date(1980, 12, 12), None)]


def test_adjustment_factors_and_other_lines_have_no_importer(tmp_path: Path) -> None:
    found = databento_reference.recognise(recorded(f"{FOLDER}/test_data.adjustment-factors.jsonl"))
    assert found == "Databento adjustment factors"
    assert databento_reference.recognise(written(tmp_path / "a.jsonl", {"symbol": "A"})) is None


def test_amounts_are_read_from_their_text_and_other_events_stay_in_raw(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ACTION, ACTION | {"event": "AGM", "event_unique_id": "U-2"}, ACTION | {"event_action": "C"})
    rows = read(path)[corporate_actions.raw]
    assert rows.select("type", "amount", "currency", "status").rows() == [
        ("dividend", Decimal("0.1"), "USD", "active"), (None, None, "USD", "active"), ("dividend", Decimal("0.1"), "USD", "cancelled"),
    ]  # fmt: skip
    assert corporate_actions.curate(rows.lazy()).collect()["event"].to_list() == ["DIV", "DIV"]


@pytest.mark.parametrize(("line", "found"), [
    ("{", "line 2 is not JSON: '{'"),
    ("[" * 100_000, "line 2 is not JSON"),
    ("[1]", "line 2 is '[1]', not an object"),
    ("", "line 2 is not JSON"),
    (ACTION | {"security_id": None}, "line 2: security_id is 'None', what this record cannot be without"),
    (ACTION | {"ex_date": "11.10.2023"}, "line 2: ex_date is '11.10.2023', no date"),
    (ACTION | {"ts_record": "2023-10-10T04:37:14"}, "line 2: ts_record is '2023-10-10T04:37:14', without an offset"),
    (ACTION | {"ts_record": "now"}, "line 2: ts_record is 'now', no time"),
    (ACTION | {"ratio_old": "many"}, "line 2: ratio_old is 'many', no number"),
    (ACTION | {"ratio_old": 1e30}, "line 2: ratio_old is '1e+30', no number"),
    (ACTION | {"rate_info": {"gross_dividend": float("nan")}}, "line 2, rate_info: gross_dividend is 'NaN', no number"),
    (ACTION | {"rate_info": 1}, "line 2: rate_info is '1', no object"),
    (ACTION | {"symbol": {"a": 1}}, "line 2: symbol is \"{'a': '1'}\", no text"),
])
def test_a_bad_record_is_named(tmp_path: Path, line: object, found: str) -> None:
    path = written(tmp_path / "a.jsonl", ACTION, line)
    with pytest.raises(QuantLakeError) as error:
        read(path)
    assert f"{path} {found}" in str(error.value)


VALUES: st.SearchStrategy[Any] = st.sampled_from([None, "", "x", "2023-01-02", "2023-01-02T00:00:00Z", 0, 1, -1, 0.5, 1e300, True, [], {}])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(ACTION)), VALUES, max_size=3), max_size=5))
def test_rows_are_the_records_or_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, Any]]) -> None:
    path = written(tmp_path_factory.mktemp("databento") / "a.jsonl", ACTION, *(ACTION | change for change in changes))
    numbers, refused = [], ""
    try:
        numbers = read(path)[corporate_actions.raw]["line_number"].to_list()
    except QuantLakeError as error:
        refused = str(error)
    assert refused.startswith(f"{path} line ") if refused else numbers == list(range(1, len(changes) + 2))
