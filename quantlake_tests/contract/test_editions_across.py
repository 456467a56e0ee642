"""Editions of files whose rows lie on many dates: what a later one moves to another date, adds, changes and takes away."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Integer, Stream, Table, Text, Timestamp
from quantlake.contract.compute import compute, compute_each
from quantlake.contract.versions import across, known_then

COLUMNS = (
    Column("id", Text, "x"), Column("value", Integer, "x"), Column("known_at", Timestamp, "x"), PARTITION_DATE, *SOURCE_COLUMNS,
    Column("file_records", Integer, "x", null=True, provenance=True),
)  # fmt: skip
raw = Stream("tests.things.terms", doc="x", owner="t", topic="t.terms", message_key="id", files="complete", columns=COLUMNS)
table = Table("tests.things.terms", of=raw, doc="x", owner="t", key=("id",), versions="across", columns=COLUMNS)
SCHEMA = pl.DataFrame(raw.spec.arrow.empty_table()).schema
FIRST = date(2024, 3, 1)
ARRIVAL = datetime(2024, 3, 20, tzinfo=UTC)


class Term(NamedTuple):
    id: str
    value: int
    published: int  # days after FIRST


def published(term: Term) -> datetime:
    return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=term.published)


def edition(terms: list[Term], version: str, hour: int, *, file: str = "f", only: int | None = None) -> list[dict[str, Any]]:
    """Raw rows of an edition that arrives so many hours after ARRIVAL; ``only``: its first rows."""
    rows = [
        {
            "id": t.id, "value": t.value, "known_at": published(t), "partition_date": published(t).date(), "source_name": file,
            "source_version": version, "source_records": sum(published(o).date() == published(t).date() for o in terms), "line_number": n,
            "file_records": len(terms), "_timestamp": ARRIVAL + timedelta(hours=hour), "_schema_id": 1,
        }
        for n, t in enumerate(terms, 1)
    ]  # fmt: skip
    return rows if only is None else rows[:only]


def curated(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """All dates at once; each alone is the same."""
    frame = pl.DataFrame(rows, SCHEMA)
    dates = sorted(frame["partition_date"].unique())
    together, broken = compute_each(table, [frame], dates)
    assert not broken
    manifold = frame.group_by("source_name").agg(pl.col("source_version").n_unique()).filter(pl.col("source_version") > 1)["source_name"]
    for day in dates:
        own = frame.filter((pl.col("partition_date") == day) | pl.col("source_name").is_in(manifold.implode()))
        alone = pl.DataFrame(compute(table, [own.lazy()], day))
        assert alone.equals(pl.DataFrame(together).filter(pl.col("partition_date") == day))
    return pl.DataFrame(together)


def known(found: pl.DataFrame, at: datetime) -> list[tuple[str, int]]:
    return sorted(across(found.lazy(), table).filter(known_then(at, table)).select("id", "value").collect().rows())


def hours(n: float) -> datetime:
    return ARRIVAL + timedelta(hours=n)


def test_what_moves_to_another_date_is_ended_where_it_was() -> None:
    first, second = [Term("a", 1, 0), Term("b", 2, 3)], [Term("a", 1, 0), Term("b", 2, 9)]
    found = curated(edition(first, "1", 0) + edition(second, "2", 5))
    assert known(found, published(first[1])) == [("a", 1), ("b", 2)], "as it was known before the second came"
    assert known(found, hours(4)) == known(found, hours(6)) == [("a", 1), ("b", 2)]
    moved = [Term("a", 1, 0), Term("c", 2, 9)]
    found = curated(edition(first, "1", 0) + edition(moved, "2", 5))
    assert known(found, hours(4)) == [("a", 1), ("b", 2)]
    assert known(found, hours(5)) == known(found, hours(500)) == [("a", 1), ("c", 2)]
    assert known(found, published(moved[1])) == [("a", 1), ("b", 2)], "that it was c nobody knew before the second came"
    assert found.filter(pl.col("id") == "a")["known_at"].to_list() == [published(first[0])], "what did not change keeps its time"


def test_half_an_edition_is_never_seen_and_an_old_one_that_returns_adds_nothing() -> None:
    first, second = [Term("a", 1, 0), Term("b", 2, 3)], [Term("a", 7, 0), Term("b", 8, 4)]
    half = curated(edition(first, "1", 0) + edition(second, "2", 5, only=1))
    assert known(half, hours(9)) == [("a", 1), ("b", 2)]
    whole = edition(first, "1", 0) + edition(second, "2", 5)
    again = curated(whole + edition(first, "1", 7))
    assert again.equals(curated(whole))
    assert known(again, hours(9)) == [("a", 7), ("b", 8)]


def test_what_is_to_be_known_later_waits_and_may_be_called_off() -> None:
    far = 40
    found = curated(edition([Term("a", 1, 0), Term("b", 2, far)], "1", 0) + edition([Term("a", 1, 0), Term("c", 3, far)], "2", 5))
    assert known(found, hours(6)) == [("a", 1)]
    assert known(found, published(Term("", 0, far))) == [("a", 1), ("c", 3)]


def test_of_two_files_with_a_key_on_one_date_one_ends_the_other() -> None:
    rows = edition([Term("a", 1, 0)], "1", 0) + edition([Term("a", 1, 0), Term("b", 1, 2)], "2", 5) + edition([Term("a", 9, 0)], "1", 1, file="g")
    found = curated(rows)
    latest = found.filter(pl.col("superseded_at").is_null())
    assert latest.select(pl.struct("id", "partition_date").is_duplicated().any()).item() is False


TERM = st.builds(Term, st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 30))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(TERM, min_size=1, max_size=5, unique_by=lambda t: (t.id, t.published)), min_size=1, max_size=4), st.integers(-25 * 24, 20 * 24))
def test_at_any_time_it_is_what_the_edition_of_then_says(editions: list[list[Term]], asked: int) -> None:
    rows = [row for n, terms in enumerate(editions) for row in edition(terms, str(n), 7 * n)]
    found, moment = curated(rows), hours(asked)
    current = editions[max([n for n in range(len(editions)) if hours(7 * n) <= moment], default=0)]
    newest = {t.id: t.value for t in sorted(current, key=lambda t: t.published) if published(t) <= moment}
    assert known(found, moment) == sorted(newest.items())
