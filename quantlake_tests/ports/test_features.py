"""What every feature store does: the newest online, the past as it was known offline."""

import json
import math
import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from quantlake.adapters.features.feast_store import FeastStore
from quantlake.contract import (
    PARTITION_DATE,
    Column,
    FeatureView,
    Float,
    Integer,
    Price,
    QuantLakeError,
    TableSpec,
    Text,
    Timestamp,
)
from quantlake.datasets.market.trades import trades
from quantlake_tests.ports.children import child, ended, said, told
from quantlake_tests.servers.redis import RedisServer

PORT = "FeatureStore"
NOON = datetime(2013, 10, 7, 12, tzinfo=UTC)
DAY = date(2013, 10, 7)
MINUTE = timedelta(minutes=1)


def make_view(name: str = "activity", family: str = "market", *extra: Column) -> FeatureView:
    return FeatureView(
        f"quantlake.datasets.{family}.{name}",
        doc="Activity.",
        owner="tests",
        of=(trades,),
        entities=("symbol", "venue"),
        ttl=timedelta(days=1),
        columns=(
            Column("symbol", Text, "Symbol."),
            Column("venue", Text, "Venue."),
            Column("event_time", Timestamp, "When."),
            Column("volume", Float, "Volume.", null=True),
            Column("trade_count", Integer, "Trades.", null=True),
            Column("known_at", Timestamp, "Known."),
            PARTITION_DATE,
            *extra,
        ),
    )


VIEW = make_view()


