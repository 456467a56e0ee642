"""A table's files as engines read them directly: as their own paths where they are local, else through the table's own file system.

DuckDB fetches an extension from the internet for S3, and knows nothing of the credentials that a catalogue gives for one table alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pyiceberg.table import Table

LOCAL = ("", "file")


def readable(table: "Table", paths: Sequence[str]) -> tuple[tuple[str, ...], Any]:
    """The paths by which the files can be read, and the fsspec file system that reads them; None: they are local.

    Each table has a protocol of its own, since one connection may read tables with different credentials.
    """
    places = [urlsplit(path) for path in paths]
    if all(place.scheme in LOCAL for place in places):
        return tuple(path.removeprefix("file://") for path in paths), None
    found = _file_system(table, places[0].scheme, places[0].netloc)
    return tuple(f"{found.protocol}://{place.netloc}{place.path}" for place in places), found


def _file_system(table: "Table", scheme: str, bucket: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper

    class TableFiles(ArrowFSWrapper):  # type: ignore[misc]
        cachable = False
        protocol = f"lake-{'-'.join(table.name()).replace('_', '-')}"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.partition("://")[2] or path

    return TableFiles(table.io.fs_by_scheme(scheme, bucket))  # type: ignore[attr-defined]
