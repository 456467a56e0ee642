"""`quantlake ingest` in real processes, over TLS from a loopback exchange, through a real broker, into a real lake."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.datasets.market.exchange_messages import raw
from quantlake.landing.audit import audit
from quantlake.landing.land import land
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for
from quantlake_tests.servers.certificates import Authority
from quantlake_tests.sources.exchange_server import Cut, ExchangeServer, Pause, Ping, Step, answering, inbound, snapshots

COLUMNS = ["connection_id", "line_number", "message_key", "payload", "transport", "venue", "receive_time", "partition_date"]
KRAKEN = ("kraken", "--symbols", "ADA-BTC,XMR-USD")


class Home:
    """Commands, the broker they find, an authority, and what has landed."""

    def __init__(self, ql: Commands, broker: Kafka) -> None:
        self.ql, self.broker = ql, broker
        self.lake = Iceberg.embedded(ql.home / "lake", ql.home / "locks")
        self.registry = SqliteRegistry(ql.home / "registry.db")
        self.authority = Authority(ql.folder / "authority")
        self.certificate = self.authority.issue("exchange")

    def landed(self) -> dict[str, list[dict[str, Any]]]:
        """All rows by connection, in the order of their numbers, once what is pending is landed."""
        land(raw, broker=self.broker, registry=self.registry, lake=self.lake)
        assert all(a.clean and not a.pending for a in audit(raw, lake=self.lake, broker=self.broker))
        found: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(self.lake.read(raw.spec, columns=COLUMNS).to_pylist(), key=lambda r: (r["receive_time"], r["line_number"])):
            found.setdefault(row["connection_id"], []).append(row)
        return {key: sorted(rows, key=lambda r: r["line_number"]) for key, rows in found.items()}

    @contextmanager
    def ingesting(self, server: ExchangeServer, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        command = [str(BIN / "quantlake"), "ingest", *arguments, "--url", server.url, "--rest-url", server.rest_url]
        command += ["--ca-file", str(self.authority.file), "--json"]
        process = subprocess.Popen(command, env=self.ql.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    @property
    def files(self) -> list[Path]:
        return sorted((self.ql.home / "run").glob("ingest-*"))

    def told(self) -> dict[str, Any]:
        """What the running client's file says; nothing while there is none."""
        return json.loads(self.files[0].read_text()) if self.files else {"acknowledged": 0, "messages": 0}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with commands() as ql, announced(ql) as (broker, _):
        yield Home(ql, broker)


def ended(process: subprocess.Popen[str], status: int = 0) -> tuple[dict[str, Any], str, float]:
    """Ask it to end; its summary, what it said, and how long it took."""
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status and "Traceback" not in err, err
    return json.loads(out), err, time.monotonic() - asked


def exactly(landed: dict[str, list[dict[str, Any]]], sent: Sequence[Sequence[str]]) -> None:
    """Each connection's messages are there once, in order, byte for byte."""
    assert [[r["payload"] for r in rows] for rows in landed.values()] == [list(s) for s in sent]
    for connection, rows in landed.items():
        assert [(r["message_key"], r["line_number"]) for r in rows] == [(f"{connection}:{n}", n) for n in range(1, len(rows) + 1)]
        assert all(r["partition_date"] == r["receive_time"].date() for r in rows)


def new(home: Home, before: dict[str, Any], transport: str = "websocket") -> dict[str, list[dict[str, Any]]]:
    return {k: rows for k, rows in home.landed().items() if k not in before and rows[0]["transport"] == transport}


