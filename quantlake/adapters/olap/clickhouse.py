"""ClickHouse behind the port ``Olap``: in process (chdb) or a server, through the same client.

Here: how tables are made, dates replaced and SQL run over Arrow tables. Not here: any rollup's SQL.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import pyarrow as pa

from quantlake.adapters.locks import file_lock
from quantlake.adapters.olap.clickhouse_types import (
    PARTITION_BY,
    check_rows,
    dates_list,
    definition,
    name,
    names,
    refuse_changes,
    table_columns,
    text,
    typed,
)
from quantlake.contract import QuantLakeError, TableSpec
from quantlake.contract.exact_sql import CLICKHOUSE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SCRATCH = "_scratch_"
PARTITION_ID = {"day": "%Y%m%d", "month": "%Y%m", "year": "%Y"}
INSERT = {"max_partitions_per_insert_block": 0}
REPLACE = {"allow_replace_partition_from_empty_source": 1}


class ClickHouse:
    """One ClickHouse database. Every method raises ``QuantLakeError`` where ClickHouse refuses or cannot be reached.

    ``connect`` opens a client; ``guard`` is held from before it opens until it is closed. ``alone``: nobody else can be in the
    database meanwhile, so a scratch table met there was left by a killed process.
    """

    def __init__(
        self,
        connect: Callable[[], "Client"],
        *,
        guard: Callable[[], AbstractContextManager[None]],
        database: str,
        where: str,
        advice: str,
        secret: str = "",
        alone: bool = False,
        locks: Path | None = None,
    ) -> None:
        self._connect, self._guard, self._database, self._locks = connect, guard, database, locks
        self._where, self._advice, self._secret, self._alone = where, advice, secret, alone

    @classmethod
    def embedded(cls, folder: Path, locks: Path, *, wait_seconds: float = 30) -> Self:
        """ClickHouse in this process, its data in ``folder``.

        chdb allows one process a folder, so each operation holds ``locks/clickhouse`` from open to close (0.57 s the first time
        in a process, 0.05 s after); where another process keeps it for ``wait_seconds``, ``QuantLakeError``.
        """

        def connect() -> "Client":
            import clickhouse_connect

            folder.mkdir(parents=True, exist_ok=True)
            return clickhouse_connect.get_client(interface="chdb", path=str(folder))

        return cls(
            connect,
            guard=lambda: file_lock(locks / "clickhouse", what=f"the ClickHouse folder {folder}", wait_seconds=wait_seconds),
            database="quantlake",
            where=f"ClickHouse in {folder}",
            advice="end what else has that folder open",
            alone=True,
            locks=locks,
        )

    @classmethod
    def server(
        cls,
        host: str,
        port: int,
        username: str,
        password: str,
        secure: bool,
        database: str = "quantlake",
        *,
        locks: Path | None = None,
    ) -> Self:
        """A ClickHouse server's HTTP port. Without ``locks``, ``lock`` keeps nobody apart."""

        def connect() -> "Client":
            import clickhouse_connect

            return clickhouse_connect.get_client(
                host=host, port=port, username=username, password=password, secure=secure, connect_timeout=10
            )

        return cls(
            connect,
            guard=nullcontext,
            database=database,
            where=f"ClickHouse at {host}:{port}",
            advice=f"check that it answers there (secure={secure}) and the password of {username}",
            secret=password,
            locks=locks,
        )

    def ensure(self, spec: TableSpec) -> None:
        """Create database and table if absent; add nullable columns the contract gained; bring descriptions up to date.

        Raises ``QuantLakeError`` where the table cannot follow: a changed type, key or partitioning, a lost column, a new
        column that is not null.
        """
        with self._session() as client:
            self._ensure(client, spec)

    def exists(self, spec: TableSpec) -> bool:
        with self._session() as client:
            return self._exists(client, spec)

    def counts(self, spec: TableSpec) -> dict[date, int]:
        """Rows by ``partition_date``; {} where the table does not exist."""
        with self._session() as client:
            if not self._exists(client, spec):
                return {}
            counted = f"SELECT partition_date, count() AS n FROM {self._table(spec.sql_name)} GROUP BY partition_date"
            found = client.query_arrow(counted)
        return dict(zip(found["partition_date"].to_pylist(), found["n"].to_pylist(), strict=True))

    def read(self, spec: TableSpec, dates: Collection[date] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of some dates (None: all) in order of date and key, typed as ``spec.arrow``; an absent table is empty."""
        schema = spec.arrow if columns is None else pa.schema([spec.arrow.field(c) for c in columns])
        if dates is not None and not dates:
            return schema.empty_table()
        where = "" if dates is None else f"WHERE partition_date IN ({dates_list(dates)})"
        order = names(("partition_date", *spec.key))
        query = f"SELECT {names(schema.names)} FROM {self._table(spec.sql_name)} {where} ORDER BY {order}"
        with self._session() as client:
            if not self._exists(client, spec):
                return schema.empty_table()
            rows = client.query_arrow(query, use_strings=False)
        return typed(rows, schema, spec.sql_name)

    def publish(self, spec: TableSpec, dates: Collection[date], rows: pa.Table) -> None:
        """Replace those dates by ``rows``, each atomically (with its month or year where that is the storage partition).

        Raises ``QuantLakeError`` before anything changes: rows of other dates, nulls where the table has none, values that do
        not fit, or whatever ``ensure`` refuses.
        """
        rows = check_rows(spec, dates, rows)
        if not dates:
            return
        target = self._table(spec.sql_name)
        with self._session() as client:
            self._sweep(client)
            self._ensure(client, spec)
            with self._scratch(client, f"AS {target}") as staging:
                self._insert(client, staging, rows)
                partitions = sorted({d.strftime(PARTITION_ID[spec.storage_partition]) for d in dates})
                if spec.storage_partition != "day":
                    self._keep(client, spec, dates, partitions, staging)
                for partition in partitions:
                    client.command(f"ALTER TABLE {target} REPLACE PARTITION {partition} FROM {staging}", settings=REPLACE)

    def transform(self, sql: str, inputs: Mapping[str, pa.Table], columns: pa.Schema) -> pa.Table:
        """Run ``sql`` over ``inputs``, each standing in it as ``{name}``, and return its rows typed as ``columns``.

        Unmatched rows of joins are null; it may use the functions of ``contract.exact_sql``. Raises ``QuantLakeError`` where a result does not fit its column.
        """
        with self._session() as client, ExitStack() as loaded:
            self._sweep(client)
            for key, rows in inputs.items():
                table = loaded.enter_context(self._scratch(client, f"({definition(rows)}) ENGINE = MergeTree ORDER BY tuple()"))
                self._insert(client, table, rows)
                sql = sql.replace("{" + key + "}", table)
            for function, body in CLICKHOUSE.items():
                if f"{function}(" in sql:
                    client.command(f"CREATE OR REPLACE FUNCTION {function} AS (x) -> {body}")
            result = client.query_arrow(sql, settings={"join_use_nulls": 1}, use_strings=False)
        return typed(result, columns, "the SQL's result")

    def lock(self, spec: TableSpec) -> AbstractContextManager[None]:
        """One writer of this table at a time on this machine; another file than the folder's, so ``publish`` works within."""
        return file_lock(self._locks / spec.sql_name, what=f"the table {spec.sql_name}") if self._locks else nullcontext()

    @contextmanager
    def _session(self) -> Iterator["Client"]:
        from clickhouse_connect.driver.exceptions import ClickHouseError

        with self._guard():
            try:
                client = self._connect()
            except ClickHouseError as error:
                raise QuantLakeError(f"{self._where} cannot be opened ({self._line(error)}); {self._advice}") from None
            try:
                yield client
            except ClickHouseError as error:
                raise QuantLakeError(f"{self._where} refused: {self._line(error)}") from None
            finally:
                client.close()

    def _line(self, error: Exception) -> str:
        line = " ".join(str(error).split())
        return (line.replace(self._secret, "***") if self._secret else line)[:1000]

    def _table(self, table: str) -> str:
        return f"{name(self._database)}.{name(table)}"

    def _of(self, spec: TableSpec, column: str) -> str:
        return f"database = {text(self._database)} AND {column} = {text(spec.sql_name)}"

    def _exists(self, client: "Client", spec: TableSpec) -> bool:
        return bool(client.command(f"SELECT count() FROM system.tables WHERE {self._of(spec, 'name')}"))

    def _ensure_database(self, client: "Client") -> None:
        if not client.command(f"SELECT count() FROM system.databases WHERE name = {text(self._database)}"):
            client.command(f"CREATE DATABASE IF NOT EXISTS {name(self._database)} ENGINE = Atomic")

    def _ensure(self, client: "Client", spec: TableSpec) -> None:
        self._ensure_database(client)
        if self._exists(client, spec):
            self._evolve(client, spec)
            return
        described = ", ".join(f"{name(c)} {kind} COMMENT {text(doc)}" for c, (kind, doc) in table_columns(spec).items())
        client.command(
            f"CREATE TABLE IF NOT EXISTS {self._table(spec.sql_name)} ({described}) ENGINE = MergeTree "
            f"PARTITION BY {PARTITION_BY[spec.storage_partition]} ORDER BY ({names(spec.key)}) COMMENT {text(spec.doc)}"
        )

    def _evolve(self, client: "Client", spec: TableSpec) -> None:
        wanted, table = table_columns(spec), self._table(spec.sql_name)
        rows = client.query(f"SELECT name, type, comment FROM system.columns WHERE {self._of(spec, 'table')}").result_rows
        found = {column: (kind, doc) for column, kind, doc in rows}
        layout = client.query(f"SELECT partition_key, sorting_key FROM system.tables WHERE {self._of(spec, 'name')}")
        refuse_changes(spec, {column: kind for column, (kind, _) in found.items()}, *layout.result_rows[0])
        for column, (kind, doc) in wanted.items():
            if column not in found:
                client.command(f"ALTER TABLE {table} ADD COLUMN {name(column)} {kind} COMMENT {text(doc)}")
            elif found[column][1] != doc:
                client.command(f"ALTER TABLE {table} COMMENT COLUMN {name(column)} {text(doc)}")

    def _keep(self, client: "Client", spec: TableSpec, dates: Collection[date], partitions: Sequence[str], staging: str) -> None:
        """Copy the other dates of the touched months or years, which REPLACE PARTITION takes along."""
        columns, part = names(spec.arrow.names), PARTITION_BY[spec.storage_partition]
        client.command(
            f"INSERT INTO {staging} ({columns}) SELECT {columns} FROM {self._table(spec.sql_name)} "
            f"WHERE {part} IN ({', '.join(partitions)}) AND partition_date NOT IN ({dates_list(dates)})",
            settings=INSERT,
        )

    def _insert(self, client: "Client", table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            client.insert_arrow(table, rows, settings=INSERT)

    def _sweep(self, client: "Client") -> None:
        """Drop the scratch tables of killed processes; on a server, where others may be at work, those older than a day."""
        self._ensure_database(client)
        old = "" if self._alone else "AND metadata_modification_time < now() - INTERVAL 1 DAY"
        ours = f"database = {text(self._database)} AND startsWith(name, {text(SCRATCH)})"
        for (table,) in client.query(f"SELECT name FROM system.tables WHERE {ours} {old}").result_rows:
            client.command(f"DROP TABLE IF EXISTS {self._table(table)} SYNC")

    @contextmanager
    def _scratch(self, client: "Client", described: str) -> Iterator[str]:
        """A table of a unique name, dropped at the end."""
        table = self._table(f"{SCRATCH}{uuid4().hex}")
        client.command(f"CREATE TABLE {table} {described}")
        try:
            yield table
        finally:
            client.command(f"DROP TABLE IF EXISTS {table} SYNC")
