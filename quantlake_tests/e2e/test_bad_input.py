"""Files as they should not be, through `quantlake replay`: landed whole, or refused in one line that names the file and the line."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract.catalog import Catalog
from quantlake.datasets.market import exchange_messages
from quantlake.datasets.market.trades import raw, trades
from quantlake.exchanges import MODULES
from quantlake.serving.frames import Tables
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import commands
from quantlake_tests.e2e.in_process import Asked
from quantlake_tests.serving.world import platform
from quantlake_tests.sources.files import zipped

MEMBER = "20131007_x_tick_trade.csv"
PLACE = "equity/usa/tick/x"
GOOD = "1,100000,1,P,1,0"
MATCH = '{"type":"match","trade_id":%d,"side":"buy","size":"1","price":"2","product_id":"X-USD","time":"2021-04-17T16:49:0%d.5Z"%s}'


def ticks(folder: Path, name: str, *lines: str | bytes) -> Path:
    return zipped(folder / PLACE / name, MEMBER, b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))


def cut(folder: Path) -> Path:
    path = ticks(folder, "cut.zip", *[GOOD] * 500)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def flipped(folder: Path) -> Path:
    path = ticks(folder, "flipped.zip", *(f"{n},100000,{n},P,1,0" for n in range(500)))
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    return path


def half_a_gzip(folder: Path) -> Path:
    path = folder / "COINBASE.ws.1.0.gz"
    path.write_bytes(gzip.compress(b"1618678142.5: {}\n" * 5_000, mtime=0)[:-20])
    return path


def capture(folder: Path, *lines: bytes) -> Path:
    path = folder / "COINBASE.ws.1.0"
    path.write_bytes(b"\n".join([b"wss://ws-feed.pro.coinbase.com <-> 1618678132.0", *lines]))
    return path


def table(folder: Path, *lines: bytes) -> Path:
    path = folder / "X.csv"
    path.write_bytes(b"\n".join([b"Date,Open,High,Low,Close,Volume", b"2024-01-02,1,1,1,1,1", *lines]))
    return path


REFUSED = {
    "cut zip": (cut, "cut.zip is not a whole zip file"),
    "flipped byte": (flipped, rf"flipped.zip: .*{MEMBER} cannot be unpacked"),
    "ticks not UTF-8": (lambda f: ticks(f, "a.zip", GOOD, b"2,1,1,\xff,1,0"), rf"a.zip: {MEMBER} line 2 is not UTF-8"),
    "a word for a price": (lambda f: ticks(f, "b.zip", GOOD, GOOD, "3,abc,1,P,1,0"), rf"b.zip: {MEMBER} line 3: price cannot be 'abc'"),
    "a column short": (lambda f: ticks(f, "c.zip", GOOD, "2,1,1,P,1"), rf"c.zip: {MEMBER} line 2 has 5 columns, not 6"),
    "past midnight": (lambda f: ticks(f, "d.zip", "86400000,1,1,P,1,0"), rf"d.zip: {MEMBER} line 1: 86400000 ms is no time of 2013-10-07"),
    "cut gzip": (half_a_gzip, r"COINBASE.ws.1.0.gz is not a whole gzip file"),
    "capture not UTF-8": (lambda f: capture(f, b"1618678142.5: {}", b'1618678142.6: "\xff"'), r"COINBASE.ws.1.0 line 3 is not UTF-8"),
    "CSV not UTF-8": (lambda f: table(f, b"2024-01-03,\xff,1,1,1,1"), r"X.csv line 3 is not UTF-8"),
    "CSV with a word": (lambda f: table(f, b"2024-01-03,1,high,1,1,1"), r"X.csv line 3: high cannot be 'high'"),
}


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """A home with a broker, and nothing on it."""
    with commands() as ql, announced(ql):
        yield Asked(ql)


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_by_name_and_nothing_of_it_is_sent(asked: Asked, tmp_path: Path, kind: str) -> None:
    made, said = REFUSED[kind]
    path = made(tmp_path)
    assert re.search(re.escape(str(path.parent)) + "/" + said, asked.error("replay", str(path)))


def test_what_is_odd_but_can_be_read_lands_whole(asked: Asked, tmp_path: Path) -> None:
    """Times out of order, sizes of 0, the same line twice, JSON with a comma too many: a row each; the bad JSON is of no trade."""
    out_of_order = ticks(tmp_path, "odd.zip", "5,100000,1,P,1,0", "3,100000,0,P,1,0", "3,100000,0,P,1,0", "4,100000,2,P,,1")
    messages = capture(tmp_path, *(b"161867814%d.5: " % n + (MATCH % (n, n, comma)).encode() for n, comma in enumerate(("", ",", ""))))
    told = asked.ql.run("replay", str(out_of_order), str(messages)).stderr
    assert f"{out_of_order}: 4 records" in told and f"{messages}: 3 records" in told and "Traceback" not in told
    asked.ql.run("refresh", "--select", '+key:"curated/market/trades"')
    tables = Tables(Catalog((raw, exchange_messages.raw, trades)), platform(Iceberg.embedded(asked.ql.home / "lake", asked.ql.home / "locks")))
    assert [tables.table(path).collect().height for path in (raw.path, exchange_messages.raw.path)] == [4, 3], "nothing of a refused file"
    found = tables.table(trades.path).collect()
    shares = found.filter(pl.col("venue") == "usa").sort("line_number")
    assert shares["event_time"].dt.microsecond().to_list() == [5_000, 3_000, 3_000, 4_000]
    late = "out_of_order"
    assert shares["flags"].to_list() == [[], ["zero_size", late], ["zero_size", late], ["suspicious", late]]
    assert found.filter(pl.col("venue") == MODULES["coinbase_pro"].VENUE)["trade_id"].sort().to_list() == ["0", "2"]
