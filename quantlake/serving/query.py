"""SQL over every table, by DuckDB on the tables' own files.

Here: which view each SQL name is, and streaming answers. Not here: transports, output formats.
Names: ``layer_family_name`` (curated: latest versions; raw: without dead letters; those that stand), ``..._versions`` (curated, all
versions; derived whose rows may not stand, all rows), further views of curated tables (``..._<view>``), ``rejected_layer_family_name``, and ``deadletters`` over all raw tables. As known at a time,
raw and curated rows are found by a predicate, derived and feature rows by ``as_known``; a rollup shows those of its columns that its
derived base has. Amounts of 256 bits are summed and compared by the functions of ``contract.exact_sql``.
"""

import re
from collections.abc import Collection, Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from quantlake.contract import Dataset, EmbeddingIndex, QuantLakeError, Rollup, Standing, Stream, Table, TableSpec
from quantlake.contract.catalog import Catalog
from quantlake.contract.exact_sql import DUCKDB
from quantlake.contract.standing import told_sql
from quantlake.contract.versions import across_sql, arrived_then_sql, known_then_sql, latest_sql, viewed_sql
from quantlake.ports import Files, Platform
from quantlake.serving.as_known import AsKnown, base_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

BATCH_ROWS = 100_000
NO_FILES = Files((), {}, None)
DEAD_LETTER_COLUMNS = "partition_date, _topic, _log, _partition, _offset, _timestamp, _error_class, _error, _key, _headers, _value"


class QueryService:
    """Answers SQL. Raises ``QuantLakeError`` for SQL that does not parse or bind, or an as-known-at that a table cannot answer."""

    def __init__(self, catalog: Catalog, platform: Platform) -> None:
        self._catalog = catalog
        self._platform = platform

    def run(self, sql: str, as_known_at: datetime | None = None) -> pa.RecordBatchReader:
        """The answer as a stream of record batches, as known at a time (aware) if one is given.

        Partitions that must be computed again are computed before the first batch, and are held in memory.
        """
        import duckdb

        connection = duckdb.connect()
        connection.execute("; ".join(("SET TimeZone = 'UTC'", *DUCKDB)))
        try:
            # by words: DuckDB 2.0's own get_table_names refuses JOIN ... USING over tables it does not know yet
            for name in sorted(set(re.findall(r"\w+", sql.lower())) & set(self.names())):
                self._define(connection, name, as_known_at)
            answer = connection.sql(sql)
            if answer is not None:
                return _read(_exact(answer))
        except duckdb.CatalogException as error:
            raise QuantLakeError(f"{_one_line(str(error)).split(' Did you mean')[0]} There are {', '.join(self.names())}") from error
        except duckdb.Error as error:
            raise QuantLakeError(_one_line(str(error))) from error
        return pa.table({"ok": pa.array([True])}).to_reader()

    def names(self) -> list[str]:
        """Every SQL name there is."""
        names = ["deadletters"]
        for d in self._catalog.datasets:
            names.append(d.spec.sql_name)
            names += [f"{d.spec.sql_name}_{view}" for view in d.views_besides]
            names += [] if isinstance(d, Stream) else [d.rejected_spec.sql_name]
        return sorted(names)

    def _define(self, connection: "DuckDBPyConnection", name: str, moment: datetime | None) -> None:
        if name == "deadletters":
            connection.execute(f"CREATE VIEW {name} AS {self._dead_letters(connection, moment)}")
            return
        dataset, view = self._named(name)
        if dataset is None:
            rejected = next((d for d in self._catalog.datasets if not isinstance(d, Stream) and d.rejected_spec.sql_name == name), None)
            if rejected is not None and moment is not None:
                raise QuantLakeError(f"--as-known-at cannot be answered for {name}: what was rejected was never published")
            if rejected is not None:
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {self._files(connection, rejected.rejected_spec)}")
            return  # an unknown name is DuckDB's to report, with its suggestions
        if moment is None and isinstance(dataset, Rollup | EmbeddingIndex):
            store = self._platform.olap if isinstance(dataset, Rollup) else self._platform.vectors
            connection.register(name, store.read(dataset.spec))
            return
        rows = self._select(connection, dataset, moment, view)
        if dataset.stands:
            rows = self._told(connection, f"({rows})", dataset, dataset.stands, moment)
            rows = rows if view == "versions" else f'SELECT * FROM ({rows}) WHERE "{dataset.stands.name}"'
        connection.execute(f"CREATE VIEW {name} AS {rows}")

    def _told(self, connection: "DuckDBPyConnection", rows: str, dataset: Dataset, standing: Standing, moment: datetime | None) -> str:
        by = self._catalog[standing.by]
        now, versions = (f"({self._select(connection, by, moment, view)})" for view in ("", "versions"))
        undated = connection.execute(f'SELECT 1 FROM {rows} WHERE "{standing.dated}" IS NULL LIMIT 1').fetchone()  # there are few, if any
        return told_sql(rows, standing, now, versions, dataset.identity if undated else ())

    def _named(self, name: str) -> tuple[Dataset | None, str]:
        """The dataset of an SQL name, and which view of it: "" its own, ``versions``, or one of the contract's."""
        found = self._catalog.by_sql_name
        if name in found:
            return found[name], ""
        return next(((d, v) for d in self._catalog.datasets for v in d.views_besides if name == f"{d.spec.sql_name}_{v}"), (None, ""))

    def _select(self, connection: "DuckDBPyConnection", dataset: Dataset, moment: datetime | None, view: str) -> str:
        if moment is not None and not isinstance(dataset, Stream | Table):
            return self._as_known(connection, dataset, moment)
        source = self._files(connection, dataset.spec)
        if isinstance(dataset, Stream):
            known = f" AND {arrived_then_sql(moment)}" if moment else ""
            return f"SELECT * EXCLUDE (_error_class, _error, _value) FROM {source} WHERE _error_class IS NULL{known}"
        if not isinstance(dataset, Table):
            return f"SELECT * FROM {source}"
        source = across_sql(source, dataset)
        if view == "versions":
            return f"SELECT * FROM {source}" + (f" WHERE known_at <= TIMESTAMPTZ '{moment.isoformat()}'" if moment else "")
        rule = known_then_sql(moment, dataset) if moment else latest_sql(dataset)
        rows = f"SELECT * EXCLUDE (superseded_at) FROM {source} WHERE {rule}"
        return viewed_sql(f"({rows})", next(v for v in dataset.views if v.name == view)) if view else rows

    def _as_known(self, connection: "DuckDBPyConnection", dataset: Dataset, moment: datetime) -> str:
        base = base_of(dataset)
        known = AsKnown.of(base, moment, self._platform.lake)
        has = {c.name for c in base.columns}
        columns = ", ".join(f'"{c.name}"' for c in dataset.columns if c.name in has)
        parts = []
        if known.served:
            source = scan(connection, self._platform.lake.files(base.spec, known.served, snapshot_id=known.snapshot_id), base.spec)
            then = f" AND known_at <= TIMESTAMPTZ '{moment.isoformat()}'" if "known_at" in has else ""
            parts.append(f"SELECT * FROM {source} WHERE partition_date IN ({_dates(known.served)}){then}")
        computed = [frame.to_arrow() for frame in known.frames()]
        if computed:
            held = f"computed_{dataset.spec.sql_name}"
            connection.register(held, pa.concat_tables(computed))
            parts.append(f"SELECT * FROM {held}")
        return f"SELECT {columns} FROM ({' UNION ALL BY NAME '.join(parts or [f'SELECT * FROM {scan(connection, NO_FILES, base.spec)}'])})"

    def _dead_letters(self, connection: "DuckDBPyConnection", moment: datetime | None) -> str:
        known = f" AND _timestamp <= TIMESTAMPTZ '{moment.isoformat()}'" if moment else ""
        sources = [self._files(connection, s.spec) for s in self._catalog.streams]
        parts = [f"SELECT {DEAD_LETTER_COLUMNS} FROM {source} WHERE _error_class IS NOT NULL{known}" for source in sources]
        return " UNION ALL ".join(parts)

    def _files(self, connection: "DuckDBPyConnection", spec: TableSpec) -> str:
        return scan(connection, self._platform.lake.files(spec), spec)


