"""`quantlake demo --data`: one file of each kind (quick), and all recorded market data (minutes), landed, built, audited and replayed again."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.recorded import recorded

EACH = {
    "lean_equity_us/tick/ibm/20131007_trade.zip": "equity/usa/tick/ibm/20131007_trade.zip",
    "lean_equity_us/minute/ibm/20131007_quote.zip": "equity/usa/minute/ibm/20131007_quote.zip",
    "lean_forex/oanda/tick/eurusd/20140501_quote.zip": "forex/oanda/tick/eurusd/20140501_quote.zip",
    "lean_futures/comex/tick/gc/20131007_openinterest.zip": "future/comex/tick/gc/20131007_openinterest.zip",
    "lean_crypto/coinbase/second/btcusd/20161007_trade.zip": "crypto/coinbase/second/btcusd/20161007_trade.zip",
}
"""Recorded files, and where LEAN's layout has them."""
NO_FORMAT = "expected_counts.json"
BUILT = ("trades", "quotes", "book_deltas", "open_interest", "vendor_bars")


def each_kind(folder: Path) -> Path:
    """A folder with a symbol-day of each kind, a capture, a CSV, a DBN, and a file of no format."""
    market = recorded("market")
    for relative, place in EACH.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(market / relative, folder / place)
    captures = market / "cryptofeed_raw_ws"
    smallest = min((market / "yfinance_price_repair").glob("*.csv"), key=lambda path: path.stat().st_size)  # a date is a build
    for source in (*sorted(captures.glob("BINANCE.ws*"))[:1], *sorted((market / "databento_dbn").rglob("*trades*.dbn.zst"))[:1], smallest):
        shutil.copy(source, folder)
    shutil.copy(captures / NO_FORMAT, folder)
    return folder


def demonstrated(ql: Commands, data: Path, seconds: float) -> tuple[Commands, str]:
    """The home that the demo made, and what it said."""
    done = ql.run("demo", "--data", str(data), seconds=seconds)
    assert "\nall is as it should be, in " in done.stdout and "Traceback" not in done.stderr
    return Commands(ql.home / "demo"), done.stdout + done.stderr


def require_landed(home: Commands, shown: str, files: Sequence[Path]) -> None:
    """Every file is named with its records, and raw has as many rows as all of them."""
    told = dict(re.findall(r"^(/.*): ([\d,]+) records$", shown, re.MULTILINE))
    assert set(told) == {str(path) for path in files}
    sent = sum(int(count.replace(",", "")) for count in told.values())
    status = json.loads(home.run("status", "--json").stdout)
    assert sum(asset["rows"] for asset in status["assets"] if asset["asset"].startswith("raw/")) == sent
    assert home.sql("select count(*) n from deadletters") == [{"n": 0}]


def curated(home: Commands) -> list[dict[str, object]]:
    """Rows and fingerprint of every date of every curated table."""
    held = json.loads(home.run("fingerprint", "--json").stdout)
    return [row for row in held if row["asset"].startswith("curated/")]


def test_one_file_of_each_kind() -> None:
    with commands() as ql:
        folder = each_kind(ql.folder / "files")
        home, shown = demonstrated(ql, folder, 200)
        assert re.search(rf"│ \.json file\s*│\s*1\s*│ {re.escape(str(folder / NO_FORMAT))}", shown), shown
        require_landed(home, shown, [path for path in folder.rglob("*") if path.is_file() and path.name != NO_FORMAT])
        counts = " union all ".join(f"select '{name}' as name, count(*) n from curated_market_{name}" for name in BUILT)
        assert all(row["n"] > 0 for row in home.sql(counts)), counts


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_all_recorded_market_data_and_once_more() -> None:
    """The second replay is of another broker's log: raw has every record twice, curated tables have what they had."""
    data = recorded("market")
    with commands() as ql:
        home, shown = demonstrated(ql, data, 1_500)
        named = [Path(path) for path in re.findall(r"^(/.*): [\d,]+ records$", shown, re.MULTILINE)]
        assert {path.suffix for path in named} >= {".zip", ".gz", ".csv", ".zst"}
        require_landed(home, shown, named)
        assert re.search(r"│ Databento mbp-10[^│]*│\s*\d+\s*│ ", shown), "what has no format is named"
        before, rows = curated(home), home.sql("select count(*) n from raw_market_trades")[0]["n"]
        with home.serving("up"):
            home.run("replay", str(data), seconds=600)
            home.run("refresh", seconds=1_500)
            assert home.run("audit").stdout.rstrip().endswith("\nclean")
        assert home.sql("select count(*) n from raw_market_trades") == [{"n": 2 * rows}]
        assert curated(home) == before
