"""LEAN ticks: recorded trades, quotes and open interest read exactly; sides, clocks, sessions, fractions of milliseconds."""

import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import open_interest, quotes, trades
from quantlake.sources import lean
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import CRYPTO, EQUITY, frame, lines_of, require_counted, zipped


@pytest.mark.parametrize(("symbol", "day", "records"), [
    ("bac", "20131007", 88_172), ("bac", "20131008", 125_872), ("ibm", "20131007", 24_293), ("ibm", "20131008", 33_381),
    ("spy", "20131007", 250_601),
])
def test_recorded_equity_trades(symbol: str, day: str, records: int) -> None:
    path = recorded(f"market/lean_equity_us/tick/{symbol}/{day}_trade.zip")
    rows, lines = frame(trades.raw, lean.read(path)), lines_of(path)
    require_counted(rows)
    assert len(rows) == len(lines) == records
    assert rows["line_number"].to_list() == list(range(1, records + 1))
    assert sum(rows["price"].to_list()) == sum(int(cells[1]) for cells in lines) / Decimal(10_000)
    assert sum(rows["size"].to_list()) == sum(int(cells[2]) for cells in lines)
    assert rows["conditions"].to_list() == [cells[4] or None for cells in lines]
    assert rows["suspicious"].to_list() == [cells[5] == "1" for cells in lines]
    midnight = datetime.strptime(day, "%Y%m%d").replace(tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    assert rows["event_time"].to_list() == rows["known_at"].to_list() == [midnight + timedelta(milliseconds=int(c[0])) for c in lines]
    same = rows.select("source", "venue", "symbol", "size_unit", "side", "event_time_source", "partition_date", "item_index").unique()
    assert same.rows() == [("lean", "usa", symbol.upper(), "shares", "unknown", "file", midnight.date(), 0)]


def test_recorded_equity_quotes_have_one_side_each() -> None:
    path = recorded("market/lean_equity_us/tick/ibm/20131007_quote.zip")
    rows, lines = frame(quotes.raw, lean.read(path)), lines_of(path)
    require_counted(rows)
    assert len(rows) == len(lines) == 109_067
    for side, at in (("bid", 1), ("ask", 3)):
        assert rows[f"{side}_price"].to_list() == [Decimal(c[at]) / 10_000 if c[at] != "0" else None for c in lines]
        assert rows[f"{side}_size"].to_list() == [Decimal(c[at + 1]) if c[at] != "0" else None for c in lines]
    assert rows.select("exchange", "quote_condition").rows() == [(c[5], c[6]) for c in lines]
    assert rows["suspicious"].sum() == sum(c[7] == "1" for c in lines) == 1
    first = rows.row(0, named=True)
    assert (first["event_time"], first["partition_date"]) == (datetime(2013, 10, 7, 8, 0, 0, 54_000, UTC), date(2013, 10, 7))
    assert first["source_name"] == "equity/usa/tick/ibm/20131007/20131007_ibm_quote_tick.csv"


def test_recorded_forex_ticks_of_both_clocks() -> None:
    """FXCM's clock is 5 hours behind UTC, so that a file has two dates; it is crossed and locked as often as it was counted."""
    days = ("20140501", "20140502", "20140504", "20140505", "20140506")
    fxcm = [frame(quotes.raw, lean.read(recorded(f"market/lean_forex/fxcm/tick/eurusd/{day}_quote.zip"))) for day in days]
    for rows in fxcm:
        require_counted(rows)
    dates = [dict(rows.group_by("partition_date").len().sort("partition_date").iter_rows()) for rows in fxcm]
    assert dates[0] == {date(2014, 5, 1): 45_595, date(2014, 5, 2): 5_458}
    assert dates[4] == {date(2014, 5, 6): 95_696, date(2014, 5, 7): 6_986}
    assert fxcm[0]["event_time"][0] == datetime(2014, 5, 1, 5, 0, 1, 787_000, UTC)
    whole = pl.concat(fxcm)
    assert len(whole) == 316_309
    assert whole.filter(pl.col("bid_price") > pl.col("ask_price")).height == 31_212
    assert whole.filter(pl.col("bid_price") == pl.col("ask_price")).height == 37_935
    oanda = frame(quotes.raw, lean.read(recorded("market/lean_forex/oanda/tick/eurusd/20140501_quote.zip")))
    assert (len(oanda), oanda["event_time"][0]) == (24_179, datetime(2014, 5, 1, 0, 0, 0, 292_000, UTC))
    assert oanda["partition_date"].unique().to_list() == [date(2014, 5, 1)]
    assert oanda.row(0, named=True)["bid_price"] == Decimal("1.38676")
    assert oanda.select("venue", "size_unit", "bid_size", "ask_size", "exchange", "suspicious").unique().rows() == [
        ("oanda", "base", None, None, None, None)
    ]


def test_recorded_gold_belongs_to_the_session_that_had_opened() -> None:
    path = recorded("market/lean_futures/comex/tick/gc/20131007_trade.zip")
    rows, lines = frame(trades.raw, lean.read(path)), lines_of(path)
    require_counted(rows)
    assert len(rows) == len(lines) == 40_192
    assert rows["price"].to_list() == [Decimal(c[1]) for c in lines]
    assert rows.filter(pl.col("size") == 0).height == sum(c[2] == "0" for c in lines) == 147
    opens = datetime(2013, 10, 7, 22, tzinfo=UTC)
    expected = pl.when(pl.col("event_time") >= opens).then(date(2013, 10, 8)).otherwise(date(2013, 10, 7))
    assert rows.filter(pl.col("partition_date") != expected).is_empty()
    assert dict(rows["partition_date"].value_counts().iter_rows()) == {date(2013, 10, 7): 39_787, date(2013, 10, 8): 405}
    assert set(rows["symbol"]) == {f"GC{m}" for m in (201310, 201311, 201312, 201402, 201404, 201406, 201408, 201410, 201412, 201512)}
    first = rows.row(0, named=True)
    assert (first["symbol"], first["venue"], first["size_unit"], first["exchange"]) == ("GC201310", "comex", "contracts", "usa")
    assert first["source_name"] == "future/comex/tick/gc/20131007/20131007_gc_tick_trade_201310.csv"
    versions = dict(rows.select("source_name", "source_version").unique().iter_rows())
    assert len(versions) == len(set(versions.values())) == 10


def test_recorded_open_interest() -> None:
    path = recorded("market/lean_futures/comex/tick/gc/20131007_openinterest.zip")
    rows = frame(open_interest.raw, lean.read(path))
    require_counted(rows)
    assert rows["value"].to_list() == [Decimal(c[1]) for c in lines_of(path)]
    assert (len(rows), rows["symbol"].n_unique(), rows["symbol"][0]) == (76, 19, "GC201310")
    assert rows["event_time"][0] == rows["known_at"][0] == datetime(2013, 10, 7, 6, 7, 48, 523_000, UTC)


def test_crypto_takes_its_venue_from_the_folder_and_its_day_from_utc(tmp_path: Path) -> None:
    member = "20161007_btcusd_tick_trade.csv"
    rows = frame(trades.raw, lean.read(zipped(tmp_path / "crypto/Coinbase/tick/btcusd/20161007_trade.zip", member, CRYPTO)))
    assert rows.select("venue", "symbol", "size_unit").unique().rows() == [("coinbase", "BTCUSD", "base")]
    assert rows["size"].to_list() == [Decimal("0.00000001"), Decimal("1.5")]
    assert rows["event_time"][1] == datetime(2016, 10, 7, 23, 59, 59, 999_000, UTC)
    assert rows["source_name"][0] == "crypto/coinbase/tick/btcusd/20161007/20161007_btcusd_tick_trade.csv"
    flagged = frame(trades.raw, lean.read(zipped(tmp_path / "x.zip", member, "1,2,3,1\r\n2,2,3,0\r\n")))
    assert flagged.select("venue", "conditions", "suspicious").rows() == [("crypto", None, True), ("crypto", None, False)]


def test_conditions_are_the_mask_alone_and_what_is_suspicious_has_its_column(tmp_path: Path) -> None:
    first, second = frame(trades.raw, lean.read(zipped(tmp_path / "x.zip", "20131007_ibm_tick_trade.csv", EQUITY))).iter_rows(named=True)
    assert (first["price"], first["conditions"], first["suspicious"]) == (Decimal("181.52"), "20002020", False)
    assert (second["price"], second["conditions"], second["suspicious"]) == (Decimal("181.80005"), None, True)


def test_quotes_of_crypto_and_futures(tmp_path: Path) -> None:
    lines = "0,1.5,2,0,0,1\n1,0,0,1e-05,0,0"
    crypto = frame(quotes.raw, lean.read(zipped(tmp_path / "crypto/x/tick/ab/a.zip", "20161007_ab_tick_quote.csv", lines)))
    columns = ("bid_price", "bid_size", "ask_price", "ask_size", "suspicious")
    assert crypto.select(columns).rows() == [
        (Decimal("1.5"), Decimal(2), None, None, True), (None, None, Decimal("0.00001"), Decimal(0), False)
    ]
    future = zipped(tmp_path / "future/cme/tick/es/a.zip", "20131007_es_tick_quote_201312_20131220.csv", "0,-1.25,2,1.5,3,usa,0")
    assert frame(quotes.raw, lean.read(future)).select(*columns, "exchange", "symbol").rows() == [
        (Decimal("-1.25"), Decimal(2), Decimal("1.5"), Decimal(3), False, "usa", "ES201312")
    ]


def test_a_fraction_of_a_millisecond_is_kept_in_nanoseconds(tmp_path: Path) -> None:
    content = "14400009.3671,1,1,P,1,0\n14400009,1,1,P,1,0"
    rows = frame(trades.raw, lean.read(zipped(tmp_path / "x.zip", "20131007_x_tick_trade.csv", content)))
    assert rows["event_time"][0] == datetime(2013, 10, 7, 8, 0, 0, 9_367, UTC)
    assert rows["event_time_ns"].to_list() == [1_381_132_800_009_367_100, None]


def test_a_day_of_clock_change(tmp_path: Path) -> None:
    autumn = zipped(tmp_path / "a.zip", "20131103_x_tick_trade.csv", "5400000,1,1,P,1,0\n34200000,1,1,P,1,0")
    times = [(time.hour, time.minute) for time in frame(trades.raw, lean.read(autumn))["event_time"]]
    assert times == [(5, 30), (14, 30)]
    spring = zipped(tmp_path / "s.zip", "20130310_x_tick_trade.csv", "1,1,1,P,1,0\n9000000,1,1,P,1,0")
    with pytest.raises(QuantLakeError, match=r"s\.zip: .* line 2: 9000000 ms is no time of 2013-03-10"):
        next(lean.read(spring))


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    assert frame(trades.raw, lean.read(zipped(tmp_path / "a.zip", "20131007_x_tick_trade.csv", ""))).is_empty()


def test_a_version_is_the_content_not_the_compression(tmp_path: Path) -> None:
    first = zipped(tmp_path / "a.zip", "20131007_x_tick_trade.csv", EQUITY)
    second = tmp_path / "b.zip"
    with zipfile.ZipFile(second, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("20131007_x_tick_trade.csv", EQUITY)
    assert first.read_bytes() != second.read_bytes()
    assert frame(trades.raw, lean.read(first)).equals(frame(trades.raw, lean.read(second)))
