"""The life of a home: servers up, messages, refresh, a bad partition, a late row, a killed landing, a clean stop."""

import fcntl
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for

DAY, NEXT = "2024-03-04", "2024-03-05"
BUILT = (
    "curated/market/trades", "derived/market/bars_1m", "rollup/market/bars_1m", "feature/market/trade_activity", "curated/alt/news",
    "embedding/alt/news",
)  # fmt: skip


@pytest.fixture(scope="module")
def ql() -> Iterator[Commands]:
    """A home with two simulated days, refreshed, its servers up."""
    with commands() as found, found.serving("up") as server:
        found.server = server  # type: ignore[attr-defined]
        found.run("simulate", "--start", DAY, "--days", "2", "--symbols", "2", "--seed", "3")
        found.run("refresh")
        yield found


def trade(**fields: str) -> dict[str, str]:
    return {"symbol": "ACME", "venue": "usa", "price": "25.5", "size": "100", "event_time": f"{DAY}T15:00:00Z"} | fields


def materialized(ql: Commands) -> dict[str, int]:
    """Materializations so far by ``asset@partition``, from Dagster's own event log."""
    import dagster as dg

    from quantlake.orchestration.instance import open_instance

    counts: dict[str, int] = {}
    with open_instance(ql.home / "dagster") as instance:
        for key in instance.get_asset_keys():
            for record in instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=1000).records:
                name = f"{'/'.join(key.path)}@{record.partition_key}"
                counts[name] = counts.get(name, 0) + 1
    return counts


def pause(ql: Commands) -> None:
    """Stop the server's process at a moment when it does not hold the table's lock, which nobody could take otherwise."""
    for _ in range(50):
        ql.server.send_signal(signal.SIGSTOP)  # type: ignore[attr-defined]
        with (ql.home / "locks" / "raw_market_trades").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                ql.server.send_signal(signal.SIGCONT)  # type: ignore[attr-defined]
                time.sleep(0.1)
    raise AssertionError("the server never lets go of the table")


def test_every_asset_of_both_days_is_built_and_audited(ql: Commands) -> None:
    status = json.loads(ql.run("status", "--json").stdout)
    rows = {asset["asset"]: (asset["partitions"], asset["rows"]) for asset in status["assets"]}
    assert all(rows[path][0] == 2 and rows[path][1] > 0 for path in BUILT), rows
    assert status["servers"]["broker"].startswith("reachable")
    audited = json.loads(ql.run("audit", "--json").stdout)
    assert all(part["clean"] and part["status"] == "live" for part in audited)
    assert sum(part["rows"] + part["dead_letters"] for part in audited) == sum(part["end"] for part in audited)
    assert [row["n"] for row in ql.sql("select count(*) n from deadletters")] == [1]
    joined = "select count(*) n from rollup_market_bars_1m join derived_market_bars_1m using (symbol, venue, bar_start, vwap)"
    assert ql.sql(joined) == [{"n": rows["derived/market/bars_1m"][1]}]
    assert [row["n"] for row in ql.sql("select count(*) n from curated_market_trades where flags = ['zero_size']")] == [1]


def test_materializing_twice_changes_nothing(ql: Commands) -> None:
    before = [ql.fingerprint(path, DAY) for path in BUILT], ql.sql("select count(*) n from raw_market_trades")
    ql.materialize("*", DAY)
    ql.materialize("*", DAY)
    assert ([ql.fingerprint(path, DAY) for path in BUILT], ql.sql("select count(*) n from raw_market_trades")) == before


def test_a_bad_partition_is_never_visible_and_stays_to_be_looked_at(ql: Commands) -> None:
    good = [ql.fingerprint(path, DAY) for path in BUILT]
    events = materialized(ql)
    ql.produce("market/trades", trade(trade_id="bad", price="-5"))
    failed = ql.materialize("*", DAY, ok=False)
    assert "price: 1 of" in failed.stdout + failed.stderr
    assert [ql.fingerprint(path, DAY) for path in BUILT] == good
    rejected = ql.sql("select price, _check, _reason from rejected_curated_market_trades where _check is not null")
    assert [(float(row["price"]), row["_check"]) for row in rejected] == [(-5.0, "price_above_zero")]
    later = {name for name, count in materialized(ql).items() if count > events.get(name, 0)}
    assert not {name for name in later if name.split("@")[0] in BUILT[:4]}, later
    assert "price_above_zero failed on 2024-03-04" in ql.run("status").stdout
    ql.produce("market/trades", trade(trade_id="bad", price="25"))
    ql.run("refresh")
    assert [float(r["price"]) for r in ql.sql("select price from curated_market_trades where trade_id = 'bad'")] == [25.0]


