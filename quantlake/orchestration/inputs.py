"""What the dates of a dataset read of an input: the data versions that they are recorded under.

Here: versions of one date, of several together, and of the rows that a date depends on. Not here: reading tables (``build``),
comparing versions (``staleness``).
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date

import polars as pl
import pyarrow as pa

from quantlake.contract import Input, Table, editions
from quantlake.contract.columns import Column
from quantlake.contract.fingerprint import EMPTY, Fingerprint, fingerprints_by
from quantlake.contract.versions import across, latest
from quantlake.ports import Platform

HASH = 1 << 128


class Versions:
    """The data versions of the inputs of a dataset's dates, by path; ``made``: the dates that have something to be built from."""

    def __init__(self, dates: Collection[date]) -> None:
        self._dates = dates
        self.of: dict[date, dict[str, str]] = {d: {} for d in dates}
        self.made: set[date] = set()

    def add(self, read: Input, versions: Mapping[date, str], rows: pa.Table | None = None, held: Collection[date] | None = None) -> None:
        """``versions``: those of the input's own dates; ``rows``: those of ``deciding``; ``held``: the dates with rows to build from, where
        others have a version too (raw ones of dead letters alone)."""
        if held is not None:
            self.made |= {d for h in held for d in read.made(h)} & self.of.keys()
        for day, version in _versions_of(read, self._dates, versions, rows).items():
            before = self.of[day].get(read.dataset.path)  # a dataset may be read twice
            self.of[day][read.dataset.path] = version if before is None else f"{before} {version}".strip()
            own = version if read.by_row else something(versions.get(day, "")) if read.covers(day, day) else ""
            if held is None and {"readers": version, "own": own, "none": ""}[read.makes]:
                self.made.add(day)


def _versions_of(read: Input, dates: Collection[date], versions: Mapping[date, str], rows: pa.Table | None) -> dict[date, str]:
    """The data version of an input as each of ``dates`` reads it; "" where there is nothing."""
    if read.by_row:
        return _by_rows(read, dates, rows) if rows is not None and rows.num_rows else dict.fromkeys(dates, "")
    if read.editions and rows is not None and rows.num_rows:
        of_date = _editions_of(rows)
        return {d: f"{own} {of_date[d]}" if (own := something(versions.get(d, ""))) and d in of_date else own for d in dates}
    if read.bounded and read.first == read.last:
        return {d: something(versions.get(n, "")) for d in dates for n in read.days(d)}
    held = sorted((d, int(_md5(f"{d}:{version}"), 16)) for d, found in versions.items() if (version := something(found)))
    return {d: _summed(sums) for d, sums in _windows(read, sorted(dates), held)}


def made_by_rows(read: Input, held: Collection[date], rows: pa.Table | None) -> set[date]:
    """The dates that exist because an input has rows: of its dates ``held``, or of those that ``rows`` (of ``deciding``) name."""
    if read.on and rows is not None and read.makes == "own":
        return set(rows[read.on].drop_null().unique().to_pylist())
    return {d for h in held for d in read.made(h)}


def deciding(read: Input, platform: Platform, stored: pa.Table | None = None, snapshot_id: int | None = None) -> pa.Table | None:
    """The rows by which dates are told apart, the latest ones; None where they are not needed.

    ``stored``: the table, where it was read already; ``snapshot_id``: as which it was. Of an input with ``editions``: the whole editions of files that have several, by the dates on which these have rows.
    """
    if read.editions:
        return _editions(read, platform, snapshot_id)
    if not read.by_row:
        return None
    return seen(replace(read, versions=False), platform.lake.read(read.dataset.spec) if stored is None else stored)