class MemoryLake:
    """The lake's ``read`` over rows at hand; remembers which dates were asked."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked: list[Collection[date] | None] = []

    def read(self, spec: TableSpec, dates: Collection[date] | None = None) -> pa.Table:
        self.asked.append(dates)
        return pa.Table.from_pylist([r for r in self.rows if dates is None or r["partition_date"] in dates], schema=spec.arrow)


@pytest.fixture
def lake() -> MemoryLake:
    return MemoryLake()


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.servers)])
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def online_store(adapter_name: str, request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """How the online store is configured; it is empty."""
    if adapter_name == "embedded":
        return None
    server: RedisServer = request.getfixturevalue("redis_server")
    with server.client() as client:
        client.flushall()
    return {"type": "redis", "connection_string": server.connection}


@pytest.fixture
def store(tmp_path: Path, lake: MemoryLake, online_store: dict[str, Any] | None) -> FeastStore:
    return FeastStore(tmp_path / "feast", lake.read, online_store, tmp_path / "locks")


def row(minute: float, volume: float | None = 1, known: float | None = None, symbol: str = "IBM", **other: Any) -> dict[str, Any]:
    at = NOON + MINUTE * minute
    return {
        "symbol": symbol, "venue": "usa", "event_time": at, "volume": volume, "trade_count": 2**53 + 1,
        "known_at": at if known is None else NOON + MINUTE * known, "partition_date": at.date(), **other,
    }  # fmt: skip


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=VIEW.spec.arrow)


def online(store: FeastStore, *symbols: str) -> list[float | None]:
    found = store.read_online(VIEW, {"symbol": symbols, "venue": ["usa"] * len(symbols)})
    volumes: list[float | None] = found["volume"].to_pylist()
    return volumes


def asked(*minutes: float, symbol: str = "IBM") -> pa.Table:
    at = pa.array([NOON + MINUTE * m for m in minutes], pa.timestamp("us", "UTC"))
    return pa.table({"symbol": [symbol] * len(minutes), "venue": ["usa"] * len(minutes), "event_timestamp": at})


def test_online_features_come_back_exactly(store: FeastStore) -> None:
    store.apply([VIEW])
    assert store.write_online(VIEW, table(row(0, 0.1), row(0, None, symbol="Ü", trade_count=None))) == 2
    found = store.read_online(VIEW, {"venue": ["usa"] * 3, "symbol": ["Ü", "IBM", "nobody"]})
    assert found.schema.names == ["symbol", "venue", "volume", "trade_count"]
    assert found["symbol"].to_pylist() == ["Ü", "IBM", "nobody"]
    assert found["volume"].to_pylist() == [None, 0.1, None]
    assert found["trade_count"].to_pylist() == [None, 2**53 + 1, None]
    assert store.read_online(VIEW, {"symbol": [], "venue": []}).num_rows == 0


def test_the_newest_row_of_an_entity_stays(store: FeastStore) -> None:
    assert store.write_online(VIEW, table(row(2, 3.0), row(1, 2.0), row(0, 1.0, symbol="BAC"))) == 2
    assert online(store, "IBM", "BAC") == [3, 1]
    assert store.write_online(VIEW, table(row(1, 9.0), row(1, 2.0, symbol="BAC"))) == 1
    assert online(store, "IBM", "BAC") == [3, 2]
    assert store.write_online(VIEW, table(row(2, 4.0, known=90))) == 1
    assert store.write_online(VIEW, table(row(2, 5.0, known=89))) == 0
    assert online(store, "IBM") == [4]
    assert store.write_online(VIEW, table(row(2, 6.0, known=90))) == 1
    assert online(store, "IBM") == [6]  # of the same times the last: what was computed again from late rows
    assert store.write_online(VIEW, table(row(2 + 1 / 60e6, 7.0))) == 1
    assert online(store, "IBM") == [7]
    assert store.write_online(VIEW, table()) == 0


def test_a_withdrawn_row_does_not_stay_online(store: FeastStore) -> None:
    store.write_online(VIEW, table(row(2, 3.0), row(2, 5.0, symbol="BAC"), row(1, 8.0, symbol="S")))
    asked: list[int] = []

    def remaining() -> pa.Table:
        asked.append(1)
        return table(row(1, 1.0), row(0, 0.5))

    assert store.withdraw(VIEW, table(row(1, 9.0), row(2, 9.0, symbol="S")), remaining) == 0
    assert online(store, "IBM", "BAC", "S") == [3, 5, 8] and not asked  # none of them shows such a row
    assert store.withdraw(VIEW, table(row(2, 3.0), row(2, 5.0, symbol="BAC")), remaining) == 2
    assert online(store, "IBM", "BAC", "S") == [1, None, 8]
    assert store.write_online(VIEW, table(row(0, 2.0, symbol="BAC"))) == 1
    assert online(store, "BAC") == [2]


def test_extreme_numbers_and_times_come_back_exactly(store: FeastStore) -> None:
    before, after = -200 * 365 * 24 * 60, 200 * 365 * 24 * 60
    numbers = [float("inf"), float("-inf"), 5e-324, -1.7976931348623157e308, 0.0, -0.0]
    counts = [2**63 - 1, -(2**63), 0, -1, None, 1]
    rows = [row(after if n % 2 else before, x, symbol=f"S{n}", trade_count=c) for n, (x, c) in enumerate(zip(numbers, counts, strict=True))]
    assert store.write_online(VIEW, table(*rows)) == len(rows)
    found = store.read_online(VIEW, {"symbol": [r["symbol"] for r in rows], "venue": ["usa"] * len(rows)})
    assert list(map(repr, found["volume"].to_pylist())) == list(map(repr, numbers))
    assert found["trade_count"].to_pylist() == counts
    assert store.write_online(VIEW, table(row(0, float("nan"), symbol="S0"), row(0, 1.0, symbol="S1"))) == 1
    assert math.isnan(online(store, "S0")[0] or 0) and online(store, "S1") == [float("-inf")]


def test_a_row_from_before_1970_is_online_also_after_a_withdrawal(store: FeastStore) -> None:
    old = row(-200 * 365 * 24 * 60, 7.0)
    assert store.write_online(VIEW, table(old)) == 1
    assert online(store, "IBM") == [7]
    assert store.withdraw(VIEW, table(old), table) == 1
    assert online(store, "IBM") == [None]
    assert store.write_online(VIEW, table({**old, "volume": 8.0})) == 1
    assert online(store, "IBM") == [8]


def test_any_text_names_an_entity(store: FeastStore) -> None:
    names = ["", " ", "IBM ", "ibm", "a,b", "a\nb", "a\0b", "é", "e\u0301", "東京 🚀", "שלום", "x" * 100_000, "'; DROP TABLE t --"]
    assert store.write_online(VIEW, table(*(row(0, float(n), symbol=name) for n, name in enumerate(names)))) == len(names)
    assert online(store, *names, "x" * 99_999) == [*range(len(names)), None]


def test_ten_thousand_entities_are_asked_at_once(store: FeastStore) -> None:
    names = [f"S{n}" for n in range(10_000)]
    assert store.write_online(VIEW, table(*(row(0, float(n), symbol=s) for n, s in enumerate(names)))) == 10_000
    assert online(store, *reversed(names)) == [*reversed(range(10_000))]


WRITER = """
import json, sys
from pathlib import Path
from quantlake_tests.ports.test_features import VIEW, FeastStore, row, table
repo, locks, config, number = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
store = FeastStore(repo, lambda spec, dates: spec.arrow.empty_table(), config, locks)
store.apply([VIEW])
print("ready", flush=True)
sys.stdin.readline()
for n in range(150):  # each symbol is a race of its own
    store.write_online(VIEW, table(row(number, float(number), symbol=f"S{n}")))
