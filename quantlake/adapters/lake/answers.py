"""Answers of a catalogue that were lost: whether a commit is in the table all the same.

A catalogue may commit and its answer never arrive. A client or a gateway that then asks again is told of a conflict, with its own
commit; pyiceberg takes that for a commit that failed, and deletes the manifests that the table now has.
Not here: what is committed (``committing``), how an error reads (``words``).
"""

import time
from typing import TYPE_CHECKING, Any

from quantlake.adapters.lake.words import Words
from quantlake.contract import QuantLakeError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import CommitTableResponse, Table
    from pyiceberg.table.metadata import TableMetadata

LOOK_SECONDS = 15.0  # how long it is tried to look again at a table


class UnsettledError(QuantLakeError):
    """Whether something was committed is not known."""


def settle(catalog: "Catalog", words: Words) -> None:
    """Let each commit of a catalogue that raises look at the table: one that is there is no error.

    Raises from then on: the error itself where the commit is not there, ``UnsettledError`` where nobody can say, which no one may
    take for a commit that failed.
    """
    theirs: Any = catalog.commit_table

    def commit_table(table: "Table", requirements: Any, updates: Any) -> "CommitTableResponse":
        from pyiceberg.table import CommitTableResponse

        try:
            done: CommitTableResponse = theirs(table, requirements, updates)
            return done
        except Exception as error:
            if not _recognisable(updates):
                raise
            now = _looked(catalog, table, error, words)
            if now is None or not _has(now.metadata, updates):
                raise
            return CommitTableResponse(metadata=now.metadata, **{"metadata-location": now.metadata_location})

    catalog.commit_table = commit_table  # type: ignore[method-assign]


def _looked(catalog: "Catalog", table: "Table", failed: Exception, words: Words) -> "Table | None":
    """The table as it is by now. Raises ``UnsettledError`` where it cannot be loaded."""
    from pyiceberg.exceptions import NoSuchTableError

    deadline, wait = time.monotonic() + LOOK_SECONDS, 0.1
    while True:
        try:
            return catalog.load_table(table.name())
        except NoSuchTableError:
            return None
        except Exception as error:
            if time.monotonic() + wait > deadline:
                name = "_".join(table.name())
                raise UnsettledError(f"{name}: {words.said(failed)}; whether it was committed is not known, the next run looks") from error
            time.sleep(wait)
            wait *= 2


def _recognisable(updates: Any) -> bool:
    from pyiceberg.table.update import AddSnapshotUpdate, AssignUUIDUpdate, RemoveSnapshotsUpdate

    return any(isinstance(u, AddSnapshotUpdate | AssignUUIDUpdate | RemoveSnapshotsUpdate) for u in updates)


def _has(metadata: "TableMetadata", updates: Any) -> bool:
    """Whether these updates are in it: by ids, which nobody else gives."""
    from pyiceberg.table.update import AddSnapshotUpdate, AssignUUIDUpdate, RemoveSnapshotsUpdate

    there = {s.snapshot_id for s in metadata.snapshots}
    added = {u.snapshot.snapshot_id for u in updates if isinstance(u, AddSnapshotUpdate)}
    removed = {i for u in updates if isinstance(u, RemoveSnapshotsUpdate) for i in u.snapshot_ids}
    made = {u.uuid for u in updates if isinstance(u, AssignUUIDUpdate)}
    return added <= there and not removed & there and made <= {metadata.table_uuid}
