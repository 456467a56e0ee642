"""Replay: order, what has no format, what is refused, and that folders do not matter."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from quantlake.contract import QuantLakeError, Stream
from quantlake.sources import replay
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import CRYPTO, EQUITY, ITEM, zipped

Sent = list[tuple[str, pa.Table]]


def replayed(*paths: Path, sent: Sent | None = None) -> Sent:
    sent = [] if sent is None else sent

    def send(stream: Stream, rows: pa.Table) -> int:
        sent.append((stream.path, rows))
        return len(rows)

    replay.replay(replay.plan(paths), send, lambda document: None)
    return sent


def folder(at: Path) -> Path:
    zipped(at / "tick/ibm/20131007_trade.zip", "20131007_ibm_Trade_Tick.csv", EQUITY)
    zipped(at / "minute/20131007_trade.zip", "20140606_ibm_minute_trade_american_call_50_20150117.csv", "1,1,1,1,1,1")
    (at / "feed.json").write_text(json.dumps([ITEM]))
    for name in ("SOURCE.txt", "README.md", ".hidden.csv", "table.csv", "plain"):
        (at / name).write_text("x")
    return at


def test_a_folder_is_replayed_in_order_and_the_rest_is_listed(tmp_path: Path) -> None:
    planned = replay.plan([folder(tmp_path)])
    assert [(path.name, importer.name) for path, importer in planned.files] == [
        ("feed.json", "RSS items"), ("20131007_trade.zip", "LEAN equity tick trades"),
    ]
    assert {kind: [p.name for p in paths] for kind, paths in planned.no_format.items()} == {
        ".csv file": ["table.csv"], "LEAN option minute bars of trades": ["20131007_trade.zip"], "file without a suffix": ["plain"],
    }
    heard: list[tuple[str, int, bool]] = []
    counts = replay.replay(planned, lambda stream, rows: rows.num_rows, lambda document: None, lambda path, n, whole: heard.append((path.name, n, whole)))
    assert {stream.path: n for stream, n in counts.items()} == {"raw/alt/news": 1, "raw/market/trades": 2}
    assert heard == [("feed.json", 1, False), ("feed.json", 1, True), ("20131007_trade.zip", 2, False), ("20131007_trade.zip", 2, True)]


def test_files_of_another_folder_give_the_same_rows(tmp_path: Path) -> None:
    first = replayed(folder(tmp_path / "a"))
    moved = (folder(tmp_path / "b") / "tick/ibm/20131007_trade.zip").rename(tmp_path / "renamed.zip")
    assert replayed(tmp_path / "b", moved) == first


def test_a_recorded_file_of_another_folder_gives_the_same_rows(tmp_path: Path) -> None:
    path = recorded("market/lean_equity_us/tick/ibm/20131007_trade.zip")
    copied = Path(shutil.copy(path, tmp_path / "copy.zip"))
    assert replayed(path) == replayed(copied)


def test_a_file_of_two_streams_and_a_large_one_in_slices() -> None:
    tbbo = recorded("market/databento_dbn/XNAS.ITCH/test_data.tbbo.dbn.zst")
    assert [(path, rows.num_rows) for path, rows in replayed(tbbo)] == [("raw/market/trades", 4), ("raw/market/quotes", 4)]
    large = recorded("market/lean_equity_us/tick/bac/20131008_trade.zip")
    assert [rows.num_rows for _, rows in replayed(large)] == [replay.SLICE_ROWS, 125_872 - replay.SLICE_ROWS]


def test_every_recorded_market_file_has_an_importer_or_a_name() -> None:
    """Captures of exchanges aside."""
    planned = replay.plan([p for p in recorded("market").iterdir() if p.name != "cryptofeed_raw_ws"])
    assert (len(planned.files), sum(importer.name == "CSV bars" for _, importer in planned.files)) == (163, 42)
    assert {kind: len(paths) for kind, paths in planned.no_format.items()} == {
        "Databento definition": 3, "Databento imbalance": 1, "Databento mbo": 2, "Databento mbp-10": 2, "Databento statistics": 1,
        "Databento status": 1,
    }  # fmt: skip


def test_what_is_named_must_be_there_and_have_a_format(tmp_path: Path) -> None:
    folder(tmp_path)
    with pytest.raises(QuantLakeError, match="nowhere: no such file or folder"):
        replay.plan([tmp_path / "nowhere"])
    with pytest.raises(QuantLakeError, match=r"table\.csv: no importer for this format \(\.csv file\)"):
        replay.plan([tmp_path / "table.csv"])
    assert replay.recognise(tmp_path / "table.csv") is None
    assert replay.recognise(tmp_path / "feed.json") is not None


def test_a_corrupt_zip_stops_the_plan_and_a_bad_file_sends_nothing(tmp_path: Path) -> None:
    zipped(tmp_path / "a/1.zip", "20131007_x_tick_trade.csv", EQUITY)
    zipped(tmp_path / "a/2.zip", "20131007_y_tick_trade.csv", CRYPTO + "\nbroken")
    sent: Sent = []
    with pytest.raises(QuantLakeError, match=r"2\.zip: .* line 3 has 1 columns"):
        replayed(tmp_path / "a", sent=sent)
    assert [rows.num_rows for _, rows in sent] == [2]
    (tmp_path / "a/0.zip").write_bytes((tmp_path / "a/1.zip").read_bytes()[:60])
    with pytest.raises(QuantLakeError, match=r"0\.zip is not a whole zip file"):
        replay.plan([tmp_path / "a"])
