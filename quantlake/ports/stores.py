"""The ports of the stores that hold partitions: lake, OLAP, vectors; and the feature store."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from quantlake.contract import Document, FeatureView, QuantLakeError, TableSpec


class PartitionStore(Protocol):
    """A store of tables that are read and replaced by ``partition_date``."""

    def ensure(self, spec: TableSpec) -> None:
        """Create the table if absent; add columns the contract gained. Raises ``QuantLakeError`` on an incompatible change."""
        ...

    def exists(self, spec: TableSpec) -> bool: ...

    def counts(self, spec: TableSpec) -> dict[date, int]:
        """Rows by ``partition_date``; {} where the table does not exist."""
        ...

    def read(self, spec: TableSpec, dates: Collection[date] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of some dates (None: all), typed as ``spec.arrow``; an absent table reads as empty."""
        ...

    def publish(self, spec: TableSpec, dates: Collection[date], rows: pa.Table) -> None:
        """Replace those dates by ``rows`` (all of these dates), each date atomically; no rows for a date clears it."""
        ...

    def lock(self, spec: TableSpec) -> AbstractContextManager[None]:
        """One writer of this table at a time, across processes; freed by the kernel if its holder dies."""
        ...


@dataclass(frozen=True)
class Files:
    """A table's data files at one snapshot, for engines that read them directly.

    ``fields`` maps Iceberg field id to (name, DuckDB type), so that added columns read as null in older files. ``file_system`` (fsspec)
    opens the paths; None: they are local.
    """

    paths: tuple[str, ...]
    fields: Mapping[int, tuple[str, str]]
    snapshot_id: int | None
    file_system: Any = None


@dataclass(frozen=True)
class Commit:
    """One commit of a table: ``sequence`` grows from commit to commit, ``dates`` are the partitions that it touched."""

    sequence: int
    snapshot_id: int
    committed_at: datetime
    dates: frozenset[date]


@dataclass(frozen=True)
class Maintained:
    """What maintenance of a table freed: ``expired`` snapshots, and the ``files`` (of so many ``bytes``) that only these had."""

    expired: int
    files: int
    bytes: int


class StaleWriterError(QuantLakeError):
    """Another writer committed meanwhile; nothing was committed."""


class Appender(Protocol):
    """Rows for one table in files that nobody sees before they are committed; a commit may be followed by another."""

    def write(self, rows: pa.Table) -> None:
        """Add rows (of the spec's columns, with their types or polars' views of text), in their order."""
        ...

    def commit(self, *, properties: Mapping[str, str], expected: Mapping[str, str]) -> Commit:
        """As ``Lake.append``, of all that was written since the last commit. The snapshot's summary has the properties too."""
        ...


