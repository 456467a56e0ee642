"""LEAN zips: what is recognised where it lies, whose market and clock a file has, every kind of bad file."""

import zipfile
from pathlib import Path

import pytest

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import trades, vendor_bars
from quantlake.sources import lean
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import EQUITY, frame, table, zipped, zipped_all

TRADE_BAR, QUOTE_BAR = "0,1.5,2,1,1.5,3.5", "0,1,2,1,2,3,1.1,2.1,1.1,2.1,4"


def test_every_recorded_zip_has_an_importer() -> None:
    names = {}
    for path in sorted(recorded("market").glob("lean_*/**/*.zip")):
        found = lean.recognise(path)
        assert isinstance(found, Importer), f"{path}: {found}"
        names[found.name] = names.get(found.name, 0) + 1
    assert names == {
        "LEAN crypto daily bars of trades": 1, "LEAN crypto minute bars of quotes": 4, "LEAN crypto minute bars of trades": 6,
        "LEAN crypto second bars of trades": 2, "LEAN equity daily bars of trades": 3, "LEAN equity hour bars of trades": 3,
        "LEAN equity minute bars of quotes": 9, "LEAN equity minute bars of trades": 9, "LEAN equity second bars of quotes": 6,
        "LEAN equity second bars of trades": 6, "LEAN equity tick quotes": 4, "LEAN equity tick trades": 5,
        "LEAN forex minute bars of quotes": 10, "LEAN forex second bars of quotes": 10, "LEAN forex tick quotes": 10,
        "LEAN future minute bars of open interest": 2, "LEAN future minute bars of trades": 2, "LEAN future tick open interest": 2,
        "LEAN future tick trades": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("path", "member", "line", "name"), [
    ("equity/usa/minute/ibm/20131007_trade.zip", "20131007_ibm_minute_trade.csv", "0,1,1,1,1,1", "LEAN equity minute bars of trades"),
    ("lean_equity_us/minute/ibm/20131007_trade.zip", "20131007_ibm_minute_trade.csv", "0,1,1,1,1,1", "LEAN equity minute bars of trades"),
    ("x.zip", "20131007_ibm_minute_trade.csv", "0,10,10,10,10,100", "LEAN equity minute bars of trades"),
    ("x.zip", "20131007_ibm_minute_quote.csv", "0,10,10,10,10,1,11,11,11,11,1", "LEAN equity minute bars of quotes"),
    ("x.zip", "20161007_btcusd_minute_trade.csv", TRADE_BAR, "LEAN crypto minute bars of trades"),
    ("x.zip", "20161007_btcusd_tick_quote.csv", "0,1,2,3,4", "LEAN crypto tick quotes"),
    ("CRYPTO/Binance/Minute/btcusdt/20161007_trade.zip", "20161007_btcusdt_minute_trade.csv", "0,1,1,1,1,1", "LEAN crypto minute bars of trades"),
    ("coinbase/second/btcusd/x.zip", "20161007_btcusd_second_trade.csv", "0,1,1,1,1,1", "LEAN crypto second bars of trades"),
    ("oanda/minute/eurusd/x.zip", "20140501_eurusd_minute_quote.csv", QUOTE_BAR, "LEAN forex minute bars of quotes"),
    ("my-futures/comex/tick/gc/x.zip", "20131007_gc_tick_quote_201312.csv", "0,1,2,3,4,,0", "LEAN future tick quotes"),
    ("future/cme/tick/es/x.zip", "20131007_es_tick_quote_201312_20131220.csv", "0,1,2,3,4,,,0", "LEAN future tick quotes"),
    ("future/cme/daily/es_trade.zip", "es_trade_201312.csv", "20131007 00:00,1,1,1,1,1", "LEAN future daily bars of trades"),
    ("equity/usa/hour/ibm.zip", "ibm.csv", "20131007 00:00,1,1,1,1,1", "LEAN equity hour bars of trades"),
    ("x.zip", "ibm.csv", "20131007 09:00,1,1,1,1,1", "LEAN equity hour bars of trades"),
    ("x.zip", "ibm.csv", "20131007 00:00,1,1,1,1,1", "LEAN equity daily bars of trades"),
])
def test_a_file_is_known_by_its_folders_or_its_content(tmp_path: Path, path: str, member: str, line: str, name: str) -> None:
    found = lean.recognise(zipped(tmp_path / path, member, line))
    assert isinstance(found, Importer) and found.name == name
    assert sum(part.num_rows for _, part in found.read(tmp_path / path)) == (2 if "bars of quotes" in name else 1)


