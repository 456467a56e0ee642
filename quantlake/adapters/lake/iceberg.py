"""Iceberg through pyiceberg: a local SQLite catalogue, Glue or any REST catalogue.

Here: tables from specs, partition reads and rewrites, appends that carry properties in their transaction, data files for
engines that read them directly. Not here: what the properties mean (landing), SQL (serving), versions (contract).
"""

import os
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.adapters.lake import maintenance
from quantlake.adapters.lake.answers import settle
from quantlake.adapters.lake.appending import Staged
from quantlake.adapters.lake.bounds import mend_pyiceberg
from quantlake.adapters.lake.committing import DATES, Appender, commit_of, listed
from quantlake.adapters.lake.direct import readable
from quantlake.adapters.lake.words import Words, theirs
from quantlake.adapters.locks import file_lock
from quantlake.contract import Column, QuantLakeError, TableSpec
from quantlake.ports import Commit, Files, Maintained

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

PROPERTIES = {
    "write.parquet.compression-codec": "zstd", "write.metadata.delete-after-commit.enabled": "true",
    "commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "50",
}  # fmt: skip
# A retry of a stale append is rebased silently and lands rows twice: a lander reads the offsets again instead.
NO_RETRY = {"commit.retry.num-retries": "0"}
PLANNED_DATES = 100


