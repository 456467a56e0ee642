"""The ports of the stores that hold partitions: lake, OLAP, vectors; and the feature store."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

import pyarrow as pa

from quantlake.contract import FeatureView, TableSpec


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

    ``fields`` maps Iceberg field id to (name, DuckDB type), so that added columns read as null in older files.
    """

    paths: tuple[str, ...]
    fields: Mapping[int, tuple[str, str]]
    snapshot_id: int | None


@dataclass(frozen=True)
class Commit:
    """One commit of a table: ``sequence`` grows from commit to commit, ``dates`` are the partitions that it touched."""

    sequence: int
    snapshot_id: int
    committed_at: datetime
    dates: frozenset[date]


class Lake(PartitionStore, Protocol):
    """Iceberg. Beside partitions: appends that carry offsets, table properties, commits, files."""

    def read(
        self, spec: TableSpec, dates: Collection[date] | None = None, columns: Sequence[str] | None = None, *, snapshot_id: int | None = None
    ) -> pa.Table:
        """As of any store; ``snapshot_id``: the table as it was then. Raises ``QuantLakeError`` where that snapshot has expired."""
        ...

    def append(self, spec: TableSpec, rows: pa.Table, *, properties: Mapping[str, str], expected: Mapping[str, str]) -> None:
        """Append rows and properties in one transaction, with no blind retry. The caller holds ``lock``.

        Raises ``QuantLakeError`` and commits nothing where the table's properties are not the ``expected`` ones ("" = absent):
        another writer committed since they were read.
        """
        ...

    def properties(self, spec: TableSpec) -> dict[str, str]:
        """The table's properties, read afresh; {} where it does not exist."""
        ...

    def set_properties(self, spec: TableSpec, properties: Mapping[str, str]) -> None: ...

    def files(self, spec: TableSpec, dates: Collection[date] | None = None) -> Files: ...

    def commits(self, spec: TableSpec, after: int = 0) -> list[Commit]:
        """Commits of a greater sequence than ``after``, oldest first; what has expired is missing (a first one above ``after + 1``)."""
        ...

    def last_commit(self, spec: TableSpec) -> Commit | None:
        """The current snapshot's commit; None: no commit yet."""
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

    def read_online(self, view: FeatureView, entities: Mapping[str, Sequence[Any]]) -> pa.Table:
        """The online features of entities (join key -> values), a row an entity, null where unknown."""
        ...

    def historical(self, view: FeatureView, entity_rows: pa.Table) -> pa.Table:
        """Point-in-time join: ``entity_rows`` (join keys and ``event_timestamp``) with the features known then, within the ttl."""
        ...
