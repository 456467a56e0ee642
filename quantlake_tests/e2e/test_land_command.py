"""`quantlake land` in real processes: once, on and on, what it says, and what it refuses; one home for all."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import dagster as dg
import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.alt.news import raw as news
from quantlake.datasets.market.trades import raw
from quantlake.landing.audit import audit
from quantlake.orchestration.instance import open_instance
from quantlake.ports import Message
from quantlake.sources.encode import encode
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for

AT = datetime(2024, 3, 4, 15, tzinfo=UTC)
LAST = r"landed {} rows, {} dead letters; [\d,]+ rows/s; lag 0 records; last commit {}"


class Home:
    """Commands, the broker they find, and trades to send to it."""

    def __init__(self, ql: Commands, broker: Kafka, schema_id: int) -> None:
        self.ql, self.broker, self._schema_id, self.sent = ql, broker, schema_id, 0
        self.lake = Iceberg.embedded(ql.home / "lake", ql.home / "locks")

    def send(self, count: int, day: int = 4) -> None:
        at = AT.replace(day=day)
        values = {"symbol": "ACME", "venue": "usa", "price": Decimal("25.5"), "size": Decimal(1), "side": "buy", "event_time": at, "known_at": at}
        rows = [
            {**values, "trade_id": str(n), "partition_date": at.date(), "source_name": "test", "line_number": n}
            for n in range(self.sent, self.sent + count)
        ]
        self.broker.produce(raw.topic, encode(raw, pa.Table.from_pylist(rows, wire_arrow(raw)), self._schema_id))
        self.sent += count

    def rows(self) -> int:
        return sum(self.lake.counts(raw.spec).values())

    def clean(self) -> bool:
        return all(a.clean and a.pending == 0 for a in audit(raw, lake=self.lake, broker=self.broker))

    def reported(self) -> dict[str, int]:
        """How often each raw partition was reported to Dagster."""
        found: dict[str, int] = {}
        with open_instance(self.ql.home / "dagster") as instance:
            records = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(raw.path.split("/"))), limit=100).records
        for record in records:
            found[str(record.partition_key)] = found.get(str(record.partition_key), 0) + 1
        return found

    @contextmanager
    def following(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """``quantlake land --follow``, from when it says that it follows."""
        command = [str(BIN / "quantlake"), "land", "--follow", *arguments]
        process = subprocess.Popen(command, env=self.ql.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            assert process.stderr and process.stderr.readline().startswith("following "), process.stderr and process.stderr.read()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with commands() as ql, announced(ql) as (broker, ids):
        yield Home(ql, broker, ids[raw.topic])


def test_it_lands_what_is_pending_once(home: Home) -> None:
    home.send(30)
    home.broker.produce(raw.topic, [Message(b"k", b"plain")])
    today = str(datetime.now(UTC).date())
    shown = home.ql.run("land", "--topic", raw.topic)
    assert re.search(rf"{re.escape(raw.topic)}\s*│\s*30\s*│\s*1\s*│\s*2024-03-04, {today}", shown.stdout), shown.stdout
    assert "Traceback" not in shown.stderr and set(home.reported()) == {"2024-03-04", today}
    assert home.rows() == 31 and home.clean()


def test_it_follows_until_it_is_asked_to_end(home: Home) -> None:
    before, told = home.rows(), home.reported().get("2024-03-05", 0)
    with home.following("--topic", raw.topic, "--every", "0.2") as process:
        home.send(20, day=5)
        wait_for(lambda: home.rows() == before + 20, 30)
        home.broker.produce(raw.topic, [Message(b"k", b"plain")])
        wait_for(lambda: home.rows() == before + 21, 30)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and not err, err
    assert re.fullmatch(LAST.format(20, 1, r"[\d.]+ s ago"), out.splitlines()[-1]), out
    assert home.reported()["2024-03-05"] == told + 1 and home.clean()


def test_what_it_read_is_committed_at_its_end_and_others_land_beside_it(home: Home) -> None:
    before = home.rows()
    with home.following("--every", "3600", "--rows", "50") as process:
        home.send(50, day=6)
        wait_for(lambda: home.rows() == before + 50, 30)
        home.send(7, day=6)
        assert re.search(rf"{re.escape(raw.topic)}\s*│\s*7\s*│\s*0\s*│", home.ql.run("land", "--topic", raw.topic).stdout)
        home.send(5, day=6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and not err, err
    assert out.splitlines()[-1].startswith("landed ") and home.rows() >= before + 57, out
    shown = home.ql.run("land").stdout
    assert raw.topic in shown and news.topic in shown, "without --topic every stream"
    assert home.rows() == before + 62 and home.clean()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--accept-loss"], "name the topic whose loss is accepted, or which begins again: --topic"),
        (["--reset"], "name the topic whose loss is accepted, or which begins again: --topic"),
        (["--accept-loss", "--reset", "--topic", raw.topic], "--accept-loss goes on behind what was lost, --reset begins again: choose one"),
        (["--topic", "nothing"], f"no stream has the topic 'nothing'; there are .*{re.escape(raw.topic)}"),
        (["--every", "1"], "--every and --rows say when --follow commits"),
    ],
)
def test_what_it_refuses_is_one_line(home: Home, arguments: list[str], said: str) -> None:
    head = home.lake.last_commit(raw.spec)
    done = home.ql.run("land", *arguments, ok=False)
    assert re.fullmatch(f"quantlake: {said}.*\n", done.stderr) and not done.stdout, (done.stdout, done.stderr)
    assert home.lake.last_commit(raw.spec) == head


def test_no_broker_is_one_line() -> None:
    with commands() as elsewhere:
        for arguments in (["--follow"], ["--reset", "--topic", raw.topic]):
            assert "no broker is running in" in elsewhere.error("land", *arguments)


def test_losses_and_a_new_beginning(home: Home) -> None:
    before, log = home.rows(), home.broker.log_id(raw.topic)
    assert f"{raw.topic}: nothing was lost\n" in home.ql.run("land", "--topic", raw.topic, "--accept-loss").stdout
    assert home.rows() == before
    begun = home.ql.run("land", "--topic", raw.topic, "--reset").stdout.splitlines()
    told = rf"{re.escape(raw.topic)}: log {re.escape(log)} is over, committed to .*; {re.escape(log)}#2 begins with what the broker holds"
    assert re.fullmatch(told, begun[0]), begun
    assert home.rows() == 2 * before and home.clean()
