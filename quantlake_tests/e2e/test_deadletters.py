"""Dead letters at the command line: listed, redriven once their schema is registered, and reported."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import dagster as dg
import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract.schemas import avro
from quantlake.contract.wire import avro_record, subject, wire_arrow, wire_schema
from quantlake.datasets.market.trades import raw
from quantlake.orchestration.instance import open_instance
from quantlake.ports import Message
from quantlake.sources.encode import encode
from quantlake_tests.e2e.commands import Commands, commands, wait_for

AT = datetime(2024, 3, 4, 15, tzinfo=UTC)
DEAD = 70


@pytest.fixture
def ql() -> Iterator[Commands]:
    with commands() as found, found.serving("up"):
        yield found


def reported(ql: Commands) -> set[str | None]:
    """The raw partitions that Dagster knows of."""
    with open_instance(ql.home / "dagster") as instance:
        records = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(raw.path.split("/"))), limit=100).records
    return {r.partition_key for r in records}


def test_dead_letters_are_listed_and_redriven(ql: Commands) -> None:
    registry = SqliteRegistry(ql.home / "registry.db")
    later = registry.register("other-value", wire_schema(raw)) + 1
    values = {"symbol": "ACME", "venue": "usa", "price": Decimal("25.5"), "size": Decimal(1), "side": "buy", "event_time": AT, "known_at": AT}
    rows = [{**values, "trade_id": str(n), "partition_date": AT.date(), "source_name": "test", "line_number": n} for n in range(DEAD)]
    broker = Kafka({"bootstrap.servers": json.loads((ql.home / "run" / "broker.json").read_text())["address"]})
    broker.produce(raw.topic, [*encode(raw, pa.Table.from_pylist(rows, wire_arrow(raw)), later), Message(b"k", b"[bold]plain")])
    log = ql.folder / "server.log"
    wait_for(lambda: sum(map(int, re.findall(r"(\d+) dead letters", log.read_text()))) == DEAD + 1, 30)

    listed = json.loads(ql.run("deadletters", "--json", "--topic", raw.topic).stdout)
    assert len(listed) == DEAD + 1 and {(r["topic"], r["error_class"]) for r in listed} == {(raw.topic, "unknown_schema"), (raw.topic, "framing")}
    (plain,) = [r for r in listed if r["error_class"] == "framing"]
    assert plain["size_bytes"] == 11 and plain["error"].startswith("no Confluent frame") and plain["time"].endswith("Z")
    shown = ql.run("deadletters").stdout
    assert "the newest 50; 21 more" in shown and 48 <= shown.count("unknown_schema") <= 52
    assert re.search(f"no stream has the topic 'nothing'; there are .*{raw.topic}", ql.error("deadletters", "--topic", "nothing"))

    assert registry.register(subject(raw), avro({**avro_record(raw), "doc": "later"})) == later and str(AT.date()) not in reported(ql)
    said = ql.run("deadletters", "--redrive").stdout
    assert f"{raw.topic}: {DEAD} came as rows, 1 remain dead; dates touched: 2024-03-04, " in said
    assert set(re.findall(r"\d{4}-\d\d-\d\d", said)) <= reported(ql)
    assert ql.sql("select (select count(*) from raw_market_trades) r, (select count(*) from deadletters) d") == [{"r": DEAD, "d": 1}]
