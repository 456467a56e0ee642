"""Dates built together: one that cannot be is told apart, and a function that fails on several and on none alone is said."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quantlake.contract import PARTITION_DATE, Column, Derived, Integer, Stream, Table, Timestamp
from quantlake.contract.compute import compute_each

COLUMNS = (Column("id", Integer, "x"), Column("known_at", Timestamp, "x"), PARTITION_DATE)
raw = Stream("tests.things.marks", doc="x", owner="t", topic="t.marks", message_key="id", columns=COLUMNS)
marks = Table("tests.things.marks", of=raw, doc="x", owner="t", key=("id",), columns=COLUMNS)
DATES = [date(2024, 3, n) for n in (4, 5, 6)]
ROWS = pl.DataFrame(
    [{"id": n, "known_at": datetime(2024, 3, 4, tzinfo=UTC), "partition_date": day} for n, day in enumerate(DATES)],
    schema={c.name: pl.DataFrame(marks.spec.arrow.empty_table()).schema[c.name] for c in COLUMNS},
)


def derived(bad: pl.Expr) -> Derived:
    made = Derived("tests.things.judged", of=(marks,), many=True, doc="x", owner="t", key=("id",), columns=COLUMNS)

    @made.build
    def judged(rows: pl.LazyFrame) -> pl.LazyFrame:
        if rows.select(bad).collect().item():
            raise ValueError("no")
        return rows

    return made


def test_one_bad_date_keeps_no_other_back() -> None:
    rows, broken = compute_each(derived((pl.col("id") == 1).any()), [ROWS], DATES)
    assert {day: str(error) for day, error in broken.items()} == {DATES[1]: "no"}
    assert sorted(rows["partition_date"].to_pylist()) == [DATES[0], DATES[2]]


def test_a_function_that_fails_on_dates_together_alone_is_said() -> None:
    with pytest.warns(UserWarning, match="derived/things/judged fails on 3 dates together, and on none alone, which is slow: ValueError: no"):
        rows, broken = compute_each(derived(pl.len() > 1), [ROWS], DATES)
    assert (len(rows), broken) == (3, {})
