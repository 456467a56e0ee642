"""The live client's arithmetic: allowances, back-off, continuity of updates, Kraken's checksum, names of symbols and connections."""

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.sources.live import kraken
from quantlake.sources.live import venue as live
from quantlake.sources.live.binance import Continuity
from quantlake.sources.live.binance import Watch as BinanceWatch
from quantlake.sources.live.client import Client, trusting
from quantlake.sources.live.limits import Backoff, Rate, unless
from quantlake.sources.live.venue import Allowance, Wanted
from quantlake_tests.sources.exchange_server import inbound, snapshots

SIDES = st.lists(st.tuples(st.integers(1, 1500), st.integers(0, 9)), max_size=60)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), max_size=40), st.integers(5, 9), st.integers(1, 10))
def test_no_stretch_of_time_exceeds_the_allowance(asks: list[tuple[int, int]], amount: int, seconds: int) -> None:
    now, taken = 0.0, []
    rate = Rate(Allowance(amount, seconds), clock=lambda: now)
    for count, pause in asks:
        now += pause
        wait = rate.delay(count)
        if wait:
            now += wait - 0.001
            assert rate.delay(count) > 0, "it would have been allowed sooner"
            now += 0.001
        while (left := rate.delay(count)) > 0:  # rounding
            assert left < 1e-6
            now += left
        rate.note(count)
        taken.append((now, count))
        assert sum(c for at, c in taken if now - at < seconds - 1e-6) <= amount


def test_a_hold_is_for_everyone() -> None:
    rate = Rate(Allowance(100, 1), clock=lambda: 0.0)
    rate.hold(7)
    rate.hold(3)
    assert rate.delay() == 7


def test_delays_double_to_the_longest_and_start_anew() -> None:
    backoff = Backoff(1, 10)
    for bound in (1, 2, 4, 8, 10, 10):
        assert bound / 2 <= backoff.next() <= bound
    backoff.reset()
    assert backoff.next() <= 1


def test_work_that_is_stopped_is_cancelled() -> None:
    async def main() -> None:
        stop, ended = asyncio.Event(), []

        async def forever() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        asyncio.get_running_loop().call_later(0.01, stop.set)
        assert await unless(stop, forever()) is None and ended == [True]
        assert await unless(asyncio.Event(), asyncio.sleep(0, 5)) == 5

    asyncio.run(main())


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["sent", "sent", "sent", "lost", "twice"])), max_size=30), st.integers(0, 5))
def test_a_gap_is_found_exactly_where_an_update_is_missing(updates: list[tuple[int, str]], behind: int) -> None:
    at, book, found, expected, missing = 100, Continuity(), 0, 0, False
    for count, fate in updates:
        first, at = at, at + count
        if fate == "lost":
            missing = book.last is not None
            continue
        for _ in range(2 if fate == "twice" else 1):
            found += not book.update(first, at - 1)
        expected += missing
        missing = False
    assert found == expected
    if book.first is not None:
        assert book.reaches(book.first - 1) and not book.reaches(book.first - 2 - behind)


def test_the_first_update_after_a_snapshot_has_to_reach_it() -> None:
    for first, last, whole in ((90, 99, True), (90, 105, True), (101, 105, True), (102, 105, False)):
        book = Continuity()
        assert book.reaches(100) and book.update(first, last) is whole, (first, last)


