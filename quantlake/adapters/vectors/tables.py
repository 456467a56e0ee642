"""The tables of the vector store: how a contract's table is spelled, made and changed in PostgreSQL.

Here: DDL. Not here: rows, connections.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantlake.contract import Column, QuantLakeError, TableSpec, Vector

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

SCHEMA = "quantlake"
MAX_NAME_BYTES = 54  # PostgreSQL cuts names at 63 bytes; a partition's takes 9 more
REBUILD = "drop the table to rebuild it from its source"
TYPES = {  # Arrow type -> (its name in DDL as the catalog prints it, its name for binary COPY)
    pa.string(): ("text", "text"),
    pa.int64(): ("bigint", "int8"),
    pa.bool_(): ("boolean", "bool"),
    pa.float64(): ("double precision", "float8"),
    pa.binary(): ("bytea", "bytea"),
    pa.date32(): ("date", "date"),
    pa.timestamp("us", "UTC"): ("timestamp with time zone", "timestamptz"),
    pa.decimal128(38, 18): ("numeric(38,18)", "numeric"),
    pa.list_(pa.string()): ("text[]", "text[]"),
    Vector.arrow: ("vector({dimensions})", "vector"),
}


def sql(text: str, spec: TableSpec, columns: Sequence[str] = (), **names: str) -> "Composed":
    """``text`` with the table for ``{}``, a list of columns for ``{columns}`` and quoted names for the rest."""
    from psycopg.sql import SQL, Identifier

    quoted = {name: Identifier(value) for name, value in names.items()}
    return SQL(text).format(Identifier(SCHEMA, spec.sql_name), columns=SQL(", ").join(map(Identifier, columns)), **quoted)


def _quoted(spec: TableSpec) -> str:
    return f'{SCHEMA}."{spec.sql_name}"'


def copy_type(type_: pa.DataType) -> str:
    return TYPES[type_][1]


def lock(connection: "Connection[Any]", what: str) -> None:
    """Wait to be the only transaction, of any host, with this lock; it is freed when the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{SCHEMA}.{what}"])


def exists(connection: "Connection[Any]", spec: TableSpec) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [_quoted(spec)]).fetchone()
    return bool(found and found[0])


def ensure_schema(connection: "Connection[Any]") -> None:
    """The extension and the schema. Where they are there, nothing but reading is needed."""
    query = "SELECT 1 FROM pg_extension WHERE extname = 'vector' UNION ALL SELECT 1 FROM pg_namespace WHERE nspname = %s"
    if len(connection.execute(query, [SCHEMA]).fetchall()) == 2:
        return
    with connection.transaction():
        lock(connection, "ddl")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")


def ensure(connection: "Connection[Any]", spec: TableSpec, dimensions: int) -> None:
    """Create the table with its indexes, or bring it to ``spec`` where no row can be in the way; else ``QuantLakeError``."""
    if len(spec.sql_name.encode()) > MAX_NAME_BYTES:
        raise QuantLakeError(f"{spec.sql_name}: PostgreSQL takes names of up to {MAX_NAME_BYTES} bytes here; shorten it")
    with connection.transaction():
        lock(connection, "ddl")
        if not exists(connection, spec):
            _create(connection, spec, dimensions)
        _change(connection, spec, dimensions)


def ensure_partitions(connection: "Connection[Any]", spec: TableSpec, dates: Iterable[date]) -> None:
    """The partitions of ``dates``, in a transaction of their own: making one locks readers out until it commits."""
    query = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass(%s)"
    names = {name for (name,) in connection.execute(query, [_quoted(spec)]).fetchall()}
    missing = {f"{spec.sql_name}_{first:%Y%m%d}": (first, end) for first, end in {_span(spec, day) for day in dates}}
    missing = {name: span for name, span in missing.items() if name not in names}
    if not missing:
        return
    with connection.transaction():
        lock(connection, "ddl")
        for name, (first, end) in sorted(missing.items()):
            text = f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{{name}} PARTITION OF {{}} FOR VALUES FROM ('{first}') TO ('{end}')"
            connection.execute(sql(text, spec, name=name))


def _span(spec: TableSpec, day: date) -> tuple[date, date]:
    """The storage partition of a date: first day, and the day after its last."""
    if spec.storage_partition == "day":
        return day, date.fromordinal(day.toordinal() + 1)
    if spec.storage_partition == "year":
        return date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return day.replace(day=1), date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _spelled(column: Column, dimensions: int) -> str:
    if column.type.arrow not in TYPES:
        raise QuantLakeError(f"the column {column.name} is {column.type.arrow}, which the vector store has no type for")
    return TYPES[column.type.arrow][0].format(dimensions=dimensions)


def _create(connection: "Connection[Any]", spec: TableSpec, dimensions: int) -> None:
    """Indexes are declared on the parent; every partition gets them."""
    from psycopg.sql import SQL, Identifier

    types = [SQL(_spelled(c, dimensions) + ("" if c.null else " NOT NULL")) for c in spec.columns]
    declared = [SQL("{} {}").format(Identifier(c.name), type_) for c, type_ in zip(spec.columns, types, strict=True)]
    text = SQL(", ").join(declared) + SQL(") PARTITION BY RANGE (partition_date)")
    connection.execute(sql("CREATE TABLE {} (", spec) + text)
    connection.execute(sql("CREATE INDEX ON {} (partition_date)", spec))
    if spec.key:
        connection.execute(sql("CREATE INDEX ON {} ({columns})", spec, spec.key))
    for column in spec.columns:
        if column.type == Vector:
            connection.execute(sql("CREATE INDEX ON {} USING hnsw ({vector} vector_cosine_ops)", spec, vector=column.name))
    connection.execute(sql("COMMENT ON TABLE {} IS ", spec) + _literal(spec.doc))


def _literal(text: str) -> "Composed":
    from psycopg.sql import SQL, Literal

    return SQL("{}").format(Literal(text))


def _change(connection: "Connection[Any]", spec: TableSpec, dimensions: int) -> None:
    """Add new nullable columns, loosen NOT NULL, renew comments; refuse what old rows could break."""
    found = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, coalesce(col_description(attrelid, attnum), '')"
        " FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [_quoted(spec)],
    )
    there = {name: (type_, required, doc) for name, type_, required, doc in found.fetchall()}
    wanted = {c.name for c in spec.columns}
    gone = [name for name, (_, required, _) in there.items() if required and name not in wanted]
    if gone:
        raise QuantLakeError(f"{spec.sql_name}: the table requires {gone}, which the contract lacks; {REBUILD}")
    for column in spec.columns:
        spelled = _spelled(column, dimensions)
        if column.name not in there:
            if not column.null:
                raise QuantLakeError(f"{spec.sql_name}: the new column {column.name} must be nullable; else {REBUILD}")
            connection.execute(sql(f"ALTER TABLE {{}} ADD COLUMN {{column}} {spelled}", spec, column=column.name))
        type_, required, doc = there.get(column.name, (spelled, False, ""))
        if type_ != spelled or (required, column.null) == (False, False):
            is_, should = (f"{t}{' not null' if r else ''}" for t, r in ((type_, required), (spelled, not column.null)))
            raise QuantLakeError(f"{spec.sql_name}: {column.name} is {is_}, the contract says {should}; {REBUILD}")
        if required and column.null:
            connection.execute(sql("ALTER TABLE {} ALTER COLUMN {column} DROP NOT NULL", spec, column=column.name))
        if doc != column.doc:
            connection.execute(sql("COMMENT ON COLUMN {}.{column} IS ", spec, column=column.name) + _literal(column.doc))
