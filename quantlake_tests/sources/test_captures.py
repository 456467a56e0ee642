"""Captures: every line accounted for, receipt to the microsecond, payloads verbatim, and whose capture a file is."""

import gzip
import hashlib
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.market import exchange_messages
from quantlake.sources import captures, replay
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded

FOLDER = "market/cryptofeed_raw_ws"
OPENED = "wss://ws.kraken.com <-> 1618678132.368463\n"


def read(path: Path) -> list[dict[str, Any]]:
    tables = list(captures.read(path))
    assert all(stream is exchange_messages.raw and table.schema == wire_arrow(stream) for stream, table in tables)
    return pa.concat_tables([table for _, table in tables]).to_pylist() if tables else []


def capture(folder: Path, text: str | bytes, name: str = "KRAKEN.ws.1.0") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_recorded_file_is_known_and_every_line_is_a_row_or_no_data() -> None:
    files = [path for path in sorted(recorded(FOLDER).iterdir()) if path.name.endswith(".gz")]
    assert len(files) == 19
    for path in files:
        assert isinstance(captures.recognise(path), Importer), path
        lines = gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")
        data = {i: line for i, line in enumerate(lines, 1) if re.match(r"[0-9.]+: |\S+ -> [0-9.]+: ", line)}
        rows = read(path)
        assert [(row["line_number"], row["payload"]) for row in rows] == [(i, line.split(": ", 1)[1]) for i, line in data.items()]
        assert all(re.match(r"|\s|\S+ <-|configuration: ", line) for i, line in enumerate(lines, 1) if i not in data)
        assert {row["source_version"] for row in rows} == {hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}


def test_the_folder_of_captures_has_an_importer_for_each_and_none_for_the_answers() -> None:
    planned = replay.plan([recorded(FOLDER)])
    assert len(planned.files) == 19
    assert {importer.name for _, importer in planned.files} == {"exchange captures"}
    assert sorted(path.name for paths in planned.no_format.values() for path in paths) == sorted(
        ["expected_counts.json", *(f"{v}.jsonl.gz" for v in ("BINANCE", "BITMEX", "BITSTAMP", "GEMINI", "KRAKEN"))]
    )


def test_a_message_has_what_its_line_and_its_connection_say(tmp_path: Path) -> None:
    (row,) = read(capture(tmp_path, OPENED + '1618678142.5928559: [993,[["354.1","0.8","1618678142.5","s","l",""]],"trade","XMR/USD"]'))
    name = "capture/kraken/20210417T164902592855Z/KRAKEN.ws.1.0"
    received = datetime(2021, 4, 17, 16, 49, 2, 592_855, UTC)
    assert row == {
        "source": "kraken_v1", "venue": "kraken", "channel": "trade", "url": "wss://ws.kraken.com", "transport": "websocket",
        "connection_id": name, "message_key": f"{name}:2", "receive_time": received, "known_at": received,
        "payload": '[993,[["354.1","0.8","1618678142.5","s","l",""]],"trade","XMR/USD"]', "partition_date": date(2021, 4, 17),
        "source_name": name, "source_version": row["source_version"], "source_records": None, "line_number": 2,
    }  # fmt: skip


def test_an_answer_has_its_requests_url_and_names_its_path_and_query(tmp_path: Path) -> None:
    text = "https://api.binance.com/api/v3/depth?symbol=NKNUSDT&limit=1000 -> 1633998512.320639: {}\n\n"
    (row,) = read(capture(tmp_path, text, "BINANCE.http.0.0"))
    assert (row["transport"], row["channel"], row["payload"]) == ("rest", "/api/v3/depth?symbol=NKNUSDT&limit=1000", "{}")
    assert row["url"] == "https://api.binance.com/api/v3/depth?symbol=NKNUSDT&limit=1000"
    assert row["connection_id"] == row["source_name"]


