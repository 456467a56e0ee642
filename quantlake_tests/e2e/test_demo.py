"""The demo, simulated and over recorded data, as a newcomer runs it."""

import io
import zipfile

import polars as pl
import pytest

from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.recorded import recorded

RECORDS = {
    ("BAC", "2013-10-07"): 88_172, ("BAC", "2013-10-08"): 125_872, ("IBM", "2013-10-07"): 24_293, ("IBM", "2013-10-08"): 33_381,
    ("SPY", "2013-10-07"): 250_601,
}  # fmt: skip


def test_the_demo_is_green_and_leaves_a_home_to_ask(capfd: pytest.CaptureFixture[str]) -> None:
    with commands() as ql:
        shown = ql.run("demo").stdout
        assert "all is as it should be" in shown
        assert "rollup/market/bars_1m" in shown
        home = Commands(ql.home / "demo")
        assert home.sql("select count(*) n from deadletters") == [{"n": 1}]
        first = home.fingerprint("curated/market/trades", "2024-03-05")
        assert "all is as it should be" in ql.run("demo").stdout  # wiped and made again: the same seed, the same content
        assert home.fingerprint("curated/market/trades", "2024-03-05") == first
        (home.home / ".quantlake-demo").unlink()
        assert "was not made by the demo" in ql.error("demo")


def test_recorded_ticks_and_news_arrive_whole() -> None:
    data = recorded("market/lean_equity_us").parents[1]
    with commands() as ql:
        shown = ql.run("demo", "--data", str(data), seconds=280).stdout
        assert "all is as it should be" in shown
        assert "Databento mbp-10" in shown  # what has no format is named
        home = Commands(ql.home / "demo")
        rows = home.sql("select symbol, partition_date, count(*) n from curated_market_trades group by all")
        assert {(r["symbol"], r["partition_date"]): r["n"] for r in rows} == RECORDS
        assert sum(r["n"] for r in home.sql("select count(*) n from raw_alt_news")) == 237
        bars = pl.DataFrame(
            home.sql("select symbol, bar_start, volume::varchar volume, open::double o, high::double h, low::double l, close::double c "
                     "from derived_market_bars_1m")
        )  # fmt: skip
        equal, minutes = _compared(bars)
        assert minutes == 5 * 390
        assert equal["volume"] / minutes >= 0.985, equal
        assert equal["ohlc"] / minutes >= 0.985, equal


def _compared(bars: pl.DataFrame) -> tuple[dict[str, int], int]:
    """Regular minutes whose volume, and whose four prices, equal LEAN's own minute files."""
    parts = []
    for symbol, day in RECORDS:
        path = recorded(f"market/lean_equity_us/minute/{symbol.lower()}/{day.replace('-', '')}_trade.zip")
        with zipfile.ZipFile(path) as archive:
            lean = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), has_header=False, new_columns=["ms", "lo", "lh", "ll", "lc", "lv"])
        midnight = pl.lit(day).str.to_datetime("%Y-%m-%d").dt.replace_time_zone("America/New_York")
        regular = lean.filter(pl.col("ms").is_between(34_200_000, 57_599_999))
        parts.append(regular.with_columns(symbol=pl.lit(symbol), at=(midnight + pl.duration(milliseconds="ms")).dt.convert_time_zone("UTC")))
    ours = bars.with_columns(at=pl.col("bar_start").str.to_datetime(time_zone="UTC", time_unit="us"))
    both = pl.concat(parts).with_columns(pl.col("at").dt.cast_time_unit("us")).join(ours, on=["symbol", "at"], how="left")
    same = both.select(
        volume=(pl.col("volume").cast(pl.Float64) == pl.col("lv")).sum(),
        ohlc=pl.all_horizontal((pl.col(a) * 10_000).round() == pl.col(b) for a, b in zip("ohlc", ("lo", "lh", "ll", "lc"), strict=True)).sum(),
    )
    return same.row(0, named=True), both.height
