"""What a date of a dataset reads of its inputs: the data version that it is recorded under, and the rows.

Here: inputs of one date and of several. Not here: reading tables (``build``), comparing versions (``staleness``).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl
import pyarrow as pa

from quantlake.contract import Input
from quantlake.contract.fingerprint import EMPTY


def version_of(read: Input, day: date, versions: Mapping[date, str]) -> str:
    """The data version of an input as ``day`` reads it: the date's own, or one of all its dates together; "" where there is nothing."""
    held = {d: version for d in read.days(day) if (version := something(versions.get(d, "")))}
    if read.first == read.last:
        return next(iter(held.values()), "")
    text = " ".join(f"{d}:{version}" for d, version in sorted(held.items()))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() if text else ""


def something(version: str) -> str:
    """A date that was built empty is to what is built from it as one that was never built."""
    return "" if version == EMPTY.hash else version


class Rows:
    """The rows of one input over some dates, to be read a date at a time."""

    def __init__(self, read: Input, table: pa.Table, dates: Sequence[date]) -> None:
        self._read = read
        frame = pl.DataFrame(table)
        if len(dates) == 1:
            self._whole: pl.DataFrame | None = frame
            return
        self._whole = None
        if read.first != read.last:
            frame = frame.with_row_index("_at")  # the order of arrival, over several dates
        parts = frame.partition_by("partition_date", as_dict=True, maintain_order=True)
        self._empty = frame.clear()
        self._parts = {day: rows for (day,), rows in parts.items()}

    def of(self, day: date) -> pl.LazyFrame:
        """The rows that ``day`` reads, in their order."""
        if self._whole is not None:
            return self._whole.lazy()
        days = self._read.days(day)
        rows = pl.concat([self._parts.get(d, self._empty) for d in days])
        return (rows.sort("_at").drop("_at") if len(days) > 1 else rows).lazy()