def test_several_connections_and_answers_of_one_file_are_told_apart(tmp_path: Path) -> None:
    again = "wss://ws.kraken.com/again <-> 1618678140.0\n"
    asked = "https://api.kraken.com/0/x -> 1618678141.0: {}\n"
    rows = read(capture(tmp_path, f"{OPENED}1618678133.0: a\n{again}{asked}1618678142.0: b\n"))
    assert [row["connection_id"].removeprefix(row["source_name"]) for row in rows] == ["", "#rest", "#2"]
    assert [row["url"] for row in rows] == ["wss://ws.kraken.com", "https://api.kraken.com/0/x", "wss://ws.kraken.com/again"]
    assert len({row["source_name"] for row in rows}) == 1


def test_payloads_are_verbatim_in_the_files_order_and_need_not_be_json(tmp_path: Path) -> None:
    payloads = ['{"a":1,}', "", ' {"type" : "é\\u00e9 🜚"} ', "5: 6: 7", "\x00\x85\u2028", '{"event":"heartbeat"}']
    text = "".join(f"{1618678142 - i}.5: {payload}\r\n" for i, payload in enumerate(payloads))
    rows = read(capture(tmp_path, text))
    assert [row["payload"] for row in rows] == payloads
    assert [row["channel"] for row in rows] == [None] * 5 + ["heartbeat"]
    assert [row["url"] for row in rows] == [None] * 6


def test_the_date_is_that_of_receipt(tmp_path: Path) -> None:
    rows = read(capture(tmp_path, "1618703999.9999999: a\n1618704000.0: b\n"))
    assert [row["partition_date"] for row in rows] == [date(2021, 4, 17), date(2021, 4, 18)]


def test_a_gzipped_file_is_the_same_file(tmp_path: Path) -> None:
    text = OPENED + "1618678142.5: {}\n"
    assert read(capture(tmp_path, gzip.compress(text.encode()), "KRAKEN.ws.1.0.gz")) == read(capture(tmp_path, text))


@pytest.mark.parametrize("text", ["", "\n\n", OPENED, 'configuration: {"trades":[]}\n'])
def test_a_file_without_messages_has_no_rows(tmp_path: Path, text: str) -> None:
    assert read(capture(tmp_path, text)) == []


@pytest.mark.parametrize(("text", "line"), [
    ("1618678142.5: {}\nsomething else\n", 2), ("1618678142.5 {}\n", 1), ("1618678142.5: {}\n16186781", 2), (": {}\n", 1),
    ("wss://x <- 1618678142.5\n", 1), ("1618678142.5: {}\n1618678142.5:{}\n", 2), ("99999999999999.5: {}\n", 1), ("-1.5: {}\n", 1),
    ("1618678142.5: {}\n\n https://x -> 1618678142.5: {}\n", 3),
])  # fmt: skip
def test_a_line_of_no_form_refuses_the_file_by_name_and_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(QuantLakeError, match=rf"KRAKEN\.ws\.1\.0 line {line} is no line of a capture"):
        read(capture(tmp_path, text))


def test_bytes_that_are_no_text_and_a_cut_file_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError, match=r"KRAKEN\.ws\.1\.0 line 2 is not UTF-8"):
        read(capture(tmp_path, b"1618678142.5: {}\n1618678142.6: \xff\n"))
    cut = gzip.compress(b"1618678142.5: {}\n" * 1000)[:-20]
    path = capture(tmp_path, cut, "KRAKEN.ws.2.0.gz")
    assert isinstance(captures.recognise(path), Importer)
    with pytest.raises(QuantLakeError, match=r"KRAKEN\.ws\.2\.0\.gz is not a whole gzip file"):
        read(path)


