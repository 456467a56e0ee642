"""Editions of complete files against the rule said in one sentence: as known at T, a date is its last edition whole by then."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Integer, Stream, Table, Text, Timestamp
from quantlake.contract.compute import compute
from quantlake.contract.versions import known_then

DAY = date(2013, 10, 7)
PUBLISHED = datetime(2013, 10, 7, 14, tzinfo=UTC)
ARRIVAL = datetime(2024, 3, 4, tzinfo=UTC)
COLUMNS = (
    Column("id", Text, "Of what.", null=True), Column("price", Integer, "In units."), Column("known_at", Timestamp, "When."), PARTITION_DATE,
    *SOURCE_COLUMNS, Column("item_index", Integer, "From 0.", null=True, provenance=True),
)  # fmt: skip
raw = Stream("tests.things.prints", doc="x", owner="t", topic="t", message_key="source_name", files="complete", columns=COLUMNS)
by_line = Table(
    "tests.things.prints", of=raw, doc="x", owner="t", key=("id",), fallback_key=("source_name", "line_number", "item_index"), columns=COLUMNS
)
keyed = Table("tests.things.quotes", of=raw, doc="x", owner="t", key=("id",), columns=COLUMNS)
SCHEMA = pl.DataFrame(raw.spec.arrow.empty_table()).schema


class Line(NamedTuple):
    id: str
    price: int
    published: int  # minutes after PUBLISHED


def edition(lines: list[Line], version: str, at: list[int], *, named: bool, only: set[int] | None = None, file: str = "f") -> list[dict[str, Any]]:
    """Raw rows of an edition, a minute of arrival each from ``at``; ``only`` some of its records."""
    rows = []
    for number, line in enumerate(lines, 1):
        if only is not None and number not in only:
            continue
        rows.append({
            "id": line.id if named else None, "price": line.price, "known_at": PUBLISHED + timedelta(minutes=line.published),
            "partition_date": DAY, "source_name": file, "source_version": version, "source_records": len(lines), "line_number": number,
            "item_index": 0, "_timestamp": ARRIVAL + timedelta(minutes=at.pop(0)), "_schema_id": 1,
        })  # fmt: skip
    return rows


def curated(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(compute(table, [pl.DataFrame(rows, SCHEMA).lazy()], DAY))


def known(versions: pl.DataFrame, minute: float) -> list[tuple[str | None, int]]:
    at = ARRIVAL + timedelta(minutes=minute)
    return sorted(versions.filter(known_then(at, keyed)).select("line_number", "price").rows())


A = [Line("a", 1, 0), Line("b", 2, 1), Line("c", 3, 2)]
B = [Line("a", 1, 0), Line("x", 9, 1), Line("c", 4, 2), Line("d", 5, 3)]  # inserted, changed, dropped


def test_a_new_edition_replaces_the_old_when_it_is_whole_and_equal_lines_keep_their_time() -> None:
    rows = edition(A, "v1", list(range(3)), named=False) + edition(B, "v2", [10, 11, 12, 13], named=False)
    found = curated(by_line, rows)
    assert known(found, 12.9) == [(1, 1), (2, 2), (3, 3)]
    assert known(found, 13) == [(1, 1), (2, 9), (3, 4), (4, 5)]
    kept = found.filter(pl.col("line_number") == 1)
    assert kept["known_at"].to_list() == [PUBLISHED] and kept["superseded_at"].null_count() == 1
    assert set(found.filter(pl.col("price").is_in([9, 4, 5]))["known_at"]) == {ARRIVAL + timedelta(minutes=13)}


def test_half_an_edition_is_not_visible_and_a_repeat_adds_nothing() -> None:
    first = edition(A, "v1", [0, 1, 2], named=False)
    half = edition(B, "v2", [10, 11], named=False, only={1, 2})
    assert known(curated(by_line, first + half), 60) == [(1, 1), (2, 2), (3, 3)]
    assert known(curated(by_line, half), 60) == []
    rest = edition(B, "v2", [20, 21, 22, 23], named=False)  # replayed whole
    again = edition(A, "v1", [30, 31, 32], named=False)
    found = curated(by_line, first + half + rest + again)
    assert known(found, 22) == [(1, 1), (2, 2), (3, 3)]
    assert known(found, 23) == known(found, 99) == [(1, 1), (2, 9), (3, 4), (4, 5)]


def test_two_editions_at_one_moment_and_what_comes_back() -> None:
    rows = edition(A, "v1", [0, 0, 0], named=True) + edition(A[:1], "v2", [0], named=True) + edition(A, "v3", [0, 0, 0], named=True)
    for table in (keyed, by_line):
        assert known(curated(table, rows), 0) == [(1, 1), (2, 2), (3, 3)]
    found = curated(keyed, edition(A, "v1", [0, 1, 2], named=True) + edition(A[:1], "v2", [5], named=True) + edition(A, "v3", [7, 8, 9], named=True))
    assert known(found, 6) == [(1, 1)] and known(found, 9) == [(1, 1), (2, 2), (3, 3)]


def test_rows_of_no_file_are_untouched_and_files_apart() -> None:
    loose = edition(A, "v1", [0, 1, 2], named=True)
    for row in loose:
        row |= {"source_version": None, "source_records": None}
    other = edition([Line("z", 7, 0)], "w1", [3], named=True, file="g")
    assert known(curated(keyed, loose + other), 9) == [(1, 1), (1, 7), (2, 2), (3, 3)]


LINES = st.lists(st.builds(Line, st.sampled_from("abcdef"), st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=5, unique_by=lambda line: line.id)


@pytest.mark.parametrize("named", [True, False])
@settings(max_examples=150, deadline=None)
@given(editions=st.lists(LINES, min_size=1, max_size=4), sends=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 31)), min_size=1, max_size=8))
def test_as_known_at_any_time_it_is_the_last_whole_edition(named: bool, editions: list[list[Line]], sends: list[tuple[int, bool, int]]) -> None:
    rows: list[dict[str, Any]] = []
    have: dict[int, set[int]] = {}
    order: list[tuple[int, int]] = []  # (minute when whole, edition)
    distinct = [lines for n, lines in enumerate(editions) if lines not in editions[:n]]
    minute = 0
    for chosen, all_of_it, mask in sends:
        n = chosen % len(distinct)
        lines = distinct[n]
        only = set(range(1, len(lines) + 1)) if all_of_it else {i for i in range(1, len(lines) + 1) if mask >> i & 1}
        at = [minute + i for i in range(len(only))]
        rows += edition(lines, f"v{n}", list(at), named=named, only=only)
        for number, when in zip(sorted(only), at, strict=True):
            if number not in have.setdefault(n, set()):
                have[n].add(number)
                if len(have[n]) == len(lines):
                    order.append((when, n))
        minute += len(only) + 1
    found = curated(keyed if named else by_line, rows)
    for asked in range(-1, minute + 1):
        whole = [n for when, n in order if when <= asked] or [n for _, n in order[:1]]
        lines = distinct[whole[-1]] if whole else []
        shown = sorted(line.price for line in lines)
        assert sorted(found.filter(known_then(ARRIVAL + timedelta(minutes=asked), keyed))["price"].to_list()) == shown