@pytest.mark.parametrize(("path", "member", "line", "kind"), [
    ("x.zip", "notes.txt", "hello", "zip"),
    ("x.zip", "notes.csv", "a,b", "zip"),
    ("x.zip", "20140606_aapl_minute_trade_american_call_5000000_20150117.csv", "0,1,1,1,1,1", "LEAN option minute bars of trades"),
    ("cfd/oanda/minute/xauusd/x.zip", "20140501_xauusd_minute_quote.csv", QUOTE_BAR, "LEAN cfd minute bars of quotes"),
    ("equity/india/tick/x/20131007_trade.zip", "20131007_x_tick_trade.csv", EQUITY,
     "LEAN equity tick trades of the market india, whose clock is not known"),
    ("future/eurex/tick/fesx/x.zip", "20131007_fesx_tick_trade_201312.csv", "0,1,1,,,0",
     "LEAN future tick trades of the market eurex, whose clock is not known"),
    ("forex/dukascopy/tick/eurusd/x.zip", "20140501_eurusd_tick_quote.csv", "0,1,2",
     "LEAN forex tick quotes of the market dukascopy, whose clock is not known"),
    ("x.zip", "20140501_eurusd_tick_quote.csv", "0,1,2",
     "LEAN forex tick quotes of a market that the path does not say; expected is <asset class>/<market>/tick/<symbol>/x.zip"),
    ("x.zip", "20131007_gc_tick_trade_201312.csv", "0,1,1,,,0",
     "LEAN future tick trades of a market that the path does not say; expected is <asset class>/<market>/tick/<symbol>/x.zip"),
    ("x.zip", "20140501_eurusd_minute_quote.csv", QUOTE_BAR,
     "LEAN minute bars of quotes of an asset class that neither path nor content says; expected is <asset class>/<market>/minute/<symbol>/x.zip"),
    ("x.zip", "20140501_btcjpy_minute_trade.csv", "0,1,1,1,1,1",
     "LEAN minute bars of trades of an asset class that neither path nor content says; expected is <asset class>/<market>/minute/<symbol>/x.zip"),
])
def test_what_cannot_be_known_is_named_and_not_guessed(tmp_path: Path, path: str, member: str, line: str, kind: str) -> None:
    zipped(tmp_path / path, member, line)
    assert lean.recognise(tmp_path / path) == kind
    with pytest.raises(QuantLakeError, match="no importer for this format"):
        next(lean.read(tmp_path / path))


@pytest.mark.parametrize("member", ["20131007_ibm_Trade_Tick.csv", "20131007_IBM_tick_trade.csv"])
def test_an_equity_file_reads_the_same_wherever_it_lies(tmp_path: Path, member: str) -> None:
    rows = table(trades.raw, lean.read(zipped(tmp_path / "equity" / "anything.zip", member, EQUITY)))
    assert rows.equals(table(trades.raw, lean.read(zipped(tmp_path / "equity/usa/tick/ibm/20131007_trade.zip", member, EQUITY))))
    assert rows["source_name"][0].as_py() == f"equity/usa/tick/ibm/20131007/{member.lower()}"


