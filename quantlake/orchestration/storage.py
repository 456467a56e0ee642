"""The embedded profile's event log: Dagster's SQLite storage with its connections kept, and many events stored at once.

Dagster opens an engine and a connection for every statement, so each event compiles its SQL anew: 8.9 ms of CPU an event, and a
date of an asset has about ten. With the engines kept it is 1.8 ms, in groups (one transaction, one statement a table) 0.2 ms.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from dagster._core.events import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import func, select
from sqlalchemy.engine import Connection, Engine

EVALUATION = DagsterEventType.ASSET_CHECK_EVALUATION
GROUPED = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_MATERIALIZATION_PLANNED, EVALUATION)
BUSY_SECONDS = 60  # how long a statement waits for another process's
ENGINES = 8  # the index and the runs being written or looked at; each keeps up to its pool's connections open


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's event log in SQLite files, a shard a run, over kept engines. Same files, same schema."""

    _engines: OrderedDict[str, Engine]

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = OrderedDict()
        self._tables: set[str] = set()
        self._open: dict[str, Connection] | None = None  # of the group that is being stored
        self._waiting: list[EventLogEntry] = []
        self._unplanned: set[str] = set()  # runs that planned no evaluation
        super().__init__(base_dir, inst_data)
        self._db_lock = threading.RLock()  # type: ignore[assignment]  # a group's own statements come through

    @contextmanager
    def grouped(self) -> Iterator[None]:
        """Store the events of the block in one transaction a file, kept if it ends well; other threads wait meanwhile.

        A commit is a third of an event's cost, and a range of dates has thousands.
        """
        with self._db_lock, ExitStack() as stack:
            if self._open is not None:
                yield
                return
            self._stack, self._open = stack, {}
            try:
                yield
                self._store_waiting()
            finally:
                self._open, self._waiting = None, []

    def store_event(self, event: EventLogEntry) -> None:
        """As Dagster's; in a group what partitions have most of waits for its end."""
        if self._open is not None and event.run_id and event.dagster_event_type in GROUPED:
            self._waiting.append(event)
        else:
            super().store_event(event)

    def _store_waiting(self) -> None:
        """What Dagster's ``store_event`` writes of each, a statement a table."""
        events = self._waiting
        rows = [self._event_to_row(event) for event in events]
        if not rows:
            return
        for run_id in {event.run_id for event in events}:
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), [row for row in rows if row["run_id"] == run_id])
        with self.index_connection() as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
            last = connection.execute(select(func.max(SqlEventLogStorageTable.c.id))).scalar_one()  # no other writer is let in
            numbered = list(zip(range(last - len(rows) + 1, last + 1), events, rows, strict=True))
            of_assets = [(i, event) for i, event, _ in numbered if event.dagster_event_type != EVALUATION]
            if of_assets:
                self._store_asset_event_tags(connection, [event for _, event in of_assets], [i for i, _ in of_assets])
            newest = {(event.dagster_event_type, row["asset_key"]): (i, event) for i, event, row in numbered}
            for (kind, _), (i, event) in newest.items():
                if kind != EVALUATION:
                    self._store_asset_event(connection, event, i)
            self._store_evaluations(connection, [entry for entry in numbered if entry[1].dagster_event_type == EVALUATION])

    def _store_evaluations(self, connection: Connection, numbered: "list[tuple[int, EventLogEntry, dict[str, Any]]]") -> None:
        table, new = AssetCheckExecutionsTable, []
        planned = self._planned(connection, {event.run_id for _, event, _ in numbered})
        for i, event, row in numbered:
            evaluation: Any = event.dagster_event.event_specific_data if event.dagster_event else None
            asset = evaluation.asset_key.to_string()  # the event's own row has none
            if (event.run_id, asset, evaluation.check_name, evaluation.partition) in planned:
                self._update_asset_check_evaluation(event, i)
                continue
            target = evaluation.target_materialization_data
            status = AssetCheckExecutionRecordStatus.SUCCEEDED if evaluation.passed else AssetCheckExecutionRecordStatus.FAILED
            new.append({
                "asset_key": asset, "check_name": evaluation.check_name, "run_id": event.run_id, "execution_status": status.value,
                "evaluation_event": row["event"], "evaluation_event_timestamp": row["timestamp"], "evaluation_event_storage_id": i,
                "materialization_event_storage_id": target.storage_id if target else None, "partition": evaluation.partition,
            })  # fmt: skip
        if new:
            connection.execute(table.insert(), new)

    def _planned(self, connection: Connection, runs: set[str]) -> set[tuple[Any, ...]]:
        """The evaluations that runs planned. A run plans when it is made, and one that planned none is not asked again: by the number of
        its evaluations so far, which would be their square."""
        table = AssetCheckExecutionsTable
        asked = runs - self._unplanned
        of_runs = select(table.c.run_id, table.c.asset_key, table.c.check_name, table.c.partition).where(table.c.run_id.in_(asked))
        planned = {tuple(row) for row in connection.execute(of_runs.where(table.c.execution_status == "PLANNED"))} if asked else set()
        self._unplanned |= asked - {row[0] for row in planned}
        return planned

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """As Dagster's, in one transaction."""
        with self.grouped():
            super().store_event_batch(events)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            if self._open is None:
                with self._transaction(shard) as connection:
                    yield connection
                return
            if shard not in self._open:
                self._open[shard] = self._stack.enter_context(self._transaction(shard))
            yield self._open[shard]

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        engine = self._engines.pop(shard, None)
        if engine is None:
            # one connection, which threads may share: whoever uses it holds the lock
            options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
            engine = create_engine(self.conn_string_for_shard(shard), connect_args=options, pool_size=1)
        self._engines[shard] = engine
        while len(self._engines) > ENGINES:
            self._engines.popitem(last=False)[1].dispose()
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        with engine.connect() as connection, connection.begin():
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Asked for every check's event; a table that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()


def grouped(storage: EventLogStorage) -> AbstractContextManager[None]:
    """One transaction for the events of the block, where the storage can."""
    return storage.grouped() if isinstance(storage, PooledSqliteEventLogStorage) else nullcontext()


class PooledSqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage (``base_dir``), with this event log."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = PooledSqliteEventLogStorage(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "PooledSqliteStorage":
        return cls.from_local(inst_data=inst_data, **config_value)