class Iceberg:
    """The tables of one catalogue (``properties`` as pyiceberg's ``load_catalog`` takes them). Raises ``QuantLakeError``."""

    def __init__(self, properties: Mapping[str, str], locks: Path) -> None:
        self._properties = dict(properties)
        self._locks = locks
        self._words = Words.of(properties)

    @classmethod
    def embedded(cls, folder: Path, locks: Path) -> "Iceberg":
        """Files and a SQLite catalogue below ``folder``."""
        uri = f"sqlite:///{folder / 'catalog.db'}"
        return cls({"type": "sql", "uri": uri, "warehouse": f"file://{folder}", "_folder": str(folder)}, locks)

    @cached_property
    def catalog(self) -> "Catalog":
        from quantlake.adapters.lake.clients import opened

        mend_pyiceberg()
        folder = self._properties.pop("_folder", None)
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
        try:
            with file_lock(self._locks / "catalog", what="the Iceberg catalogue"):  # two first uses at once race on its tables
                found = opened(self._properties)
        except QuantLakeError:
            raise
        except Exception as error:
            raise self._words.unavailable(error, "cannot be opened") from error
        settle(found, self._words)
        return found

    def ensure(self, spec: TableSpec) -> None:
        table = self._table(spec)
        if table is not None and not _missing(spec, table):
            return
        with self.lock(spec):
            table = self._table(spec)  # again: another process may have made it, or the column, while we waited
            if table is None:
                self._create(spec)
            elif new := _missing(spec, table):
                added = pa.schema([pa.field(c.name, c.type.arrow, metadata={"doc": c.doc}) for c in new])
                with self._in_words(spec, "changed"), table.update_schema() as update:
                    update.union_by_name(added)

    def exists(self, spec: TableSpec) -> bool:
        return self._table(spec) is not None

    def counts(self, spec: TableSpec) -> dict[date, int]:
        rows = self.read(spec, columns=["partition_date"])
        counted = rows.group_by("partition_date").aggregate([([], "count_all")]).to_pydict()
        return dict(sorted(zip(counted["partition_date"], counted["count_all"], strict=True)))

    def read(
        self, spec: TableSpec, dates: Collection[date] | None = None, columns: Sequence[str] | None = None, *, snapshot_id: int | None = None
    ) -> pa.Table:
        schema = pa.schema([f.with_nullable(True) for f in spec.arrow if columns is None or f.name in columns])
        table = self._table(spec)
        if table is None or (dates is not None and not dates):
            return schema.empty_table()
        at = _snapshot(spec, table, snapshot_id) if snapshot_id is not None else None
        stored = table.schemas()[at.schema_id] if at is not None and at.schema_id is not None else table.schema()
        have = set(stored.column_names)
        many = dates is not None and len(dates) > PLANNED_DATES
        selected = {f.name for f in schema if f.name in have} | ({"partition_date"} if many else set())
        scan = table.scan(selected_fields=tuple(selected), snapshot_id=snapshot_id)
        with self._in_words(spec, "read"):
            rows = (scan.filter(_covering(dates)) if dates is not None else scan).to_arrow()
        if many and dates is not None:
            rows = rows.filter(pc.is_in(rows["partition_date"], pa.array(list(dates), pa.date32())))
        return pa.Table.from_arrays(
            [rows[f.name].cast(f.type) if f.name in have else pa.nulls(rows.num_rows, f.type) for f in schema], schema=schema
        )

    def publish(self, spec: TableSpec, dates: Collection[date], rows: pa.Table) -> None:
        table = self._table(spec)
        if table is None:
            self._create(spec)
            table = self._table(spec)
        assert table is not None
        strangers = set(pc.unique(rows["partition_date"]).to_pylist()) - set(dates)
        if strangers:
            raise QuantLakeError(f"{spec.sql_name}: rows of {', '.join(sorted(map(str, strangers)))} were offered for publication as {listed(dates)}")
        with self._in_words(spec, "written"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Delete operation did not match any records")
            table.overwrite(self._rows(table, rows), overwrite_filter=_of_dates(dates), snapshot_properties={DATES: listed(dates)})

    def append(self, spec: TableSpec, rows: pa.Table, *, properties: Mapping[str, str], expected: Mapping[str, str]) -> None:
        with self.appender(spec) as appender:
            if rows.num_rows:
                appender.write(rows)
            appender.commit(properties=properties, expected=expected)

    @contextmanager
    def appender(self, spec: TableSpec) -> Iterator["Appender"]:
        table = self._table(spec)
        if table is None:
            raise QuantLakeError(f"there is no table {spec.sql_name}; it is made by the first landing")
        appender = Appender(spec, lambda: self._table(spec), Staged(table), self._words)
        try:
            yield appender
        finally:
            appender.staged.discard()

    def replace(self, spec: TableSpec, removed: pa.Table, rows: pa.Table) -> None:
        table = self._table(spec)
        if table is None:
            raise QuantLakeError(f"there is no table {spec.sql_name}; it is made by the first landing")
        there = _at_coordinates(removed)
        with self._in_words(spec, "read"):
            found = table.scan(row_filter=there, selected_fields=("_offset",)).to_arrow().num_rows
        if found != removed.num_rows:
            raise QuantLakeError(
                f"{spec.sql_name} has {found} of the {removed.num_rows} rows to replace: another writer changed them meanwhile; "
                "nothing was committed, run it again"
            )
        touched = {*pc.unique(removed["partition_date"]).to_pylist(), *pc.unique(rows["partition_date"]).to_pylist()}
        with self._in_words(spec, "written"):
            table.overwrite(self._rows(table, rows), overwrite_filter=there, snapshot_properties={DATES: listed(touched)})

    def batches(
        self, spec: TableSpec, columns: Sequence[str] | None = None, *, nulls: Mapping[str, bool], dates: Collection[date] | None = None
    ) -> Iterator[pa.Table]:
        from pyiceberg.io.pyarrow import ArrowScan

        table = self._table(spec)
        if table is None:
            return
        schema = pa.schema([f.with_nullable(True) for f in spec.arrow if columns is None or f.name in columns])
        have = set(table.schema().column_names)
        is_ = _expressions()
        where = is_.AlwaysTrue() if dates is None else _of_dates(dates)
        for name, null in nulls.items():
            where = is_.And(where, is_.IsNull(name) if null else is_.NotNull(name))
        scan = table.scan(row_filter=where, selected_fields=tuple(f.name for f in schema if f.name in have))
        # pyiceberg's own batch reader reads every file ahead of its consumer
        with self._in_words(spec, "read"):
            tasks = list(scan.plan_files())
        for task in tasks:
            with self._in_words(spec, "read"):
                rows = ArrowScan(table.metadata, table.io, scan.projection(), scan.row_filter).to_table([task])
            if rows.num_rows:
                arrays = [rows[f.name].cast(f.type) if f.name in have else pa.nulls(rows.num_rows, f.type) for f in schema]
                yield pa.Table.from_arrays(arrays, schema=schema)

    def properties(self, spec: TableSpec) -> dict[str, str]:
        table = self._table(spec)
        return dict(table.properties) if table else {}

    def set_properties(self, spec: TableSpec, properties: Mapping[str, str]) -> None:
        table = self._table(spec)
        if table is None:
            raise QuantLakeError(f"there is no table {spec.sql_name}")
        with self._in_words(spec, "changed"), table.transaction() as transaction:
            transaction.set_properties(dict(properties))

    def scan(self, spec: TableSpec, *, snapshot_id: int | None = None) -> pl.LazyFrame:
        table = self._table(spec)
        at = _snapshot(spec, table, snapshot_id) if table else None
        if table is None or at is None:
            return pl.DataFrame(spec.arrow.empty_table()).lazy()
        from quantlake.adapters.lake.clients import object_store

        os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")  # else each collect warns of a planner that is not installed
        options = object_store(table.io.properties) if table.location().startswith("s3") else None
        rows = pl.scan_iceberg(table, snapshot_id=at.snapshot_id, storage_options=options)
        have = set(rows.collect_schema().names())
        types = pl.DataFrame(spec.arrow.empty_table()).schema
        return rows.select(pl.col(n) if n in have else pl.lit(None, kind).alias(n) for n, kind in types.items())

    def files(self, spec: TableSpec, dates: Collection[date] | None = None, *, snapshot_id: int | None = None) -> Files:
        table = self._table(spec)
        if table is None:
            return Files((), {}, None)
        snapshot = _snapshot(spec, table, snapshot_id)
        scan = table.scan(snapshot_id=snapshot_id)
        scan = scan.filter(_covering(dates)) if dates is not None else scan
        with self._in_words(spec, "read"):
            tasks = list(scan.plan_files())
        if any(task.delete_files for task in tasks):
            raise QuantLakeError(f"{spec.sql_name} has delete files, which another writer made; compact it before reading")
        fields = {f.field_id: (f.name, _duckdb_type(t.type)) for f, t in zip(table.schema().fields, table.schema().as_arrow(), strict=True)}
        paths, file_system = readable(table, [t.file.file_path for t in tasks])
        return Files(paths, fields, snapshot.snapshot_id if snapshot else None, file_system)

    def commits(self, spec: TableSpec, after: int = 0) -> list[Commit]:
        table = self._table(spec)
        found = [commit_of(s) for s in table.metadata.snapshots if (s.sequence_number or 0) > after] if table else []
        return sorted(found, key=lambda c: c.sequence)

    def last_commit(self, spec: TableSpec) -> Commit | None:
        table = self._table(spec)
        snapshot = table.current_snapshot() if table else None
        return commit_of(snapshot) if snapshot else None

    def maintain(self, spec: TableSpec, keep: timedelta) -> Maintained:
        with self.lock(spec):
            table = self._table(spec)
            if table is None:
                return Maintained(0, 0, 0)
            before = maintenance.limit(table, datetime.now(UTC) - keep)
            gone = maintenance.expired(table, before)
            if not gone:
                return Maintained(0, 0, 0)
            with self._in_words(spec, "maintained"):
                files = maintenance.unreachable(table, gone)
                # the same ones; named by id, pyiceberg copies the metadata twice for each: 5 s of CPU for 300
                table.maintenance.expire_snapshots().older_than(before).commit()
            # after the commit, so that a crash between the two leaves files that nothing has, and never a snapshot without its files
            with self._in_words(spec, "freed of expired files"):
                maintenance.delete(table.io, files)
        return Maintained(len(gone), len(files), sum(files.values()))

    @contextmanager
    def lock(self, spec: TableSpec) -> Iterator[None]:
        with file_lock(self._locks / spec.sql_name, what=f"the table {spec.sql_name}"):
            yield

    def _table(self, spec: TableSpec) -> "Table | None":
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self.catalog.load_table((spec.layer, f"{spec.family}_{spec.name}"))
        except NoSuchTableError:
            return None
        except Exception as error:
            if not theirs(error):
                raise
            if type(error).__module__ == "builtins":  # an ``OSError`` of the store: the catalogue has told where the metadata is
                raise self._words.failure(spec, error, "read") from error
            raise self._words.unavailable(error) from error

    @contextmanager
    def _in_words(self, spec: TableSpec, done: str) -> Iterator[None]:
        """Errors of what is to be ``done`` in words of ours."""
        try:
            yield
        except Exception as error:
            failed = self._words.failure(spec, error, done)
            if failed is error:
                raise
            raise failed from error

    def _create(self, spec: TableSpec) -> None:
        from pyiceberg.transforms import DayTransform, MonthTransform, YearTransform

        transform = {"day": DayTransform, "month": MonthTransform, "year": YearTransform}[spec.storage_partition]()
        properties = PROPERTIES | {"comment": spec.doc} | (NO_RETRY if spec.layer == "raw" else {})
        place = (spec.layer, f"{spec.family}_{spec.name}")
        schema = pa.schema([f.with_nullable(True) for f in spec.arrow])
        with self._in_words(spec, "made"):
            with file_lock(self._locks / "catalog", what="the Iceberg catalogue"):  # two first tables of a layer race on it
                self.catalog.create_namespace_if_not_exists(spec.layer)
            with self.catalog.create_table_transaction(place, schema=schema, properties=properties) as transaction:
                with transaction.update_spec() as update:
                    update.add_field("partition_date", transform, f"partition_date_{spec.storage_partition}")
                with transaction.update_schema() as columns:
                    for column in spec.columns:
                        columns.update_column(column.name, doc=column.doc)

    @staticmethod
    def _rows(table: "Table", rows: pa.Table) -> pa.Table:
        """Rows in the stored column order; columns that the table has and the contract no longer names are null."""
        fields = list(table.schema().as_arrow())
        arrays = [rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in fields]
        return pa.Table.from_arrays(arrays, schema=pa.schema([pa.field(f.name, f.type) for f in fields]))


def _snapshot(spec: TableSpec, table: "Table", snapshot_id: int | None) -> "Snapshot | None":
    found = table.current_snapshot() if snapshot_id is None else table.snapshot_by_id(snapshot_id)
    if snapshot_id is not None and found is None:
        raise QuantLakeError(f"{spec.sql_name} no longer keeps snapshot {snapshot_id}: it has expired")
    return found


def _of_dates(dates: Collection[date]) -> "BooleanExpression":
    from pyiceberg.expressions import In

    return In("partition_date", {d.isoformat() for d in dates})  # type: ignore[call-arg, arg-type]


def _covering(dates: Collection[date]) -> "BooleanExpression":
    """Holds for the files of these dates, of many also for those between: pyiceberg plans n dates over n files in 17 s at 1,000."""
    from pyiceberg.expressions import And, GreaterThanOrEqual, LessThanOrEqual

    if len(dates) <= PLANNED_DATES:
        return _of_dates(dates)
    first, last = min(dates).isoformat(), max(dates).isoformat()
    return And(GreaterThanOrEqual("partition_date", first), LessThanOrEqual("partition_date", last))  # type: ignore[call-arg, arg-type]


def _at_coordinates(rows: pa.Table) -> "BooleanExpression":
    """The rows at these places: a term for each log and partition, however many offsets; gapless ones are a range alone."""
    is_ = _expressions()
    dates = pc.unique(rows["partition_date"]).to_pylist()
    places = rows.group_by(["_log", "_partition"]).aggregate([("_offset", "list"), ("_offset", "min"), ("_offset", "max")])
    terms = []
    for place in places.to_pylist():
        low, high, offsets = place["_offset_min"], place["_offset_max"], set(place["_offset_list"])
        term = is_.And(is_.EqualTo("_log", place["_log"]), is_.EqualTo("_partition", place["_partition"]))
        # also beside the set: Iceberg's statistics are not asked about one of more than 200
        term = is_.And(term, is_.GreaterThanOrEqual("_offset", low), is_.LessThanOrEqual("_offset", high))
        terms.append(term if len(offsets) == high - low + 1 else is_.And(term, is_.In("_offset", offsets)))
    found: BooleanExpression = is_.And(_of_dates(dates), is_.Or(*terms) if len(terms) > 1 else terms[0])
    return found


def _expressions() -> Any:
    """pyiceberg's expressions, whose generated signatures do not know the positional arguments that they take."""
    from pyiceberg import expressions

    return expressions


def _missing(spec: TableSpec, table: "Table") -> list[Column]:
    """The contract's columns that the table lacks. Raises ``QuantLakeError`` where one is stored as another type."""
    have = {f.name: f.type for f in table.schema().as_arrow()}
    for column in spec.columns:
        if column.name in have and not _same_type(have[column.name], column.type.arrow):
            raise QuantLakeError(
                f"{spec.sql_name}.{column.name} is stored as {have[column.name]}, the contract says {column.type.arrow}; "
                "a type cannot change: add a column of another name"
            )
    return [c for c in spec.columns if c.name not in have]


def _same_type(stored: pa.DataType, wanted: pa.DataType) -> bool:
    return _duckdb_type(stored) == _duckdb_type(wanted)


def _duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{_duckdb_type(kind.value_type)}[]"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    names = {
        "string": "VARCHAR", "large_string": "VARCHAR", "binary": "BLOB", "large_binary": "BLOB", "int64": "BIGINT", "bool": "BOOLEAN",
        "double": "DOUBLE", "float": "FLOAT", "date32[day]": "DATE",
    }  # fmt: skip
    return names[str(kind)]