def test_daily_quotes_are_no_edition_of_daily_trades(tmp_path: Path) -> None:
    at = tmp_path / "crypto/coinbase/daily"
    traded = frame(vendor_bars.raw, lean.read(zipped(at / "btcusd_trade.zip", "btcusd.csv", "20161007 00:00,1,1,1,1,1")))
    quoted = frame(vendor_bars.raw, lean.read(zipped(at / "btcusd_quote.zip", "btcusd.csv", "20161007 00:00" + ",1" * 10)))
    assert traded["source_name"].to_list() == ["crypto/coinbase/daily/btcusd/btcusd.csv"]
    assert quoted["source_name"].unique().to_list() == ["crypto/coinbase/daily/btcusd/quote/btcusd.csv"]
    forex = zipped(tmp_path / "forex/oanda/daily/eurusd.zip", "eurusd.csv", "20161007 00:00" + ",1" * 10)
    assert frame(vendor_bars.raw, lean.read(forex))["source_name"][0] == "forex/oanda/daily/eurusd/eurusd.csv"


@pytest.mark.parametrize(("content", "found"), [
    ("1,1,1,P,1,0\n2,1,1,P,1", "line 2 has 5 columns, not 6: '2,1,1,P,1'"),
    ("1,1,1,P,1,0\n\n2,1,1,P,1,0", "line 2 has 1 columns"),
    ("1,1,1,P,1,0\n2,1,abc,P,1,0", "line 2: size cannot be 'abc'"),
    ("1,1,1,P,1,0\n2,1,-5,P,1,0", "line 2: size cannot be '-5'"),
    ("1,1,1,P,1,0\n2,,1,P,1,0", "line 2: price cannot be ''"),
    ("1,1,1,P,1,0\n1.,1,1,P,1,0", "line 2: ms cannot be '1.'"),
    ("1,1,1,P,zz,0", "line 1: conditions cannot be 'zz'"),
    ("1,1,1,P,1,2", "line 1: suspicious cannot be '2'"),
    ("1١,1,1,P,1,0", "line 1: ms cannot be"),
    ("1,nan,1,P,1,0", "line 1: price cannot be 'nan'"),
    ("1,1,1,P,1,0\n1,0.000000000000001,1,P,1,0", "line 2: decimal(38,18) cannot hold 0.000000000000001 exactly"),
    ("1,1,1e30,P,1,0", "line 1: 1e30 is too large"),
    ("86400000,1,1,P,1,0", "line 1: 86400000 ms is no time of 2013-10-07"),
    ("1,1,1,1,1", "line 1 has 5 columns"),
    (b"1,1,1,P,1,0\n2,1,1,\xff,1,0", "line 2 is not UTF-8"),
])
def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path, content: str | bytes, found: str) -> None:
    path = zipped(tmp_path / "equity/usa/tick/x/bad.zip", "20131007_x_tick_trade.csv", content)
    with pytest.raises(QuantLakeError) as error:
        next(lean.read(path))
    assert found in str(error.value) and str(path) in str(error.value)


def test_a_date_that_is_none_and_a_member_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError, match="20131307 in its name is no date"):
        next(lean.read(zipped(tmp_path / "a.zip", "20131307_x_tick_trade.csv", EQUITY)))
    for other in ("notes.txt", "20131007_gc_tick_quote_201312.csv"):
        path = zipped_all(tmp_path / f"future/comex/tick/gc/{other}.zip", {"20131007_gc_tick_trade_201312.csv": "0,1,1,,,0", other: ""})
        with pytest.raises(QuantLakeError, match=f"its member 20131007_gc_tick_trade_201312.csv is .*, but {other} is"):
            lean.recognise(path)


def test_nothing_is_read_of_a_zip_whose_last_member_is_bad(tmp_path: Path) -> None:
    members = {"20131007_gc_tick_trade_201312.csv": "0,1,1,,,0", "20131007_gc_tick_trade_201402.csv": "0,1,1,,,0\nx"}
    rows = lean.read(zipped_all(tmp_path / "future/comex/tick/gc/20131007_trade.zip", members))
    with pytest.raises(QuantLakeError, match=r"201402\.csv line 2 has 1 columns"):
        next(rows)


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
        next(lean.read(corrupt))
    assert table(trades.raw, lean.read(whole)).num_rows == 1_000
    with zipfile.ZipFile(whole) as archive:
        assert len(archive.namelist()) == 1