def test_a_late_row_rebuilds_its_date_alone_and_is_not_known_before(ql: Commands) -> None:
    before = materialized(ql)
    count = "select count(*) n, sum(size) size from curated_market_trades"
    answer = ql.sql(count)
    moment = datetime.now(UTC).isoformat()
    ql.produce("market/trades", trade(trade_id="late", size="7", event_time=f"{NEXT}T15:01:00Z"))
    ql.run("refresh")
    later = {name for name, times in materialized(ql).items() if times > before.get(name, 0)}
    others = (*(f"derived/market/bars_{n}" for n in ("1s", "1h", "1d")), "derived/market/feed_gaps")
    assert later == {f"{path}@{NEXT}" for path in ("raw/market/trades", *BUILT[:4], *others)}
    assert ql.sql(count)[0]["n"] == answer[0]["n"] + 1
    assert ql.sql(count, "--as-known-at", moment) == answer


def test_the_same_rows_again_add_nothing_to_curated(ql: Commands) -> None:
    before = ql.fingerprint("curated/market/trades", DAY)
    ql.run("simulate", "--start", DAY, "--days", "2", "--symbols", "2", "--seed", "3")
    ql.run("refresh")
    assert ql.fingerprint("curated/market/trades", DAY) == before


def test_a_landing_killed_in_its_middle_is_taken_up_at_once(ql: Commands) -> None:
    pause(ql)  # the server's landing loop must not be the one that lands
    try:
        ql.run("simulate", "--start", "2024-03-06", "--days", "3", "--symbols", "8", "--seed", "4")
        command = [str(BIN / "dagster"), "asset", "materialize", "-m", "quantlake.definitions", "--select", "raw/market/trades"]
        for delay in (0.0, 0.3):
            with (ql.folder / "killed.log").open("w") as log:
                run = subprocess.Popen([*command, "--partition", "2024-03-06"], env=ql.exported(), cwd=ROOT, stdout=log, stderr=log)
            wait_for(lambda: "STEP_START" in (ql.folder / "killed.log").read_text() or run.poll() is not None, 60)  # noqa: B023
            time.sleep(delay)
            run.kill()
            run.wait()
        began = time.monotonic()
        ql.materialize("raw/market/trades", "2024-03-06")
        assert time.monotonic() - began < 60
    finally:
        ql.server.send_signal(signal.SIGCONT)  # type: ignore[attr-defined]
    assert ql.run("audit").stdout.rstrip().endswith("\nclean")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sql", "select * from curated_market_trade"], "There are .*curated_market_trades"),
        (["sql", "select * from embedding_alt_news", "--as-known-at", "2024-03-05"], "embedding/alt/news cannot be answered as known at a time"),
        (["sql", "select 1", "--as-known-at", "yesterday"], "is no time"),
        (["fingerprint", "curated/market/quote"], "there is no dataset"),
        (["fingerprint", "--partition", "2024-03-04"], "--partition is of one asset"),
        (["fingerprint", "curated/market/trades", "--partition", "1969-12-31"], "no partition 1969-12-31"),
        (["fingerprint", "curated/market/trades", "--partition", "2001-01-01"], "has no rows of 2001-01-01"),
        (["produce", "market/nothing", "x.jsonl"], "there is no stream"),
        (["replay", "no/such/folder"], "no such file or folder"),
        (["refresh", "--select", "nothing"], "selects no asset|nothing"),
        (["up"], "is held by process"),
    ],
)
def test_bad_input_gets_one_line(ql: Commands, arguments: list[str], said: str) -> None:
    assert re.search(said, ql.error(*arguments))


def test_a_clean_stop_lands_the_rest_and_closes_the_logs(ql: Commands) -> None:
    ql.produce("market/trades", trade(trade_id="last"))
    ql.server.terminate()  # type: ignore[attr-defined]
    assert ql.server.wait(60) == 0  # type: ignore[attr-defined]
    audited = json.loads(ql.run("audit", "--json").stdout)
    assert {part["status"] for part in audited} == {"closed"}
    ql.run("refresh")
    assert [row["n"] for row in ql.sql("select count(*) n from curated_market_trades where trade_id = 'last'")] == [1]
    assert "nothing to do" in ql.run("refresh").stdout
    assert "no broker is running" in ql.error("produce", "market/trades", str(next(ql.folder.glob("produced-*"))))
    failed = ql.materialize("raw/market/trades", DAY, ok=False)
    assert "no broker is running" in failed.stdout + failed.stderr
    ql.materialize("derived/market/bars_1m", DAY)
