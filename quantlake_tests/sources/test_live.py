"""The live client against a loopback exchange that plays recorded messages and misbehaves: what is received, asked again, counted and said."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quantlake.contract import QuantLakeError
from quantlake.sources.live import venue as live
from quantlake.sources.live.client import Client
from quantlake.sources.live.limits import Tuning
from quantlake_tests.servers.certificates import Authority
from quantlake_tests.sources.exchange_server import Answer, Await, Cut, ExchangeServer, Pause, Ping, answering, inbound, snapshots

if TYPE_CHECKING:
    import pyarrow as pa

SECONDS = 20.0
SOON = Tuning(batch_seconds=0.02, first_delay=0.02, longest_delay=0.2, close_seconds=0.3, grace_seconds=0.5, resync_seconds=0.05)
NKN = "/api/v3/depth?symbol=NKNUSDT&limit=1000"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Received:
    """What a client handed on, and what it said."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.said: list[str] = []

    def send(self, rows: pa.Table) -> int:
        self.tables.append(rows)
        return rows.num_rows

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.tables for row in table.to_pylist()]

    def payloads(self, transport: str = "websocket") -> list[str]:
        return [r["payload"] for r in self.rows if r["transport"] == transport]


def run(client: Client, until: Callable[[], bool], seconds: float = SECONDS) -> float:
    """Run a client until something is so, then stop it; how long the stop took."""

    async def main() -> float:
        stop = asyncio.Event()
        running = asyncio.ensure_future(client.run(stop))
        deadline = time.monotonic() + seconds
        while not until() and not running.done() and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        met, asked = until(), time.monotonic()
        stop.set()
        await running
        assert met, client.stats
        return time.monotonic() - asked

    return asyncio.run(main())


def client_of(
    server: ExchangeServer, name: str, symbols: str, received: Received, *, authority: Authority | None = None, channels: str = "trades,ticker,book",
    tuning: Tuning = SOON, send: Callable[[pa.Table], int] | None = None, **changed: Any,
) -> Client:  # fmt: skip
    venue = replace(live.venue(name), **changed)
    return Client(
        venue, live.wanted(venue, symbols, live.channels(channels)), send or received.send, received.said.append, url=server.url,
        rest_url=server.rest_url, ca_file=authority and authority.file, tuning=tuning,
    )  # fmt: skip


def test_every_message_is_a_row_verbatim_and_in_order(authority: Authority) -> None:
    messages, books, received = inbound("BINANCE.ws.1.0"), snapshots(), Received()
    with ExchangeServer([messages], answering(books), authority.issue("exchange")) as server:
        client = client_of(server, "binance", "NKN-USDT,BLZ-ETH,lrc/btc,RUNEEUR", received, authority=authority)
        run(client, lambda: client.stats.acknowledged == 265 + 4)
        assert server.connections[0].path == "/stream?streams=" + "/".join(
            f"{s}@{c}" for s in ("nknusdt", "blzeth", "lrcbtc", "runeeur") for c in ("aggTrade", "bookTicker", "depth@100ms")
        )
        url, rest_url = server.url, server.rest_url
    assert received.payloads() == messages and received.payloads("rest") == list(books.values())
    streamed, asked = ([r for r in received.rows if r["transport"] == t] for t in ("websocket", "rest"))
    for rows, suffix in ((streamed, ""), (asked, "/rest")):
        assert {r["connection_id"] for r in rows} == {streamed[0]["connection_id"] + suffix}
        assert [r["line_number"] for r in rows] == list(range(1, len(rows) + 1))
        assert all(r["message_key"] == f"{r['source_name']}:{r['line_number']}" and r["source_name"] == r["connection_id"] for r in rows)
        assert all(r["known_at"] == r["receive_time"] and r["partition_date"] == r["receive_time"].date() for r in rows)
        assert {(r["source"], r["venue"], r["source_version"], r["source_records"]) for r in rows} == {("binance_v3", "binance", None, None)}
    assert streamed[0]["connection_id"].startswith("live/binance/") and {r["url"] for r in streamed} == {f"{url}/stream"}
    assert [(r["channel"], r["url"]) for r in asked] == [(path, rest_url + path) for path in books]
    assert (client.stats.gaps, client.stats.errors, client.stats.lost, client.stats.lag_seconds) == (0, 0, 0, 0.0)