def test_a_day_of_faults_lands_every_message_once(home: Home) -> None:
    messages, before = inbound("COINBASE.ws.28.0"), home.landed()
    trades = [n for n, m in enumerate(messages) if '"type":"match"' in m and '"SKL-USD"' in m and 5000 <= n < 9000]
    lost = trades[len(trades) // 2]
    first: list[Step] = [*messages[:3000], Ping(), *messages[2990:3000], Pause(0.3), *messages[3000:5000], Cut()]
    second: list[Step] = [*messages[5000:lost], *messages[lost + 1 : 9000], Cut()]
    with ExchangeServer([first, second, messages[9000:]], certificate=home.certificate) as server:
        with home.ingesting(server, "coinbase", "--symbols", "SKL-USD,BAND-GBP") as process:
            wait_for(lambda: len(server.connections) == 3 and len(server.sent) == 9955, 40)
            wait_for(lambda: home.told()["acknowledged"] == 9955, 20)
            summary, said, took = ended(process)
        exactly(new(home, before), [c.sent for c in server.connections])
    assert (summary["messages"], summary["acknowledged"], summary["lost"], summary["reconnects"]) == (9955, 9955, 0, 2)
    assert summary["gaps"] == 1 and "gap: SKL-USD: trade" in said and took < 5 and not home.files


def test_snapshots_of_binance_land_beside_its_messages(home: Home) -> None:
    messages, books, before = inbound("BINANCE.ws.1.0"), snapshots(), home.landed()
    refused = iter([(429, {"Retry-After": "1"}, "{}")])
    answer = answering(books)
    exchange = ExchangeServer([messages], lambda path: next(refused, None) or answer(path), home.certificate)
    with exchange as server, home.ingesting(server, "binance", "--symbols", "NKN-USDT,BLZ-ETH,LRC-BTC,RUNE-EUR") as process:
        wait_for(lambda: home.told()["acknowledged"] == 269, 30)
        summary, said, _ = ended(process)
    exactly(new(home, before), [messages])
    exactly(new(home, before, "rest"), [list(books.values())])
    assert (summary["snapshots"], summary["gaps"], summary["errors"]) == (4, 0, 1) and "asked again in 1 s" in said


def test_what_was_received_before_sigterm_is_delivered(home: Home) -> None:
    before = home.landed()
    with ExchangeServer([inbound("KRAKEN.ws.48.0")], certificate=home.certificate, forever=True) as server:
        with home.ingesting(server, *KRAKEN) as process:
            wait_for(lambda: home.told()["messages"] > 5000, 30)
            told = home.told()
            assert told["pid"] == process.pid and told["symbols"] == ["ADA/XBT", "XMR/USD"] and told["connections"] == 1
            summary, said, took = ended(process)
        (rows,) = new(home, before).values()
        exactly({rows[0]["connection_id"]: rows}, [server.sent[: summary["messages"]]])
    assert (summary["lost"], summary["acknowledged"]) == (0, len(rows)) and took < 5, said
    assert not home.files


def test_a_kill_and_a_new_start_do_no_harm(home: Home) -> None:
    before = home.landed()
    with ExchangeServer([inbound("KRAKEN.ws.49.0")], certificate=home.certificate, forever=True) as server:
        with home.ingesting(server, *KRAKEN) as process:
            wait_for(lambda: home.told()["acknowledged"] > 2000, 30)
            process.kill()
            process.wait()
        assert len(home.files) == 1, "left by the killed one"
        with home.ingesting(server, *KRAKEN, "--for", "1") as process:
            wait_for(lambda: home.told().get("pid") == process.pid, 30)
            assert len(home.files) == 1
            out, err = process.communicate(timeout=30)
        killed, ended_ = new(home, before).values()
        sent = [c.sent for c in server.connections]
    exactly({killed[0]["connection_id"]: killed, ended_[0]["connection_id"]: ended_}, [sent[0][: len(killed)], sent[1][: len(ended_)]])
    assert len(killed) > 2000 and json.loads(out)["acknowledged"] == len(ended_) and process.returncode == 0, err
    assert not home.files


def test_what_it_refuses_is_one_line(home: Home, tmp_path: Path) -> None:
    with ExchangeServer([[]], certificate=home.certificate) as server:
        binance = ["ingest", "binance", "--symbols", "FOO-USD", "--url", server.url, "--rest-url", server.rest_url]
        assert "Invalid symbol." in home.ql.error(*binance, "--ca-file", str(home.authority.file))
        stranger = Authority(tmp_path / "other").file
        told = home.ql.error(*binance, "--ca-file", str(stranger))
        assert re.search(r"wss://127\.0\.0\.1:\d+: its certificate is not trusted: .*--ca-file", told), told
    assert "no live feed of 'nyse'" in home.ql.error("ingest", "nyse", "--symbols", "BTC-USD")
    assert not home.files


def test_a_broker_that_is_gone_is_said_and_what_is_lost_is_counted() -> None:
    with commands() as ql, announced(ql) as (broker, _):
        home = Home(ql, broker)
        script: list[Step] = [*inbound("KRAKEN.ws.48.0")[:3], Pause(0.1)]
        with ExchangeServer([script], certificate=home.certificate, forever=True) as server, home.ingesting(server, *KRAKEN) as process:
            wait_for(lambda: home.told()["acknowledged"] > 0, 30)
            os.kill(json.loads((ql.home / "run" / "broker.json").read_text())["pid"], signal.SIGKILL)
            wait_for(lambda: home.told()["lag_seconds"] > 1, 30)
            summary, said, took = ended(process, status=1)
        lost = summary["messages"] - summary["acknowledged"]
        assert summary["lost"] == lost >= 1 and took < 5
        assert f"quantlake: {lost} of {summary['messages']} messages were received and not acknowledged by the broker" in said, said
        assert not home.files


@pytest.mark.faults
def test_embedded_servers_that_stop_and_start_again_lose_nothing_of_it() -> None:
    script: list[Step] = [*inbound("KRAKEN.ws.48.0")[:3], Pause(0.02)]
    with commands() as ql:
        authority = Authority(ql.folder / "authority")
        with ExchangeServer([script], certificate=authority.issue("exchange"), forever=True) as server:
            arguments = ["ingest", *KRAKEN, "--url", server.url, "--ca-file", str(authority.file), "--json"]
            with ql.serving("up"):
                process = subprocess.Popen([str(BIN / "quantlake"), *arguments], env=ql.environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)
                wait_for(lambda: len(server.sent) > 300, 30)
            with ql.serving("up"):
                sent = len(server.sent)
                wait_for(lambda: any(json.loads(f.read_text())["acknowledged"] > sent for f in (ql.home / "run").glob("ingest-*.json")), 60)
                process.send_signal(signal.SIGTERM)
                out, _ = process.communicate(timeout=30)
            summary = json.loads(out)
            found = ql.sql("select line_number from raw_market_exchange_messages")
    assert summary["lost"] == 0 and sorted({r["line_number"] for r in found}) == list(range(1, summary["messages"] + 1))
