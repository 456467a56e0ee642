"""A year of days, one of them bad, backfilled by the command line and by the UI's API, killed twice on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import psutil
import pytest

from quantlake.adapters.broker.tansu import free_port
from quantlake_tests.e2e.api import Api
from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for

START, DAYS = date(2023, 1, 1), int(os.environ.get("QUANTLAKE_BACKFILL_DAYS", "365"))
LAST = START + timedelta(days=DAYS - 1)
BAD = START + timedelta(days=DAYS // 2)
MARKET = ("curated/market/trades", "derived/market/bars_1m", "rollup/market/bars_1m", "feature/market/trade_activity")
NEWS = ("curated/alt/news", "embedding/alt/news")

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


def arrive(ql: Commands) -> None:
    """The days of two symbols, and on one of them a trade below zero."""
    ql.run("simulate", "--start", str(START), "--days", str(DAYS), "--symbols", "2", "--trades-per-day", "30", seconds=900)
    ql.produce("market/trades", {"symbol": "ACME", "venue": "simx", "trade_id": "bad", "price": "-5", "size": "1", "event_time": f"{BAD}T15:00:00Z"})


def built(ql: Commands) -> dict[str, Counter[str]]:
    """How often each partition of each asset was materialized."""
    import dagster as dg

    from quantlake.orchestration.instance import open_instance

    found: dict[str, Counter[str]] = {}
    with open_instance(ql.home / "dagster") as instance:
        for key in instance.get_asset_keys():
            cursor, counter = None, found.setdefault("/".join(key.path), Counter())
            while True:
                page = instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=500, cursor=cursor)
                counter.update(str(r.partition_key) for r in page.records)
                cursor = page.cursor
                if not page.has_more:
                    break
    return found


def require_whole(ql: Commands) -> None:
    """364 days done, one not, nothing twice; what is below a rejected date is not there."""
    days = {str(START + timedelta(days=n)) for n in range(DAYS)}
    found = built(ql)
    for path in (*MARKET, *NEWS):
        counted = found[path]
        wanted = days - {str(BAD)} if path in MARKET else days
        assert set(counted) & days == wanted, (path, sorted(wanted ^ (set(counted) & days)))
        assert {d: n for d, n in counted.items() if n > 1} == {}, path
    committed = ql.sql("select count(distinct partition_date) n from derived_market_bars_1m")
    assert committed == [{"n": DAYS - 1}]


@contextmanager
def backfilling(ql: Commands, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(BIN / "quantlake"), "backfill", "--from", str(START), "--to", str(LAST), *options]
    with (ql.folder / "backfill.log").open("w+") as log:
        process = subprocess.Popen(command, env=ql.environment, stdout=log, stderr=log, cwd=ROOT, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def test_a_year_by_the_command_line_killed_twice() -> None:
    with commands() as ql, ql.serving("up"):
        arrive(ql)
        wait_for(lambda: all(a["lag"] == 0 for a in state(ql) if a["asset"].startswith("raw/")), 120)
        for path in ("curated/market/trades", "feature/market/trade_activity"):
            with backfilling(ql) as process:
                wait_for(lambda path=path: len(built(ql).get(path, ())) > DAYS // 8 or process.poll() is not None, 600)
                assert process.poll() is None, (ql.folder / "backfill.log").read_text()
                process.send_signal(signal.SIGKILL)
        with backfilling(ql) as process:
            assert process.wait(900) == 1
        said = (ql.folder / "backfill.log").read_text()
        assert said.count("rejected: ") == 1
        assert f"rejected: curated/market/trades {BAD}: price_above_zero: symbol, price: 1 of" in said
        require_whole(ql)
        print(said, file=sys.stderr)


def test_a_year_by_the_api_of_the_web_server_its_worker_killed_twice() -> None:
    port = free_port()
    with commands() as ql, ql.serving("dev", "--port", str(port)):
        api = Api(port)
        wait_for(api.loaded, 90)
        api.stop_sensor("new_data")  # which would build it all by itself
        arrive(ql)
        began = time.monotonic()
        backfill = api.launch_backfill([str(START + timedelta(days=n)) for n in range(DAYS)])
        for path in ("curated/alt/news", "curated/market/trades"):
            wait_for(lambda path=path: len(built(ql).get(path, ())) > DAYS // 8, 600)
            running = [r for r in api.runs(backfill) if r["status"] == "STARTED"]
            assert len(running) == 1, api.runs(backfill)
            psutil.Process(int(running[0]["tags"]["quantlake/worker"].split(":")[0])).kill()
        status = api.ended(backfill, 1200)
        print(f"{status} after {time.monotonic() - began:.0f} s: {[r['status'] for r in api.runs(backfill)]}", file=sys.stderr)
        assert status == "COMPLETED_FAILED"
        wait_for(lambda: all(len(built(ql).get(path, ())) >= DAYS - 1 for path in (*MARKET, *NEWS)), 600)  # the automation goes further
        require_whole(ql)
        failed = next(a["last_failure"] for a in state(ql) if a["asset"] == "curated/market/trades")
        assert str(failed).startswith(f"{BAD} price_above_zero: symbol, price: 1 of")
        done = ql.run("backfill", "--from", str(START), "--to", str(LAST), ok=False, seconds=900)
        assert f"rejected: curated/market/trades {BAD}" in done.stdout and done.stdout.count("rejected") == 1
        require_whole(ql)


def state(ql: Commands) -> list[dict[str, object]]:
    return json.loads(ql.run("status", "--json").stdout)["assets"]