def test_a_cut_connection_is_opened_again_and_pings_are_answered(authority: Authority) -> None:
    messages, received = inbound("COINBASE.ws.28.0"), Received()
    scripts = [[*messages[:4000], Ping(), messages[3999], Cut()], [Await("subscribe"), Pause(0.1), *messages[4000:]]]
    with ExchangeServer(scripts, certificate=authority.issue("exchange")) as server:
        client = client_of(server, "coinbase", "SKL-USD,band-gbp", received, authority=authority)
        run(client, lambda: client.stats.acknowledged == len(messages) + 1)
        first, second = server.connections
        assert received.payloads() == server.sent and first.pongs == 1
        subscription = '{"type":"subscribe","product_ids":["SKL-USD","BAND-GBP"],"channels":["matches","ticker","level2_batch","heartbeat"]}'
        assert first.said == second.said == [subscription]
    assert len({r["connection_id"] for r in received.rows}) == 2 and len({r["message_key"] for r in received.rows}) == len(messages) + 1
    assert (client.stats.reconnects, client.stats.lost) == (1, 0)
    assert any("connecting again in" in said for said in received.said)


def test_silence_ends_a_connection(authority: Authority) -> None:
    received = Received()
    with ExchangeServer([inbound("KRAKEN.ws.49.0")[:5]]) as server:
        client = client_of(server, "kraken", "XMR-USD", received, silence_seconds=0.2)
        run(client, lambda: client.stats.acknowledged == 15)
    assert client.stats.reconnects >= 2 and any("nothing was received for 0.2 s" in said for said in received.said)


def test_a_lost_depth_update_asks_for_a_new_snapshot_and_a_repeat_does_not() -> None:
    messages = [m for m in inbound("BINANCE.ws.1.0") if "nknusdt@depth" in m]
    received = Received()
    script = [*messages[:5], messages[4], Pause(0.2), *messages[6:9]]  # one repeated, one dropped
    with ExchangeServer([script], answering(snapshots())) as server:
        client = client_of(server, "binance", "NKN-USDT", received)
        run(client, lambda: client.stats.acknowledged == 9 + client.stats.snapshots and client.stats.snapshots >= 2)
        assert [path for _, path in server.requests][:2] == [NKN, NKN]
    assert client.stats.gaps == 1 and client.stats.messages == 9 + client.stats.snapshots
    assert any("gap: NKNUSDT: updates" in said for said in received.said), received.said


def test_a_snapshot_that_does_not_reach_the_updates_is_asked_for_again() -> None:
    messages, body = [m for m in inbound("BINANCE.ws.1.0") if "nknusdt@depth" in m], snapshots()[NKN]
    answers = iter([body.replace("499869752", "499869700"), body])
    received = Received()

    def rest(_: str) -> Answer:
        time.sleep(0.1)  # so that the first update is there before it
        return 200, {}, next(answers)

    with ExchangeServer([messages[:3]], rest) as server:
        client = client_of(server, "binance", "NKN-USDT", received)
        run(client, lambda: client.stats.snapshots == 2)
    assert (client.stats.resyncs, client.stats.gaps) == (1, 0)


@pytest.mark.parametrize("status", [429, 418])
def test_the_exchange_says_how_long_to_wait(status: int) -> None:
    answers = iter([(status, {"Retry-After": "1"}, '{"code":-1003,"msg":"Too much request weight used"}'), (503, {}, "busy")])
    received = Received()
    with ExchangeServer([inbound("BINANCE.ws.1.0")[:1]], lambda path: next(answers, (200, {}, snapshots()[path]))) as server:
        client = client_of(server, "binance", "NKN-USDT", received, channels="book")
        run(client, lambda: client.stats.snapshots == 1)
        times = [at for at, _ in server.requests]
    assert len(times) == 3 and times[1] - times[0] >= 1 and times[2] - times[1] < 1
    assert any("Too much request weight used" in said and "asked again in 1 s" in said for said in received.said)


