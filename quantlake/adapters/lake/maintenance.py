"""Which snapshots of an Iceberg table have expired, and which files only they had; pyiceberg's own expiry deletes no file.

Here: what follows from a table's metadata and manifests. Not here: locks and commits (``iceberg``).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot


def limit(table: "Table", before: datetime) -> datetime:
    """Up to when snapshots may go: ``before``, or the time of the latest one; in whole milliseconds, as pyiceberg compares."""
    latest = max((s.timestamp_ms for s in table.metadata.snapshots), default=0)
    return min(before.replace(microsecond=before.microsecond // 1000 * 1000), _committed_at(latest))


def expired(table: "Table", before: datetime) -> "list[Snapshot]":
    """Snapshots committed before a time; never the current one or one that a branch or tag names."""
    named = {r.snapshot_id for r in table.metadata.refs.values()}
    return [s for s in table.metadata.snapshots if _committed_at(s.timestamp_ms) < before and s.snapshot_id not in named]


def unreachable(table: "Table", gone: "Sequence[Snapshot]") -> dict[str, int]:
    """The files, with their bytes, that no snapshot but those of ``gone`` has: data files, then manifests, then manifest lists.

    Where history is one line, all that a kept snapshot has is its kept parent's or was added by itself, so only those without such
    a parent are looked at: the oldest, and after a gap that a tag leaves.
    """
    io = table.io
    ids = {s.snapshot_id for s in gone}
    kept = [s for s in table.metadata.snapshots if s.snapshot_id not in ids]
    kept_ids = {s.snapshot_id for s in kept}
    witnesses = [s for s in kept if s.parent_snapshot_id not in kept_ids] if _in_line(table.metadata.snapshots) else kept
    living = {m.manifest_path: m for s in witnesses for m in s.manifests(io)}
    dead = {
        m.manifest_path: m
        for s in gone for m in s.manifests(io) if m.manifest_path not in living and m.added_snapshot_id not in kept_ids
    }  # fmt: skip
    data = {
        e.data_file.file_path: e.data_file.file_size_in_bytes
        for m in dead.values() for e in m.fetch_manifest_entry(io) if e.snapshot_id not in kept_ids
    }  # fmt: skip
    for m in living.values() if data else ():
        for e in m.fetch_manifest_entry(io):
            data.pop(e.data_file.file_path, None)
    manifests = {path: m.manifest_length for path, m in dead.items()}
    return data | manifests | {s.manifest_list: len(io.new_input(s.manifest_list)) for s in gone}


def delete(io: "FileIO", files: Iterable[str]) -> None:
    """Delete files; one that another maintainer has deleted is no error."""
    for path in files:
        try:
            io.delete(path)
        except FileNotFoundError:
            continue


def _in_line(snapshots: "Sequence[Snapshot]") -> bool:
    """Whether each snapshot is the child of the one before it, as no rollback leaves them."""
    return all(later.parent_snapshot_id == earlier.snapshot_id for earlier, later in pairwise(sorted(snapshots, key=_sequence)))


def _committed_at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _sequence(snapshot: "Snapshot") -> int:
    return snapshot.sequence_number or 0