def _editions(read: Input, platform: Platform, snapshot_id: int | None) -> pa.Table:
    counted = ["file_records", "source_records", "line_number", "item_index"]
    wanted = [*editions.FILE, *counted, "partition_date", "_timestamp", "_error_class", "_schema_id"]
    held = {c.name for c in read.dataset.stored_columns}
    rows = pl.DataFrame(platform.lake.read(read.dataset.spec, None, [c for c in wanted if c in held], snapshot_id=snapshot_id))
    rows = rows.filter(pl.col("_error_class").is_null() & pl.col("_schema_id").is_not_null())
    rows = rows.filter(pl.col("source_name").is_in(editions.several(rows).implode())).sort("_timestamp", maintain_order=True)
    _, found = editions.across(rows.lazy())
    dates = rows.select("source_name", "partition_date").unique()
    return dates.join(found.select(*editions.FILE, "_edition"), on="source_name").sort("partition_date", "source_name", "_edition").to_arrow()


def _editions_of(rows: pa.Table) -> dict[date, str]:
    found: dict[date, str] = {}
    for day, name, version in zip(*(rows[c].to_pylist() for c in ("partition_date", "source_name", "source_version")), strict=True):
        found[day] = f"{found.get(day, '')} {name}:{version}"
    return {day: _md5(text) for day, text in found.items()}


def seen(read: Input, stored: pa.Table) -> pa.Table:
    """Stored rows of a table as the input says."""
    table = read.dataset
    if not isinstance(table, Table) or (table.versions == "within" and read.versions):
        return stored
    if table.versions == "within" and stored["superseded_at"].null_count == stored.num_rows and table.ended_by is None:
        return stored.drop_columns(["superseded_at"])
    rows = across(pl.LazyFrame(pl.DataFrame(stored)), table)
    found = rows if read.versions else latest(rows, table).drop("superseded_at")
    return found.collect().to_arrow()


def something(version: str) -> str:
    """A date that was built empty is to what is built from it as one that was never built."""
    return "" if version == EMPTY.hash else version


def _windows(read: Input, dates: list[date], held: list[tuple[date, int]]) -> list[tuple[date, tuple[int, int]]]:
    """Of each date how many of the ascending ``held`` it reads, and the sum of their hashes: by running sums, whatever the window."""
    running, total = [0], 0
    for _, number in held:
        total += number
        running.append(total)
    found, low, high = [], 0, 0
    for day in dates:
        while read.first is not None and low < len(held) and (held[low][0] - day).days < read.first:
            low += 1
        while high < len(held) and (read.last is None or (held[high][0] - day).days <= read.last):
            high += 1
        found.append((day, (max(high - low, 0), running[max(high, low)] - running[low])))
    return found


def _summed(sums: tuple[int, int]) -> str:
    count, total = sums
    return f"{count:x}-{total % HASH:032x}" if count else ""


def _by_rows(read: Input, dates: Collection[date], rows: pa.Table) -> dict[date, str]:
    """By running sums over the days on which rows begin and end to count."""
    changes: dict[date, list[tuple[int, Fingerprint]]] = {}
    bounds = [c for c in (read.on or read.since, None if read.on else read.until) if c]
    for values, hashed in fingerprints_by(rows, _columns(read), bounds):
        told = dict(zip(bounds, values, strict=True))
        begins, ends = told.get(read.on or read.since or ""), told.get(read.on or read.until or "")
        if read.on and begins is None:
            continue  # it is on no date
        changes.setdefault(begins or date.min, []).append((1, hashed))
        if ends is not None and ends < date.max:
            changes.setdefault(date.fromordinal(ends.toordinal() + 1) if read.on else ends, []).append((-1, hashed))
    found, days, at = {}, sorted(changes), 0
    count, high, low = 0, 0, 0
    for day in sorted(dates):
        while at < len(days) and days[at] <= day:
            for sign, hashed in changes[days[at]]:
                more_high, more_low = hashed.halves
                count, high, low = count + sign * hashed.rows, high + sign * more_high, low + sign * more_low
            at += 1
        found[day] = f"{count:x}-{high % HASH:032x}{low % HASH:032x}" if count else ""
    return found


def _columns(read: Input) -> tuple[Column, ...]:
    """Of two dates on which a row holds, neither is told apart by how long it does, nor by since when that is known."""
    return tuple(c for c in read.dataset.fingerprint_columns if c.name not in (read.since, read.until, read.on, "known_at", "partition_date"))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
