"""`quantlake up` killed: with its broker, whose log is then lost and says so for ever, or alone, whose broker is then landed to its end."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from quantlake_tests.e2e.commands import Commands, commands, wait_for

pytestmark = pytest.mark.faults
TOPIC, DAY = "market.trades.v1", "2024-03-04"


@pytest.fixture
def ql() -> Iterator[Commands]:
    with commands() as found:
        yield found


def trades(first: int, count: int) -> list[dict[str, str]]:
    return [
        {"symbol": "ACME", "venue": "usa", "trade_id": f"t{n}", "price": "25.5", "size": "100", "event_time": f"{DAY}T15:00:00Z"}
        for n in range(first, first + count)
    ]  # fmt: skip


def audited(ql: Commands, *, ok: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ql.run("audit", "--topic", TOPIC, "--json", ok=ok).stdout)
    return [part for part in found if part["end"]]  # all trades are of one symbol, so of one partition


def landed(ql: Commands, rows: int) -> None:
    wait_for(lambda: ql.sql("select count(*) n from raw_market_trades") == [{"n": rows}], 60)


def broker(ql: Commands) -> psutil.Process:
    return psutil.Process(json.loads((ql.home / "run" / "broker.json").read_text())["pid"])


def test_a_log_that_died_with_everything_is_lost_on_record_until_a_person_accepts_it(ql: Commands) -> None:
    with ql.serving("up") as server:
        ql.produce("market/trades", *trades(0, 30))
        landed(ql, 30)
        server.send_signal(signal.SIGSTOP)
        ql.produce("market/trades", *trades(100, 7))  # taken by the broker, and by nobody else
        dead = broker(ql)
        for pid in (server.pid, dead.pid):
            os.kill(pid, signal.SIGKILL)
        server.wait()
        wait_for(lambda: not dead.is_running() or dead.status() == psutil.STATUS_ZOMBIE, 30)
    with ql.serving("up"):
        said = (ql.folder / "server.log").read_text()
        lost = next(line for line in said.splitlines() if line.startswith(f"{TOPIC}: log ") and "ended without a clean stop" in line)
        assert " 30 of partition" in lost and "anything after is unknown" in lost and "--accept-loss" in lost
        ql.produce("market/trades", *trades(200, 20))
        landed(ql, 50)
        before = audited(ql, ok=False)
        assert [(a["status"], a["rows"], a["clean"]) for a in before] == [("unverified", 30, False), ("live", 20, True)]
        assert "committed to 30, anything after is unknown" in before[0]["reason"]
        said = " ".join(ql.run("land", "--topic", TOPIC, "--accept-loss").stdout.split())
        assert " 30 of partition" in said and "anything after is given up" in said
        after = audited(ql, ok=True)
        assert [(a["status"], a["rows"], a["clean"]) for a in after] == [("given_up", 30, True), ("live", 20, True)]
    kept = audited(ql, ok=True)
    assert [(a["status"], [(x["first"], x["end"], x["why"]) for x in a["losses"]]) for a in kept] == [("given_up", [(30, None, "ended")]), ("closed", [])]


def test_the_broker_of_a_killed_up_is_landed_to_its_end_by_the_next(ql: Commands) -> None:
    with ql.serving("up") as server:
        ql.produce("market/trades", *trades(0, 30))
        landed(ql, 30)
        server.send_signal(signal.SIGSTOP)
        ql.produce("market/trades", *trades(100, 7))
        orphan = broker(ql)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    assert orphan.is_running()
    with ql.serving("up"):
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert [(a["status"], a["rows"], a["end"]) for a in audited(ql, ok=True)] == [("closed", 37, 37)]
        ql.produce("market/trades", *trades(200, 5))
        landed(ql, 42)
    assert all(a["clean"] and a["status"] == "closed" for a in audited(ql, ok=True))
