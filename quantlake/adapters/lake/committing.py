"""Commits to an Iceberg table: what a snapshot says of its own, appends of staged files, and what it means when one fails.

Not here: how files are laid out (``appending``), other changes of a table (``iceberg``).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantlake.adapters.lake.appending import Staged
from quantlake.contract import QuantLakeError, TableSpec
from quantlake.ports import Commit, StaleWriterError

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

DATES = "quantlake.dates"  # in a snapshot's summary: the partitions that its commit touched


def commit_of(snapshot: "Snapshot") -> Commit:
    touched = snapshot.summary.additional_properties.get(DATES, "") if snapshot.summary else ""
    dates = frozenset(date.fromisoformat(d) for d in touched.split(",") if d)
    return Commit(snapshot.sequence_number or 0, snapshot.snapshot_id, datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC), dates)


def listed(dates: Collection[date]) -> str:
    return ",".join(d.isoformat() for d in sorted(dates))


def conflict(spec: TableSpec, error: Exception) -> Exception:
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    if isinstance(error, CommitFailedException | ValidationException):
        return StaleWriterError(f"{spec.sql_name} was changed by another writer meanwhile, and nothing was committed; run it again ({error})")
    return error


class Appender:
    """Appends of one table, one commit after the other: see the port."""

    def __init__(self, spec: TableSpec, load: "Callable[[], Table | None]", staged: Staged) -> None:
        self._spec, self._load, self.staged = spec, load, staged

    def write(self, rows: pa.Table) -> None:
        try:
            self.staged.write(rows)
        except OSError as error:
            raise _full(self._spec, error) from error

    def commit(self, *, properties: Mapping[str, str], expected: Mapping[str, str]) -> Commit:
        table = self._load()
        if table is None:
            raise QuantLakeError(f"there is no table {self._spec.sql_name} any more; nothing was committed")
        stale = [name for name, value in expected.items() if table.properties.get(name, "") != value]
        if stale:
            raise StaleWriterError(
                f"{self._spec.sql_name}: another writer committed {', '.join(stale)} meanwhile; nothing was committed, run it again"
            )
        table = self._committed(table, properties)
        self.staged = Staged(table)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return commit_of(snapshot)

    def _committed(self, table: "Table", properties: Mapping[str, str]) -> "Table":
        staged, dates = self.staged, listed(self.staged.dates)
        try:
            files = staged.finish()
        except OSError as error:
            raise _full(self._spec, error) from error
        # from here on a failure may have come after the commit: only one that surely came before it lets files be deleted
        self.staged = Staged(table)
        try:
            _commit_files(table, files, {DATES: dates, **properties}, properties)
        except Exception as error:
            failed = conflict(self._spec, error)
            if isinstance(failed, StaleWriterError):
                staged.discard()
                raise failed from error
            try:
                now = self._load()
            except QuantLakeError:  # nobody can say by now
                raise QuantLakeError(f"{self._spec.sql_name}: {said(error)}; whether it was committed is not known, the next run looks") from error
            if now is not None and properties and all(now.properties.get(name) == value for name, value in properties.items()):
                return now  # it was committed, and the answer was lost
            raise _uncommitted(self._spec, error) from error
        return table


def _uncommitted(spec: TableSpec, error: Exception) -> Exception:
    """What failed for certain, as an error of one line; a bug of ours stays what it is."""
    if isinstance(error, OSError):
        return _full(spec, error)
    if not of_catalogue(error):
        return error
    return QuantLakeError(f"{spec.sql_name}: the catalogue did not take the commit: {said(error)}; nothing was committed, run it again")


def of_catalogue(error: Exception) -> bool:
    """Whether an error is the catalogue's or its client's own."""
    return type(error).__module__.partition(".")[0] in ("sqlalchemy", "pyiceberg", "requests", "urllib3", "botocore")


def said(error: Exception) -> str:
    """An error's own words in one line; SQLAlchemy adds its statement and a link."""
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__


def _full(spec: TableSpec, error: OSError) -> Exception:
    return QuantLakeError(f"{spec.sql_name} cannot be written: {error.strerror or error}; nothing was committed. Free some space, then run it again")


def _commit_files(table: "Table", files: "Sequence[DataFile]", summary: Mapping[str, str], properties: Mapping[str, str]) -> None:
    """One transaction: the files and the properties. Without files too it is a snapshot, which another writer's commit fails."""
    with _transaction(table) as transaction:
        # merging manifests: many small commits would leave as many for each reader to open
        with transaction.update_snapshot(snapshot_properties=dict(summary)).merge_append() as append:
            for file in files:
                append.append_data_file(file)
        transaction.set_properties(dict(properties))


def _transaction(table: "Table") -> "Transaction":
    """One that looks at the table's metadata as it is. pyiceberg's own builds it anew, by deep copies of every snapshot, each of the 15
    times that a commit looks at it: 0.18 CPU-s a commit at 300 snapshots, where this takes 0.07."""
    from pyiceberg.table import Transaction

    class Known(Transaction):
        _known: "tuple[Any, TableMetadata] | None" = None

        @property
        def table_metadata(self) -> "TableMetadata":
            if not self._updates:
                return self._table.metadata
            if self._known is None or self._known[0] is not self._updates:
                self._known = (self._updates, super().table_metadata)
            return self._known[1]

    return Known(table)
