"""`quantlake bars` and `plot` over one home: what they say of recorded trades, in every form, and what they refuse."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from quantlake.datasets.market import bars as trade_bars
from quantlake.datasets.market.conditions import Policy, updates_ohlc, updates_volume
from quantlake_tests.datasets.answers import curated_trades, regular
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import commands
from quantlake_tests.e2e.in_process import Asked
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import zipped

DAY = "2013-10-07"
TICKS = "market/lean_equity_us/tick/ibm/20131007_trade.zip"
COINS = "crypto/coinbase/tick/ibm/20131007_trade.zip"  # another venue that prints the same symbol
PRICES = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """IBM's ticks of a day as curated, its minutes, and two trades of another venue."""
    source = recorded(TICKS)
    with commands() as found, announced(found):
        folder = found.folder / "files"
        (folder / "equity/usa/tick/ibm").mkdir(parents=True)
        shutil.copy(source, folder / "equity/usa/tick/ibm")
        zipped(folder / COINS, "20131007_ibm_tick_trade.csv", "50400000,7.5,0.25\n50400001,7.25,0.5")
        found.run("replay", str(folder))
        found.run("refresh", "--select", '+key:"derived/market/bars_1m"')
        yield Asked(found)


def expected(interval: str, policy: Policy, *, session: bool) -> list[dict[str, Any]]:
    """Bars of the file by the function alone."""
    printed = curated_trades([recorded(TICKS)])
    if session:
        printed = regular(printed, "event_time")
    judged = printed.with_columns(updates_ohlc=updates_ohlc(policy), updates_volume=updates_volume(policy))
    return trade_bars.from_trades(judged.lazy(), interval).collect().rows(named=True)


def numbers(row: dict[str, Any]) -> list[Decimal | None]:
    return [Decimal(row[c]) if row[c] else None for c in PRICES]


@pytest.mark.parametrize(("policy", "interval", "session"), [("sip", "1m", False), ("lean", "1m", True), ("lean", "1h", False), ("sip", "1d", True)])
def test_each_policy_gives_its_own_bars_exactly(asked: Asked, policy: str, interval: str, session: bool) -> None:
    options = ["--venue", "usa", "--policy", policy, "--interval", interval, *(["--regular"] if session else [])]
    found = asked.rows("bars", "IBM", DAY, *options)
    wanted = expected(interval, Policy(policy), session=session)
    assert [(row["bar_start"], *numbers(row)) for row in found] == [(f"{row['bar_start']:%Y-%m-%dT%H:%M:%SZ}", *numbers(row)) for row in wanted]
    other = expected(interval, Policy.lean if policy == "sip" else Policy.sip, session=session)
    assert [numbers(row) for row in wanted] != [numbers(row) for row in other]