def scan(connection: "DuckDBPyConnection", files: Files, spec: TableSpec) -> str:
    """The table function that reads a table's files, columns mapped by Iceberg field id; an empty table keeps its columns."""
    if files.file_system is not None and not connection.filesystem_is_registered(files.file_system.protocol):
        connection.register_filesystem(files.file_system)
    if not files.paths:
        columns = ", ".join(f"NULL::{_duckdb(f.type)} AS \"{f.name}\"" for f in spec.arrow)
        return f"(SELECT {columns} LIMIT 0)"
    fields = ", ".join(f"{i}: {{name: '{name}', type: '{kind}', default_value: NULL}}" for i, (name, kind) in files.fields.items())
    return f"read_parquet([{_quoted(files.paths)}], schema = MAP {{{fields}}})"


def _exact(answer: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """Numbers of any size as text: Arrow knows none."""
    types = [str(kind) for kind in answer.types]
    if not any("BIGNUM" in kind for kind in types):
        return answer
    columns = (f'"{name}"' for name in (column.replace('"', '""') for column in answer.columns))
    return answer.project(", ".join(f"CAST({c} AS {kind.replace('BIGNUM', 'VARCHAR')}) AS {c}" for c, kind in zip(columns, types, strict=True)))


def _read(answer: "DuckDBPyRelation") -> pa.RecordBatchReader:
    """Its batches; what fails while it is read fails as what cannot be asked."""
    import duckdb

    reader: pa.RecordBatchReader = answer.to_arrow_reader(BATCH_ROWS)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise QuantLakeError(_one_line(str(error))) from error

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _quoted(paths: Collection[str]) -> str:
    return ", ".join("'" + path.replace("'", "''") + "'" for path in paths)


def _dates(dates: Collection[date]) -> str:
    return ", ".join(f"DATE '{day}'" for day in dates)


def _duckdb(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_duckdb(kind.value_type)}[]"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    names = {
        "string": "VARCHAR", "binary": "BLOB", "int64": "BIGINT", "bool": "BOOLEAN", "double": "DOUBLE", "float": "FLOAT",
        "date32[day]": "DATE", "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
    }  # fmt: skip
    return names[str(kind)]


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "^" not in line)
