"""LEAN tick trades: exact counts and sums of recorded files, both member names, both asset classes, every kind of bad file."""

import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.compute as pc
import pytest

from quantlake.contract import QuantLakeError
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.market import trades
from quantlake.sources import lean
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import CRYPTO, EQUITY, zipped


@pytest.mark.parametrize(("symbol", "day", "records"), [
    ("bac", "20131007", 88_172), ("bac", "20131008", 125_872), ("ibm", "20131007", 24_293), ("ibm", "20131008", 33_381),
    ("spy", "20131007", 250_601),
])
def test_every_record_of_a_recorded_file_is_read_exactly(symbol: str, day: str, records: int) -> None:
    path = recorded(f"market/lean_equity_us/tick/{symbol}/{day}_trade.zip")
    rows = lean.read(path)
    with zipfile.ZipFile(path) as archive:
        lines = [line.split(",") for line in archive.read(archive.namelist()[0]).decode().splitlines()]
    assert rows.schema == wire_arrow(trades.raw)
    assert rows.num_rows == len(lines) == records
    assert pc.unique(rows["source_records"]).to_pylist() == [records]
    assert rows["line_number"].to_pylist() == list(range(1, records + 1))
    assert pc.sum(rows["price"]).as_py() == sum(int(cells[1]) for cells in lines) / Decimal(10_000)
    assert pc.sum(rows["size"]).as_py() == sum(int(cells[2]) for cells in lines)
    assert rows["conditions"].to_pylist() == [cells[4] or None for cells in lines]
    midnight = datetime.strptime(day, "%Y%m%d").replace(tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    last = midnight + timedelta(milliseconds=int(lines[-1][0]))
    assert rows["event_time"][-1].as_py() == rows["known_at"][-1].as_py() == last
    assert pc.unique(rows["partition_date"]).to_pylist() == [midnight.date()]


@pytest.mark.parametrize("member", ["20131007_ibm_Trade_Tick.csv", "20131007_IBM_tick_trade.csv"])
def test_an_equity_file_reads_the_same_wherever_it_lies(tmp_path: Path, member: str) -> None:
    rows = lean.read(zipped(tmp_path / "equity" / "anything.zip", member, EQUITY))
    assert rows.equals(lean.read(zipped(tmp_path / "equity/usa/tick/ibm/20131007_trade.zip", member, EQUITY)))
    first, second = rows.to_pylist()
    assert (first["symbol"], first["venue"], first["exchange"], first["conditions"]) == ("IBM", "usa", "P", "20002020")
    assert first["price"] == Decimal("181.52") and second["price"] == Decimal("181.80005")
    assert second["conditions"] == "|suspicious"
    assert first["source_name"] == f"equity/usa/tick/ibm/20131007/{member.lower()}"
    assert first["event_time"] == datetime(2013, 10, 7, 8, 0, 30, 270_000, UTC)


def test_crypto_takes_its_venue_from_the_folder_and_its_day_from_utc(tmp_path: Path) -> None:
    member = "20161007_btcusd_tick_trade.csv"
    rows = lean.read(zipped(tmp_path / "crypto/Coinbase/tick/btcusd/20161007_trade.zip", member, CRYPTO))
    assert rows["venue"].to_pylist() == ["coinbase"] * 2
    assert rows["symbol"].to_pylist() == ["BTCUSD"] * 2
    assert rows["size"].to_pylist() == [Decimal("0.00000001"), Decimal("1.5")]
    assert rows["event_time"][1].as_py() == datetime(2016, 10, 7, 23, 59, 59, 999_000, UTC)
    assert rows["partition_date"].to_pylist() == [date(2016, 10, 7)] * 2
    assert rows["source_name"][0].as_py() == "crypto/coinbase/tick/btcusd/20161007/20161007_btcusd_tick_trade.csv"
    flagged = lean.read(zipped(tmp_path / "x.zip", member, "1,2,3,1\r\n2,2,3,0\r\n"))
    assert (flagged["venue"][0].as_py(), flagged["conditions"].to_pylist()) == ("crypto", ["|suspicious", None])


def test_a_day_of_clock_change(tmp_path: Path) -> None:
    autumn = lean.read(zipped(tmp_path / "a.zip", "20131103_x_tick_trade.csv", "5400000,1,1,P,1,0\n34200000,1,1,P,1,0"))
    times = [(time.hour, time.minute) for time in autumn["event_time"].to_pylist()]
    assert times == [(5, 30), (14, 30)]
    spring = zipped(tmp_path / "s.zip", "20130310_x_tick_trade.csv", "1,1,1,P,1,0\n9000000,1,1,P,1,0")
    with pytest.raises(QuantLakeError, match=r"s\.zip: .* line 2: 9000000 ms is no time of 2013-03-10"):
        lean.read(spring)


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    assert lean.read(zipped(tmp_path / "a.zip", "20131007_x_tick_trade.csv", "")).num_rows == 0


@pytest.mark.parametrize(("content", "found"), [
    ("1,1,1,P,1,0\n2,1,1,P,1", "line 2 has 5 columns, not 6: '2,1,1,P,1'"),
    ("1,1,1,P,1,0\n\n2,1,1,P,1,0", "line 2 has 1 columns"),
    ("1,1,1,P,1,0\n2,1,abc,P,1,0", "line 2: size cannot be 'abc'"),
    ("1,1,1,P,1,0\n2,,1,P,1,0", "line 2: price cannot be ''"),
    ("1,1,1,P,1,0\n1.5,1,1,P,1,0", "line 2: ms cannot be '1.5'"),
    ("1,1,1,P,zz,0", "line 1: conditions cannot be 'zz'"),
    ("1,1,1,P,1,2", "line 1: suspicious cannot be '2'"),
    ("1١,1,1,P,1,0", "line 1: ms cannot be"),
    ("1,nan,1,P,1,0", "line 1: price cannot be 'nan'"),
    ("86400000,1,1,P,1,0", "line 1: 86400000 ms is no time"),
    ("1,1,1,1,1", "line 1 has 5 columns"),
    (b"1,1,1,P,1,0\n2,1,1,\xff,1,0", "line 2 is not UTF-8"),
])
def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path, content: str | bytes, found: str) -> None:
    path = zipped(tmp_path / "bad.zip", "20131007_x_tick_trade.csv", content)
    with pytest.raises(QuantLakeError) as error:
        lean.read(path)
    assert found in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(("member", "content", "kind"), [
    ("20131007_gc_tick_trade_201310.csv", "4933381,1313.8,1,usa,,0", "LEAN tick trades by contract"),
    ("20131007_bac_Quote_Tick.csv", "1,0,0,140200,500,Q,1,0", "LEAN tick quotes"),
    ("20131007_bac_minute_trade.csv", "25200000,1,1,1,1,1000", "LEAN minute trades"),
    ("bac.csv", "19980102 00:00,1,1,1,1,919900", "LEAN daily or hour bars"),
    ("notes.txt", "hello", "zip"),
])
def test_other_zips_are_named(tmp_path: Path, member: str, content: str, kind: str) -> None:
    assert lean.recognise(zipped(tmp_path / "a.zip", member, content)) == kind


def test_equities_of_another_market_have_another_clock(tmp_path: Path) -> None:
    path = zipped(tmp_path / "equity/india/tick/x/20131007_trade.zip", "20131007_x_tick_trade.csv", EQUITY)
    assert "market india" in str(lean.recognise(path))


def test_a_cut_or_corrupt_zip_is_named(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.zip", "20131007_x_tick_trade.csv", f"{EQUITY}\n" * 500)
    content = whole.read_bytes()
    cut, corrupt, none = tmp_path / "cut.zip", tmp_path / "corrupt.zip", tmp_path / "none.zip"
    cut.write_bytes(content[: len(content) // 2])
    corrupt.write_bytes(content[:100] + bytes(b ^ 0xFF for b in content[100:120]) + content[120:])
    none.write_bytes(b"")
    for path in (cut, none):
        with pytest.raises(QuantLakeError, match=rf"{path.name} is not a whole zip file"):
            lean.recognise(path)
    with pytest.raises(QuantLakeError, match=r"corrupt\.zip: .* cannot be unpacked"):
        recognised = lean.recognise(corrupt)
        assert isinstance(recognised, Importer)
        recognised.read(corrupt)
    assert lean.read(whole).num_rows == 1_000