def test_json_csv_and_the_table_say_the_same_in_a_process_of_its_own_too(asked: Asked) -> None:
    hours = ("bars", "IBM", DAY, "--interval", "1h", "--venue", "usa", "--regular")
    found = asked.rows(*hours)
    assert json.loads(asked.ql.run(*hours, "--format", "json").stdout) == found
    assert [row["bar_start"][11:16] for row in found] == ["13:00", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00"]
    parsed = list(csv.DictReader(io.StringIO(asked.text(*hours, "--format", "csv"))))
    assert [[row[c] for c in PRICES] for row in parsed] == [[row[c] for c in PRICES] for row in found]
    table = asked.text(*hours)
    for row in found:
        cells = [f"{Decimal(row[c]).normalize():f}" for c in PRICES]
        assert re.search(r"│ IBM\s*│ usa\s*│ " + row["bar_start"] + "".join(rf" │\s*{re.escape(c)}" for c in cells), table), row


def test_venues_are_told_apart_and_empty_minutes_filled(asked: Asked) -> None:
    both = asked.rows("bars", "IBM", DAY, "--interval", "1d")
    assert [(row["venue"], Decimal(row["volume"])) for row in both if row["venue"] == "coinbase"] == [("coinbase", Decimal("0.75"))]
    assert {row["venue"] for row in both} == {"coinbase", "usa"}
    coins = asked.rows("bars", "IBM", DAY, "--venue", "coinbase", "--interval", "1s", "--fill")
    assert [numbers(row) for row in coins] == [[Decimal("7.5"), Decimal("7.5"), Decimal("7.25"), Decimal("7.25"), Decimal("0.75")]]
    filled = asked.rows("bars", "IBM", DAY, "--venue", "usa", "--fill")
    starts = pl.Series([row["bar_start"] for row in filled]).str.to_datetime(time_zone="UTC")
    assert starts.diff().drop_nulls().n_unique() == 1
    assert sum(Decimal(row["volume"]) for row in filled) == sum(row["volume"] for row in expected("1m", Policy.sip, session=False))


@pytest.mark.parametrize(("arguments", "said"), [
    (["NOPE", DAY], r"curated/market/trades has no NOPE on 2013-10-07; of that date it has IBM \(coinbase\), IBM \(usa\)"),
    (["IBM", DAY, "--venue", "moon"], r"has no IBM of moon on 2013-10-07; of that date it has IBM \(coinbase\), IBM \(usa\)"),
    (["IBM", "2013-10-09"], "has no IBM on 2013-10-09; of that date it has nothing"),
    (["IBM", "7 October"], "'7 October' is no date; write it as 2024-03-05"),
    (["IBM", DAY, "--interval", "5m"], "there are no bars of '5m'; there are 1s, 1m, 1h, 1d"),
    (["IBM", DAY, "--from-vendor", "1s"], "curated/market/vendor_bars has no IBM on 2013-10-07; of that date it has nothing"),
    (["IBM", DAY, "--as-known-at", "yesterday"], "is no time"),
])
def test_what_is_not_there_gets_one_line(asked: Asked, arguments: list[str], said: str) -> None:
    assert re.search(said, asked.error("bars", *arguments))


def test_a_chart_is_a_picture_a_page_of_its_own_or_text(asked: Asked) -> None:
    minutes = ("plot", "market/bars_1m", "--symbol", "IBM", "--date", DAY, "--venue", "usa")
    picture, page = asked.folder / "ibm.png", asked.folder / "ibm.html"
    assert re.fullmatch(rf"wrote {picture}: \d+ bars\n", asked.text(*minutes, "--to", str(picture)))
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert width > 1_000 and height > 500

    asked.text(*minutes, "--to", str(page))
    html = page.read_text()
    markup = re.sub(r"(<(script|style)[^>]*>).*?</\2>", r"\1", html, flags=re.DOTALL)
    assert markup.count("<script") >= 1 and not re.search(r"\b(src|href)\s*=|https?:", markup), markup
    assert not re.search(r"@import|url\(\s*['\"]?http", html)
    assert "market/bars_1m" in html and "bar_start" in html

    shown = asked.ql.run(*minutes).stdout  # the library that draws it writes past what a test can replace
    assert f"IBM, market/bars_1m, {DAY} (UTC)" in shown and "volume" in shown and shown.count("\n") > 25
    highest = max(row["high"] for row in expected("1m", Policy.sip, session=False) if row["high"] is not None)
    assert f"{highest:.2f}" in shown


@pytest.mark.parametrize(("arguments", "said"), [
    (["market/bars_1m", "--symbol", "IBM", "--date", DAY], "of more than one venue: coinbase, usa; give --venue"),
    (["market/bars_1m", "--symbol", "NOPE", "--date", DAY], "has no bar with prices of NOPE on 2013-10-07"),
    (["market/trades", "--symbol", "IBM", "--date", DAY], "'market/trades' is no dataset of bars; there are .*market/bars_1m"),
    (["market/bars_1m", "--symbol", "IBM", "--date", DAY, "--venue", "usa", "--to", "x.gif"], "x.gif is no .png, .svg or .html file"),
    (["market/bars_1m", "--symbol", "IBM", "--date", DAY, "--venue", "usa", "--to", "no/such/x.svg"], "no/such/x.svg cannot be written"),
])
def test_what_cannot_be_drawn_gets_one_line(asked: Asked, arguments: list[str], said: str) -> None:
    assert re.search(said, asked.error("plot", *arguments))