"""


def test_processes_that_write_at_once_leave_the_newest(store: FeastStore, tmp_path: Path, online_store: dict[str, Any] | None) -> None:
    """Where the online store is shared, they are on machines of their own: nothing but the server keeps them apart."""
    store.apply([VIEW])
    places = [tmp_path / str(n) if online_store else tmp_path for n in range(4)]
    writers = [child(WRITER, place / "feast", place / "locks", json.dumps(online_store), str(n)) for n, place in enumerate(places)]
    for writer in writers:
        assert said(writer) == "ready"
    for writer in writers:
        told(writer, "go")
    assert [ended(writer) for writer in writers] == [0, 0, 0, 0]
    assert online(store, *(f"S{n}" for n in range(150))) == [3.0] * 150


def test_many_entities(store: FeastStore) -> None:
    names = [f"S{n}" for n in range(2_500)]
    assert store.write_online(VIEW, table(*(row(0, float(n), symbol=s) for n, s in enumerate(names)))) == 2_500
    assert store.write_online(VIEW, table(*(row(-1, symbol=s) for s in names), row(1, -1.0, symbol="S7"))) == 1
    assert online(store, "S7", "S2499") == [-1, 2499]


def test_history_is_what_was_known_then(store: FeastStore, lake: MemoryLake) -> None:
    lake.rows = [row(0, 1.0), row(10, 2.0, known=30), row(20, 3.0, known=40), row(0, 9.0, symbol="BAC")]
    found = store.historical(VIEW, asked(45, -1, 0, 20, 35, 30, 29.999, 45))
    assert found["volume"].to_pylist() == [3, None, 1, 1, 2, 2, 1, 3]
    assert found["trade_count"].to_pylist()[:2] == [2**53 + 1, None]
    assert found.schema.names == ["symbol", "venue", "event_timestamp", "volume", "trade_count"]


def test_history_ends_with_the_ttl(store: FeastStore, lake: MemoryLake) -> None:
    lake.rows = [row(0, 1.0)]
    assert store.historical(VIEW, asked(24 * 60, 24 * 60 + 1))["volume"].to_pylist() == [1, None]


def test_history_keeps_the_askers_rows(store: FeastStore, lake: MemoryLake) -> None:
    lake.rows = [row(0, 1.0), row(0, 2.0, symbol="BAC")]
    rows = pa.concat_tables([asked(5, symbol="BAC"), asked(5), asked(5, symbol="nobody")])
    rows = rows.append_column("label", pa.array([1, None, 2**60 + 1], pa.int64()))
    found = store.historical(VIEW, rows)
    assert found.select(rows.column_names).equals(rows)
    assert found["volume"].to_pylist() == [2, 1, None]
    assert store.historical(VIEW, rows.slice(0, 0)).schema.equals(found.schema)


def test_history_reads_only_dates_it_can_need(store: FeastStore, lake: MemoryLake) -> None:
    assert store.historical(VIEW, asked(0, 60 * 24 * 300))["volume"].to_pylist() == [None, None]
    (dates,) = lake.asked
    assert dates is not None
    assert sorted(dates)[:5] == [DAY + timedelta(n) for n in (-2, -1, 0, 1, 298)]
    assert len(dates) == 8


def test_feasts_own_store_sees_no_future_either(store: FeastStore, lake: MemoryLake) -> None:
    lake.rows = [row(0, 1.0), row(10, 2.0, known=30)]
    store.apply([VIEW])
    entities = pd.DataFrame({"symbol": ["IBM"], "venue": ["usa"], "event_timestamp": [pd.Timestamp(NOON + MINUTE * 20)]})
    found = store.feast.get_historical_features(entities, ["activity:volume"], full_feature_names=True).to_df()
    assert found["activity__volume"].tolist() == [1.0]


def test_feasts_own_materialize_works(store: FeastStore, lake: MemoryLake) -> None:
    lake.rows = [row(0, 1.0), row(10, 2.0)]
    store.apply([VIEW])
    store.feast.materialize(NOON - MINUTE, NOON + MINUTE * 5, ["activity"], disable_event_timestamp=False)
    assert online(store, "IBM") == [1]
    assert store.write_online(VIEW, table(row(10, 2.0))) == 1


def test_apply_repeats_changes_and_refuses(
    store: FeastStore, tmp_path: Path, lake: MemoryLake, online_store: dict[str, Any] | None
) -> None:
    store.apply([VIEW])
    registered = store.feast.get_feature_view("activity").last_updated_timestamp
    store.apply([VIEW])
    FeastStore(tmp_path / "feast", lake.read, online_store, tmp_path / "locks").apply([VIEW])
    assert store.feast.get_feature_view("activity").last_updated_timestamp == registered
    wider = make_view("activity", "market", Column("depth", Float, "Depth.", null=True))
    store.apply([wider])
    store.write_online(wider, pa.Table.from_pylist([row(0, depth=0.5)], schema=wider.spec.arrow))
    assert store.read_online(wider, {"symbol": ["IBM"], "venue": ["usa"]})["depth"].to_pylist() == [0.5]
    with pytest.raises(QuantLakeError, match="another family"):
        store.apply([make_view("activity", "alt")])
    with pytest.raises(QuantLakeError, match="price cannot go to Feast"):
        store.apply([make_view("odd", "market", Column("price", Price, "Price."))])
    with pytest.raises(QuantLakeError, match="asked by symbol, venue; found symbol"):
        store.read_online(VIEW, {"symbol": ["IBM"]})


def test_importing_the_adapter_does_not_import_feast() -> None:
    code = "import sys, quantlake.adapters.features.feast_store, quantlake.adapters.olap.clickhouse as c; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"feast", "chdb", "clickhouse_connect"} & set(loaded)