def test_recorded_books_have_no_gap() -> None:
    watch = BinanceWatch([Wanted("book", s) for s in ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")])
    assert not [n for message in inbound("BINANCE.ws.1.0") for n in watch.see(message)]
    for path, body in snapshots().items():
        watch.see_snapshot(path.split("=")[1].split("&")[0], body)


def test_every_recorded_checksum_of_kraken_is_right_and_a_changed_digit_is_not() -> None:
    messages, checked = inbound("KRAKEN.ws.50.0"), 0
    watch = kraken.Watch([])
    for message in messages:
        assert not watch.see(message), message
        checked += '"c":"' in message
    assert checked == 4269
    message = next(m for m in reversed(messages) if '"c":"' in m)
    wrong = message.replace('"c":"', '"c":"1')
    assert [n.kind for n in watch.see(wrong)] == ["resync"]
    assert not watch.see(wrong), "no more is said until the snapshot comes"


@given(SIDES, SIDES, st.booleans())
def test_a_side_is_its_sorted_levels(snapshot: list[tuple[int, int]], changes: list[tuple[int, int]], bids: bool) -> None:
    def text(level: tuple[int, int]) -> tuple[str, str]:
        return f"{level[0] // 100}.{level[0] % 100:02}", f"{level[1]}.0"

    levels = dict(snapshot[:5])
    side = kraken.Side(map(text, levels.items()), bids=bids)
    for price, size in changes:
        side.put(*text((price, size)))
        levels[price] = size
        if not size:
            del levels[price]
    best = sorted(levels.items(), reverse=bids)[:10]
    assert side.digits() == "".join(t.replace(".", "").lstrip("0") for level in best for t in text(level))


def test_a_side_keeps_its_depth() -> None:
    prices = random.Random(1).sample(range(1000, 9999), 1500)
    for bids in (False, True):
        side = kraken.Side([], bids=bids)
        for price in prices:
            side.put(f"{price}", "1.0")
        kept = sorted(prices, reverse=bids)[: kraken.DEPTH]
        for price in kept[: kraken.DEPTH - 10]:
            side.put(f"{price}", "0.0")
        assert side.digits() == "".join(f"{p}10" for p in kept[-10:])


@pytest.mark.parametrize(
    ("name", "spelled"), [("binance", ["BTCUSDT", "DOGEUSD"]), ("coinbase", ["BTC-USDT", "DOGE-USD"]), ("kraken", ["XBT/USDT", "XDG/USD"])]
)
def test_symbols_are_spelled_as_the_exchange_does(name: str, spelled: list[str]) -> None:
    venue = live.venue(name)
    (group,) = live.wanted(venue, " btc-usdt,DOGE/USD,BTC-USDT,", ("trades", "book"))
    assert [w.symbol for w in group if w.channel == "book"] == spelled and len(group) == 4


def test_many_symbols_are_spread_over_connections() -> None:
    for name in live.NAMES:
        venue = live.venue(name)
        groups = live.wanted(venue, ",".join(f"C{i}-USD" for i in range(250)), live.CHANNELS)
        symbols = [list(dict.fromkeys(w.symbol for w in group)) for group in groups]
        assert [len(s) for s in symbols[:-1]] == [venue.symbols] * (len(groups) - 1) and sum(map(len, symbols)) == 250
        assert all(not set(a) & set(b) for a, b in pairwise(symbols))


def nobody(rows: object) -> int:
    raise AssertionError


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: live.venue("nyse"), "no live feed of 'nyse'; there are binance, coinbase, kraken"),
        (lambda: live.channels("trades,books"), "there is no 'books'; there are trades,ticker,book"),
        (lambda: live.channels(" ,"), "--channels names none"),
        (lambda: live.wanted(live.venue("kraken"), ",", ("book",)), "--symbols names none"),
        (lambda: live.wanted(live.venue("kraken"), "BTC-USD/../x", ("book",)), "is no symbol; write BASE-QUOTE"),
        (lambda: live.wanted(live.venue("coinbase"), "BTCUSD", ("book",)), "'BTCUSD' does not say where its base ends"),
        (lambda: Client(live.venue("kraken"), [], nobody, print, url="ws://example.com"), "ws://example.com is not encrypted"),
        (lambda: Client(live.venue("binance"), [], nobody, print, rest_url="http://example.com"), "http://example.com is not encrypted"),
        (lambda: Client(live.venue("kraken"), [], nobody, print, url="example.com"), "write wss://host"),
        (lambda: Client(live.venue("kraken"), [], nobody, print, url="wss://example.com:port"), "is no address"),
        (lambda: trusting(Path(__file__)), "it is to be a PEM file of certificates"),
        (lambda: trusting(Path("/nowhere/ca.pem")), "--ca-file /nowhere/ca.pem: No such file"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[[], object], words: str) -> None:
    with pytest.raises(QuantLakeError, match=words):
        call()