class Lake(PartitionStore, Protocol):
    """Iceberg. Beside partitions: appends that carry offsets, table properties, commits, files."""

    def read(
        self, spec: TableSpec, dates: Collection[date] | None = None, columns: Sequence[str] | None = None, *, snapshot_id: int | None = None
    ) -> pa.Table:
        """As of any store; ``snapshot_id``: the table as it was then. Raises ``QuantLakeError`` where that snapshot has expired."""
        ...

    def append(self, spec: TableSpec, rows: pa.Table, *, properties: Mapping[str, str], expected: Mapping[str, str]) -> None:
        """Append rows and properties in one transaction, with no blind retry. The caller holds ``lock``.

        Raises ``StaleWriterError`` and commits nothing where the table's properties are not the ``expected`` ones ("" = absent):
        another writer committed since they were read. Raises ``QuantLakeError`` where files cannot be written (a full disk).
        """
        ...

    def appender(self, spec: TableSpec) -> AbstractContextManager[Appender]:
        """The same in pieces, for more rows than should be in memory at once. What is left uncommitted is deleted at its exit."""
        ...

    def replace(self, spec: TableSpec, removed: pa.Table, rows: pa.Table) -> None:
        """Remove raw rows and append others in one transaction, whose summary lists the dates of both. The caller holds ``lock``.

        ``removed`` has ``_log``, ``_partition``, ``_offset``, ``partition_date``, at least one row. Properties stay as they are.
        Raises ``QuantLakeError`` and commits nothing where the rows to remove are not all there exactly once (another writer
        replaced them), or another writer commits meanwhile.
        """
        ...

    def batches(
        self, spec: TableSpec, columns: Sequence[str] | None = None, *, nulls: Mapping[str, bool], dates: Collection[date] | None = None
    ) -> Iterator[pa.Table]:
        """Rows whose columns are null (True) or not (False) as ``nulls`` says, typed as ``read`` types them, a data file at a time.

        All of one snapshot, also where the table is changed between two. Files that cannot hold such a row are not opened.
        """
        ...

    def properties(self, spec: TableSpec) -> dict[str, str]:
        """The table's properties, read afresh; {} where it does not exist."""
        ...

    def set_properties(self, spec: TableSpec, properties: Mapping[str, str]) -> None: ...

    def scan(self, spec: TableSpec, *, snapshot_id: int | None = None) -> pl.LazyFrame:
        """All rows, typed as ``spec.arrow``, read when collected: only the files and columns that its filters and selections need.

        It stays at ``snapshot_id`` (None: the current one), whatever is committed later. An absent table scans as empty.
        """
        ...

    def files(self, spec: TableSpec, dates: Collection[date] | None = None, *, snapshot_id: int | None = None) -> Files:
        """The files that hold rows of ``dates`` (None: all), and maybe of others: who reads them filters on the date too."""
        ...

    def commits(self, spec: TableSpec, after: int = 0) -> list[Commit]:
        """Commits of a greater sequence than ``after``, oldest first; what has expired is missing (a first one above ``after + 1``)."""
        ...

    def last_commit(self, spec: TableSpec) -> Commit | None:
        """The current snapshot's commit; None: no commit yet."""
        ...

    def maintain(self, spec: TableSpec, keep: timedelta) -> Maintained:
        """Expire the snapshots older than ``keep``, never the current one, and delete the files that no other snapshot has.

        Holds ``lock``. Rows, properties and what other machines commit meanwhile stay. An absent table has nothing to free.
        Raises ``QuantLakeError`` where another writer was in the way; then nothing was done.
        """
        ...


class Objects(Protocol):
    """Documents under the hash of their content, in the lake's folder or bucket. Who sends a row that names one keeps it first."""

    def put(self, document: Document) -> None:
        """Keep a document, whole or not at all; one that is there stays. Raises ``QuantLakeError`` where it cannot be written."""
        ...

    def get(self, uri: str) -> bytes:
        """The bytes of ``Document.uri``. Raises ``QuantLakeError``: no such address, none there, or not the bytes that were kept."""
        ...


class Olap(PartitionStore, Protocol):
    """ClickHouse."""

    def transform(self, sql: str, inputs: Mapping[str, pa.Table], columns: pa.Schema) -> pa.Table:
        """Run ``sql`` in ClickHouse over Arrow tables loaded into temporary ones; ``{name}`` in it stands for each input.

        Returns its rows cast to ``columns``. Leaves nothing behind.
        """
        ...


class VectorStore(PartitionStore, Protocol):
    """pgvector."""

    def embed(self, texts: Sequence[str]) -> pa.Array:
        """One unit vector (list<float32>) a text; the same text gives the same vector whatever stands beside it."""
        ...

    def nearest(self, spec: TableSpec, vector: Sequence[float], limit: int, dates: tuple[date, date] | None = None) -> pa.Table:
        """The ``limit`` nearest rows by cosine distance, nearest first, with the column ``distance`` added."""
        ...


class FeatureStore(Protocol):
    """Feast: online writes and reads; its offline store is the lake's table of the view."""

    def apply(self, views: Sequence[FeatureView]) -> None:
        """Register entities, sources and views; repeats are harmless."""
        ...

    def write_online(self, view: FeatureView, rows: pa.Table) -> int:
        """Offer rows (``view.columns``); for each entity the newest is kept, never replaced by an older one. Returns entities written."""
        ...

    def withdraw(self, view: FeatureView, gone: pa.Table, remaining: Callable[[], pa.Table]) -> int:
        """Before the offline table loses the rows ``gone``: an entity that shows one of them gets the newest of ``remaining()``."""
        ...

    def read_online(self, view: FeatureView, entities: Mapping[str, Sequence[Any]]) -> pa.Table:
        """The online features of entities (join key -> values), a row an entity, null where unknown."""
        ...

    def historical(self, view: FeatureView, entity_rows: pa.Table) -> pa.Table:
        """Point-in-time join: ``entity_rows`` (join keys and ``event_timestamp``) with the features known then, within the ttl."""
        ...