def test_a_kraken_book_that_lost_a_message_is_subscribed_again() -> None:
    messages = inbound("KRAKEN.ws.50.0")
    lost = next(i for i, m in enumerate(messages) if i > 1000 and '"ADA/XBT"' in m and '"c":"' in m and messages[i - 1] != m)
    received = Received()
    again = [m for m in messages if '"ADA/XBT"' in m and '"as":' in m]
    with ExchangeServer([[*messages[:lost], *messages[lost + 1 : lost + 400], Await('"unsubscribe"'), *again]]) as server:
        client = client_of(server, "kraken", "ADA-BTC,SC-EUR", received, sends=live.Allowance(100, 1))
        run(client, lambda: client.stats.acknowledged == lost + 399 + len(again) and len(server.connections[0].said) == 5)
        said = server.connections[0].said
    assert (client.stats.gaps, client.stats.resyncs, client.stats.errors) == (1, 1, 0)
    assert said[2] == '{"event":"subscribe","pair":["ADA/XBT","SC/EUR"],"subscription":{"name":"book","depth":1000}}'
    book = '"pair":["ADA/XBT"],"subscription":{"name":"book","depth":1000}}'
    assert said[3:] == [f'{{"event":"unsubscribe",{book}', f'{{"event":"subscribe",{book}']


def test_a_lost_trade_is_counted() -> None:
    messages = [m for m in inbound("COINBASE.ws.28.0") if '"SKL-USD"' in m and '"type":"match"' in m]
    received = Received()
    with ExchangeServer([[*messages[:3], messages[2], *messages[4:6]]]) as server:
        client = client_of(server, "coinbase", "SKL-USD", received, channels="trades")
        run(client, lambda: client.stats.acknowledged == 6)
    assert (client.stats.gaps, client.stats.errors) == (1, 0) and "gap: SKL-USD: trade" in received.said[0]


@pytest.mark.parametrize(
    ("name", "message", "words"),
    [
        ("coinbase", '{"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}', "FOO-USD is not a valid product"),
        (
            "kraken",
            '{"errorMessage":"Currency pair not supported FOO/USD","event":"subscriptionStatus","pair":"FOO/USD","status":"error"}',
            "Currency pair not supported FOO/USD",
        ),
        ("binance", "", "Invalid symbol."),
    ],
)
def test_what_the_exchange_refuses_is_said_in_its_words(name: str, message: str, words: str) -> None:
    received = Received()
    with ExchangeServer([[message] if message else []]) as server:
        client = client_of(server, name, "FOO-USD", received, channels="trades")
        with pytest.raises(QuantLakeError, match=words):
            run(client, lambda: False)
    assert received.payloads() == ([message] if message else [])


def test_a_certificate_that_is_not_trusted_is_refused(authority: Authority, tmp_path: Path) -> None:
    received = Received()
    with ExchangeServer([["never"]], certificate=Authority(tmp_path / "other").issue("exchange")) as server:
        client = client_of(server, "kraken", "XMR-USD", received, authority=authority)
        with pytest.raises(QuantLakeError, match=r"wss://127.*certificate is not trusted.*--ca-file"):
            run(client, lambda: False)
        assert not server.connections


def test_what_is_not_understood_is_a_row_and_an_error() -> None:
    odd = ["{", "[]", "[1,2]", '{"a":null}', "null", "é\x00\u2028", "", "x" * (3 << 20)]
    for name in live.NAMES:
        received = Received()
        with ExchangeServer([odd], answering(snapshots())) as server:
            client = client_of(server, name, "NKN-USDT", received)
            run(client, lambda c=client: c.stats.acknowledged - c.stats.snapshots == len(odd))  # type: ignore[misc]
        assert received.payloads() == odd and client.stats.errors >= 4, name


def test_a_broker_that_takes_nothing_stops_the_reading_and_nothing_is_lost() -> None:
    messages, received, taking, failed = inbound("COINBASE.ws.28.0"), Received(), threading.Event(), []

    def send(rows: pa.Table) -> int:
        if not taking.is_set():
            failed.append(rows.num_rows)
            raise QuantLakeError("no broker answers")
        return received.send(rows)

    script = list(chain.from_iterable(repeat(messages, 5)))
    with ExchangeServer([script]) as server:
        client = client_of(server, "coinbase", "SKL-USD", received, send=send, tuning=replace(SOON, buffer_messages=5000))

        def until() -> bool:
            if client.stats.paused and len(failed) >= 3 and not taking.is_set():
                assert client.stats.messages == 5000 and client.stats.trouble == "no broker answers" and client.stats.lag_seconds > 0
                assert len(server.sent) < len(script), "the socket's own flow control holds the exchange back"
                taking.set()
            return client.stats.acknowledged == len(script)

        run(client, until)
    assert received.payloads() == script and client.stats.lost == 0 and client.stats.reconnects == 0 and client.stats.retries >= 3
    assert any("5,000 messages wait for the broker" in said for said in received.said)
    assert "the broker takes messages again" in received.said