@pytest.mark.parametrize(("name", "text", "known"), [
    ("KRAKEN.ws.48.0", "1618678142.5: {}", True),
    ("KRAKEN.0", "broken", True), ("KRAKEN-1a2b3c.12.gz", "broken", True), ("KRAKEN.symbol.0", "broken", True),
    ("BIT.COM.ws.1.0", "1618678142.5: {}", "exchange capture of BIT.COM"),
    ("mine.log", "1618678142.5: {}\nwss://ws.kraken.com <- 1618678142.6: {}\n", True),
    ("mine.log", "\n" + OPENED, True),
    ("BINANCE_FUTURES.ws.1.0", "wss://fstream.binance.com/stream <-> 1618678142.5\n", "exchange capture of BINANCE_FUTURES"),
    ("BYBIT.ws.1.0", "wss://stream.bybit.com/v5/public/linear <-> 1618678142.5\n", "exchange capture of BYBIT by another version of its interface than is known"),
    ("KRAKEN.ws.1.0", "wss://ws.kraken.com/v2 <-> 1618678142.5\n", "exchange capture of KRAKEN by another version of its interface than is known"),
    ("mine.log", "wss://ws.okx.com:8443/ws <-> 1618678142.5\n", "exchange capture of ws.okx.com"),
    ("mine.log", "1618678142.5: {}", "exchange capture of a venue that it does not name"),
    ("notes.0", "2021: a year", None), ("OTHER.0", "1,2,3\n", None), ("mine.log", "configuration: yaml\n", None), ("mine.bin", "\x1f\x8b", None),
])  # fmt: skip
def test_whose_capture_a_file_is(tmp_path: Path, name: str, text: str, known: bool | str | None) -> None:
    found = captures.recognise(capture(tmp_path, text, name))
    assert isinstance(found, Importer) if known is True else found == known


def test_a_file_that_names_no_venue_is_that_of_its_host(tmp_path: Path) -> None:
    (row,) = read(capture(tmp_path, OPENED + "1618678142.5: {}\n", "mine.log"))
    assert (row["source"], row["source_name"]) == ("kraken_v1", "capture/kraken/20210417T164902500000Z/mine.log")


STAMPS = st.integers(0, 2_000_000_000_000_000).map(lambda m: f"{m // 1_000_000}.{m % 1_000_000:06}")
TEXTS = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=20)
URLS = st.sampled_from(["wss://ws.kraken.com", "https://api.kraken.com/0/public/Depth?pair=XBTUSD"])
DATA = st.builds("{}: {}".format, STAMPS, TEXTS) | st.builds("{} -> {}: {}".format, URLS, STAMPS, TEXTS)
NO_DATA = (
    st.builds("{} <-> {}".format, URLS, STAMPS) | st.builds("{} <- {}: {}".format, URLS, STAMPS, TEXTS)
    | TEXTS.map("configuration: {}".format) | st.text(" \t", max_size=2)
)  # fmt: skip
BROKEN = TEXTS.filter(lambda t: t.strip() and not t.startswith("configuration: ") and not re.match(r"[0-9]+(\.[0-9]+)?: |\S+ <?-", t))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DATA.map(lambda t: ("data", t)) | NO_DATA.map(lambda t: ("no data", t)), max_size=30), st.none() | BROKEN, st.data())
def test_rows_and_no_data_and_rejects_are_all_lines(tmp_path: Path, lines: list[tuple[str, str]], broken: str | None, data: st.DataObject) -> None:
    if broken is not None:
        at = data.draw(st.integers(0, len(lines)))
        path = capture(tmp_path, "\n".join(text for _, text in [*lines[:at], ("broken", broken), *lines[at:]]))
        with pytest.raises(QuantLakeError, match=rf"line {at + 1} is no line of a capture"):
            read(path)
        return
    rows = read(capture(tmp_path, "\n".join(text for _, text in lines)))
    assert [row["line_number"] for row in rows] == [i for i, (kind, _) in enumerate(lines, 1) if kind == "data"]
    for row in rows:
        stamp, payload = re.fullmatch(r"(?s)(?:\S+ -> )?([0-9.]+): (.*)", lines[row["line_number"] - 1][1]).groups()
        whole, micros = stamp.split(".")
        assert row["receive_time"] == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(whole), microseconds=int(micros))
        assert row["payload"] == payload
