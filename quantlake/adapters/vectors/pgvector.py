"""Vectors in PostgreSQL with pgvector: partitioned tables, replaced by date, searched by cosine distance.

Here: tables, rows and search. Not here: the embedded server (``postgres``) and the embedding model (``minilm``).
A connection lives as long as one call (7 ms through the socket), so threads and forked processes never share one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantlake.adapters.locks import file_lock
from quantlake.adapters.vectors import tables
from quantlake.adapters.vectors.minilm import DIMENSIONS, MiniLM
from quantlake.adapters.vectors.postgres import EmbeddedPostgres
from quantlake.contract import QuantLakeError, TableSpec, Vector

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

CONNECT_SECONDS = 5
MAX_EF_SEARCH = 1000  # pgvector's own limit


class PgVector:
    """The port ``VectorStore``. Every method raises ``QuantLakeError``, in one line and without the password, for what
    PostgreSQL refuses. Vector columns hold ``dimensions`` numbers."""

    def __init__(self, dsn: Callable[[], str], close: Callable[[], None], locks: Path, dimensions: int = DIMENSIONS) -> None:
        self._dsn = dsn
        self._close = close
        self._locks = locks
        self._dimensions = dimensions
        self._model = MiniLM()
        self._prepared = False

    @classmethod
    def embedded(cls, folder: Path, locks: Path, dimensions: int = DIMENSIONS) -> "PgVector":
        """PostgreSQL over ``folder``, started at the first call and stopped when the last process that uses it ends."""
        server = EmbeddedPostgres(folder)
        return cls(server.dsn, server.close, locks, dimensions)

    @classmethod
    def server(cls, dsn: str, locks: Path, dimensions: int = DIMENSIONS) -> "PgVector":
        """A PostgreSQL that is there, by its connection string."""
        return cls(lambda: dsn, lambda: None, locks, dimensions)

    def close(self) -> None:
        """Let go of the embedded server; the next call starts it again."""
        self._close()

    def lock(self, spec: TableSpec) -> AbstractContextManager[None]:
        return file_lock(self._locks / spec.sql_name, what=f"the table {spec.sql_name}")

    def embed(self, texts: Sequence[str]) -> pa.Array:
        return self._model.embed(texts)

    def ensure(self, spec: TableSpec) -> None:
        with self._connection(spec) as connection:
            tables.ensure(connection, spec, self._dimensions)

    def exists(self, spec: TableSpec) -> bool:
        with self._connection(spec) as connection:
            return tables.exists(connection, spec)

    def counts(self, spec: TableSpec) -> dict[date, int]:
        with self._connection(spec) as connection:
            if not tables.exists(connection, spec):
                return {}
            query = tables.sql("SELECT partition_date, count(*) FROM {} GROUP BY 1 ORDER BY 1", spec)
            return dict(connection.execute(query).fetchall())

    def read(self, spec: TableSpec, dates: Collection[date] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows by date and key."""
        schema = spec.arrow if columns is None else pa.schema([spec.arrow.field(c) for c in columns])
        with self._connection(spec) as connection:
            if not tables.exists(connection, spec):
                return schema.empty_table()
            query = tables.sql("SELECT {columns} FROM {}", spec, schema.names)
            if dates is not None:
                query += tables.sql(" WHERE partition_date = ANY(%s)", spec)
            query += tables.sql(" ORDER BY {columns}", spec, ["partition_date", *spec.key])
            with connection.cursor(binary=True) as cursor:
                return _arrow(cursor.execute(query, None if dates is None else [list(dates)]), schema)

    def publish(self, spec: TableSpec, dates: Collection[date], rows: pa.Table) -> None:
        """All dates change in one transaction; rows of other dates are untouched. Rows dated elsewhere are refused."""
        given = rows["partition_date"].unique().to_pylist()
        strangers = sorted(str(day) for day in set(given) - set(dates))
        if strangers:
            raise QuantLakeError(f"{spec.sql_name}: rows of {', '.join(strangers)} are not of the dates to publish")
        values = [self._values(spec, field, rows[field.name]) for field in spec.arrow]
        with self._connection(spec) as connection:
            tables.ensure_partitions(connection, spec, given)
            with connection.transaction(), connection.cursor() as cursor:
                tables.lock(connection, spec.sql_name)
                cursor.execute(tables.sql("DELETE FROM {} WHERE partition_date = ANY(%s)", spec), [list(dates)])
                with cursor.copy(tables.sql("COPY {} ({columns}) FROM STDIN (FORMAT BINARY)", spec, spec.arrow.names)) as copy:
                    copy.set_types([tables.copy_type(field.type) for field in spec.arrow])
                    for row in zip(*values, strict=True):
                        copy.write_row(row)

    def nearest(self, spec: TableSpec, vector: Sequence[float], limit: int, dates: tuple[date, date] | None = None) -> pa.Table:
        """``spec.arrow`` and ``distance`` (float64, 0 = same direction, 2 = opposite); ``dates`` are first and last, inclusive.

        The index is asked iteratively: without that a filter of 8 % of the rows found 0.35 of the true neighbours.
        """
        import numpy as np

        schema = spec.arrow.append(pa.field("distance", pa.float64()))
        embedding = next(c.name for c in spec.columns if c.type == Vector)
        if len(vector) != self._dimensions:
            raise QuantLakeError(f"{spec.sql_name}: the vector has {len(vector)} numbers, {embedding} has {self._dimensions}")
        parameters: list[Any] = [np.asarray(vector, np.float32)]
        where = ""
        if dates is not None:
            where, parameters = " WHERE partition_date BETWEEN %s AND %s", [*parameters, *dates]
        near = f"SELECT {{columns}}, {{vector}} <=> %s AS distance FROM {{}}{where} ORDER BY distance LIMIT %s"
        query = f"WITH near AS MATERIALIZED ({near}) SELECT * FROM near ORDER BY distance"  # relaxed order is nearly sorted
        with self._connection(spec) as connection, connection.transaction(), connection.cursor(binary=True) as cursor:
            if not tables.exists(connection, spec):
                return schema.empty_table()
            cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
            cursor.execute(f"SET LOCAL hnsw.ef_search = {min(max(2 * limit, 100), MAX_EF_SEARCH)}")
            found = cursor.execute(tables.sql(query, spec, spec.arrow.names, vector=embedding), [*parameters, limit])
            return _arrow(found, schema)

    def _values(self, spec: TableSpec, field: pa.Field, column: pa.ChunkedArray) -> Sequence[Any]:
        """A column as psycopg takes it; vectors as numpy arrays (a list of floats would be dumped as an array)."""
        if field.nullable is False and column.null_count:
            raise QuantLakeError(f"{spec.sql_name}: {column.null_count} rows have no {field.name}, which may not be null")
        if field.type != Vector.arrow:
            return list(column.cast(field.type).to_pylist())
        import numpy as np

        vectors = [None if v.values is None else np.asarray(v.values, np.float32) for v in column]
        lengths = {len(v) for v in vectors if v is not None} - {self._dimensions}
        if lengths:
            raise QuantLakeError(f"{spec.sql_name}: {field.name} holds {self._dimensions} numbers; given were {sorted(lengths)}")
        return vectors

    @contextmanager
    def _connection(self, spec: TableSpec) -> "Iterator[Connection[Any]]":
        import psycopg
        from pgvector.psycopg import register_vector

        dsn, connected = self._dsn(), False
        try:
            with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
                connected = True
                if not self._prepared:
                    tables.ensure_schema(connection)
                    self._prepared = True
                register_vector(connection)
                connection.execute("SET timezone TO 'UTC'")  # in a server's zone the first and last years do not fit Python's times
                yield connection
        except psycopg.Error as error:
            raise QuantLakeError(_told(dsn, spec, error, connected)) from None


def _told(dsn: str, spec: TableSpec, error: Exception, connected: bool) -> str:
    """One line about a failure: where and what, never the password."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:  # its message quotes the string
        return "the PostgreSQL connection string cannot be parsed; write postgresql://user:password@host:port/database"
    said = " ".join(str(error).split())
    if password := parts.get("password"):
        said = said.replace(str(password), "***")
    place = f"{parts.get('user', '')}@{parts.get('host', '')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    advice = f"; check that it answers there, its sslmode and the password of {parts.get('user', 'the user')}" if not connected else ""
    return f"{spec.sql_name}: PostgreSQL at {place} refused: {said}{advice}"


def _arrow(cursor: "Cursor[Any]", schema: pa.Schema) -> pa.Table:
    rows = cursor.fetchall()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([_column(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _column(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if type_ == Vector.arrow:
        values = [None if v is None else v.to_numpy() for v in values]
    return pa.array(values, type_)