def test_what_cannot_be_delivered_at_the_end_is_counted() -> None:
    received, hanging = Received(), threading.Event()

    def send(rows: pa.Table) -> int:
        hanging.wait()
        return rows.num_rows

    try:
        with ExchangeServer([inbound("KRAKEN.ws.49.0")[:5]]) as server:
            client = client_of(server, "kraken", "XMR-USD", received, send=send, tuning=replace(SOON, slow_seconds=0.2))
            took = run(client, lambda: client.stats.messages == 5 and client.stats.trouble != "")
    finally:
        hanging.set()
    assert (client.stats.lost, client.stats.acknowledged) == (5, 0) and took < 2
    assert received.said == ["error: not delivered, and tried until it is: the broker has acknowledged nothing for 0.2 s"]


def test_a_message_larger_than_the_broker_takes_is_the_only_one_lost() -> None:
    messages, received = inbound("COINBASE.ws.28.0")[:200], Received()
    largest = max(messages, key=len)

    def send(rows: pa.Table) -> int:
        if largest in rows["payload"].to_pylist():
            raise QuantLakeError("1 messages were not taken: Broker: Message size too large")
        return received.send(rows)

    with ExchangeServer([messages]) as server:
        client = client_of(server, "coinbase", "SKL-USD", received, send=send)
        run(client, lambda: client.stats.acknowledged + client.stats.lost == 200)
    assert received.payloads() == [m for m in messages if m != largest] and client.stats.lost == 1
    assert any(f"of {len(largest):,} characters is lost" in said and "max.message.bytes" in said for said in received.said)


def test_a_message_that_is_no_text_ends_the_connection_and_is_said() -> None:
    received = Received()
    with ExchangeServer([["one", b"\xff\xfe", "never"], ["two"]]) as server:
        client = client_of(server, "coinbase", "SKL-USD", received)
        run(client, lambda: client.stats.acknowledged == 2)
    assert received.payloads() == ["one", "two"]
    assert any("codec can't decode" in said or "1007" in said for said in received.said), received.said


def test_an_exchange_that_is_busy_is_tried_again_when_it_says() -> None:
    received = Received()
    refusals = [(503, {"Retry-After": "1"}, "busy"), (429, {}, "too many")]
    with ExchangeServer([["one"]], refusals=refusals) as server:
        client, began = client_of(server, "coinbase", "SKL-USD", received), time.monotonic()
        run(client, lambda: client.stats.acknowledged == 1)
    assert client.stats.reconnects == 2 and 1 < time.monotonic() - began < 5
    assert [re.sub(r".*answered|; connecting.*", "", said) for said in received.said if "connecting again" in said] == [" 503: busy", " 429: too many"]


def test_an_exchange_that_refuses_us_is_not_tried_again() -> None:
    said = pytest.raises(QuantLakeError, match="refuses the connection with 451: not in your country")
    with ExchangeServer([["never"]], refusals=[(451, {}, "not in your country")]) as server, said:
        run(client_of(server, "binance", "BTC-USDT", Received()), lambda: False)


def test_who_asks_twice_does_not_wait_for_the_broker() -> None:
    received, hanging = Received(), threading.Event()
    try:
        with ExchangeServer([["one"]]) as server:
            client = client_of(server, "coinbase", "SKL-USD", received, send=lambda _: int(hanging.wait()), tuning=replace(SOON, grace_seconds=60))

            def until() -> bool:
                asyncio.get_running_loop().call_later(0.3, client.abandon)
                return client.stats.messages == 1

            assert run(client, until) < 3
    finally:
        hanging.set()
    assert client.stats.lost == 1
