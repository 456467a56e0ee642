"""`quantlake dev` keeps a home right by itself: a backfill through its web server, a late row, a kill of everything, a stop."""

import json
from collections.abc import Iterator

import psutil
import pytest

from quantlake.adapters.broker.tansu import free_port
from quantlake_tests.e2e.api import Api
from quantlake_tests.e2e.commands import Commands, commands, wait_for
from quantlake_tests.e2e.test_running import BUILT, materialized

DAYS = ["2024-03-04", "2024-03-05", "2024-03-06"]
RAW = ("raw/market/trades", "raw/alt/news")
PORT = free_port()


@pytest.fixture
def ql() -> Iterator[Commands]:
    with commands() as found:
        yield found


def late(**fields: str) -> dict[str, str]:
    return {"symbol": "ACME", "venue": "usa", "price": "25.5", "size": "100", "event_time": f"{DAYS[1]}T15:00:00Z"} | fields


def settled(ql: Commands) -> bool:
    """Whether all that has landed is built."""
    assets = json.loads(ql.run("status", "--json").stdout)["assets"]
    return all(a["missing"] == a["stale"] == 0 and not a["lag"] for a in assets)


def contents(ql: Commands) -> dict[str, str]:
    """A hash of each partition of each asset, by brute force."""
    from quantlake.contract.fingerprint import fingerprints
    from quantlake.orchestration.build import store_of
    from quantlake.settings import Settings
    from quantlake.wiring import Adapters, catalog

    adapters = Adapters(Settings(home=ql.home))
    found = {}
    for dataset in catalog().datasets:
        rows = store_of(dataset, adapters).read(dataset.spec)
        found |= {f"{dataset.path}@{day}": f.hash for day, f in fingerprints(rows, dataset.stored_columns).items()}
    return found


def tree(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def daemons(pid: int) -> set[int]:
    """The process of Dagster's daemon."""
    found = set()
    for process in tree(pid):
        try:
            if "dagster._daemon" in process.cmdline():
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_range_backfill_through_the_web_server_is_one_run(ql: Commands) -> None:
    with ql.serving("dev", "--port", str(PORT)):
        api = Api(PORT)
        wait_for(api.loaded, 90)
        api.stop_sensor("new_data")  # which would request it all by itself
        ql.run("simulate", "--start", DAYS[0], "--days", "3", "--symbols", "2", "--trades-per-day", "200")
        backfill = api.launch_backfill(DAYS)
        assert api.ended(backfill, 180) == "COMPLETED_SUCCESS"
        assert [run["status"] for run in api.runs(backfill)] == ["SUCCESS"]  # three dates of every asset
        assert all(materialized(ql)[f"{path}@{day}"] == 1 for path in BUILT for day in DAYS)
        assert settled(ql)
        api.start_sensor("new_data")
        wait_for(lambda: any(t["runIds"] for t in api.ticks("new_data")), 60)  # it asks for what landed, and finds it built
        wait_for(lambda: not api.active(), 60)
        assert all(materialized(ql)[f"{path}@{day}"] == 1 for path in BUILT for day in DAYS)

        before, counts = contents(ql), materialized(ql)
        ql.produce("market/trades", late())
        wait_for(lambda: materialized(ql)[f"feature/market/trade_activity@{DAYS[1]}"] == 2, 120)
        wait_for(lambda: settled(ql) and not api.active(), 60)
        after, now = contents(ql), materialized(ql)
        differing = {key for key in after if after[key] != before.get(key)}
        no_gaps = f"derived/market/feed_gaps@{DAYS[1]}"  # looked at again, and none found
        assert {key for key in now if now[key] != counts.get(key, 0)} == {*differing, no_gaps}
        bars = (f"derived/market/bars_{n}" for n in ("1s", "1h", "1d"))
        assert {key.split("@")[0] for key in differing} == {RAW[0], *bars, *(p for p in BUILT if "/market/" in p)}
        reasons = [t["skipReason"] for t in api.ticks("new_data") if t["status"] == "SKIPPED"]
        assert reasons and all("nothing has landed since commit" in r or "wait for an earlier" in r for r in reasons)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_it_starts_clean_after_a_kill_of_everything(ql: Commands) -> None:
    api = Api(PORT)
    with ql.serving("dev", "--port", str(PORT)) as server:
        wait_for(api.loaded, 90)
        ql.run("simulate", "--start", DAYS[0], "--days", "3", "--symbols", "2", "--trades-per-day", "200")
        wait_for(lambda: settled(ql) and not api.active(), 120)
        ql.produce("market/trades", late(event_time=f"{DAYS[0]}T15:01:00Z"))
        wait_for(api.active, 60)
        for process in tree(server.pid):  # everything, while a run is going
            process.kill()
        server.wait()
    with ql.serving("dev", "--port", str(PORT)) as server:
        wait_for(api.loaded, 90)
        wait_for(lambda: settled(ql) and not api.active(), 120)
        counts = materialized(ql)
        assert counts[f"feature/market/trade_activity@{DAYS[0]}"] == 2
        (daemon,) = daemons(server.pid)
        psutil.Process(daemon).kill()  # which ends `dagster dev`; it is started again
        wait_for(lambda: daemons(server.pid) - {daemon}, 90)
        wait_for(api.loaded, 90)
        ql.produce("market/trades", late(event_time=f"{DAYS[2]}T15:01:00Z"))
        wait_for(api.active, 90)
        family = tree(server.pid)
        server.terminate()
        assert server.wait(60) == 0  # while a run is going
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    with ql.serving("dev", "--port", str(PORT)):
        wait_for(api.loaded, 90)
        wait_for(lambda: settled(ql), 120)
        assert materialized(ql)[f"feature/market/trade_activity@{DAYS[2]}"] == 2
