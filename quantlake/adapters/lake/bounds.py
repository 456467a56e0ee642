"""Bounds of a data file's columns where pyiceberg's are wrong; a reader who trusts one skips the file.

Here: what is mended, and how it shows. Not here: files (``appending``), tables (``iceberg``).
"""

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq


def unbounded(metadata: pq.FileMetaData, ids: Mapping[str, int]) -> set[int]:
    """Fields with a row group that has values and says no bounds, as its longest is above 4 kB: pyiceberg takes it for one without
    values, and keeps the other groups' bounds."""
    found = set()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            said = column.statistics
            if said is None or (not said.has_min_max and said.null_count < column.num_values):
                found.add(ids[column.path_in_schema])
    return found


def mend_pyiceberg() -> None:
    """A long text's upper bound is its first 16 characters and one: behind U+D7FF comes a surrogate, and each commit would fail on it."""
    from pyiceberg.io import pyarrow

    written: Any = pyarrow
    theirs = written.truncate_upper_bound_text_string
    if theirs.__module__ == __name__:
        return

    def truncated(value: str, length: int | None) -> str | None:
        found: str | None = theirs(value, length)
        return found.replace("\ud800", "\ue000") if found else found

    written.truncate_upper_bound_text_string = truncated
