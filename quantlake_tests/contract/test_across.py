"""Versions of a key that lie in several partitions, keys that end, and further views: in polars and in SQL as by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import (
    PARTITION_DATE,
    Boolean,
    Column,
    Date,
    Integer,
    QuantLakeError,
    Stream,
    Table,
    Text,
    Timestamp,
    View,
)
from quantlake.contract.versions import across, across_sql, known_then, known_then_sql, latest, latest_sql, viewed, viewed_sql

COLUMNS = (
    Column("id", Text, "x", null=True), Column("place", Text, "x"), Column("value", Integer, "x"), Column("over", Boolean, "x", null=True),
    Column("filed", Date, "x"), Column("known_at", Timestamp, "x"), PARTITION_DATE,
)  # fmt: skip
NEWEST = View(name="newest", per=("place",), newest=("known_at", "id"), conflict=("value", "filed"), doc="x")
raw = Stream("tests.things.names", doc="x", owner="t", topic="t.names", message_key="id", columns=COLUMNS)
table = Table(
    "tests.things.names", of=raw, doc="x", owner="t", columns=COLUMNS, key=("id",), fallback_key=("place",), versions="across",
    ended_by="over", views=(NEWEST,),
)  # fmt: skip
SCHEMA = pl.DataFrame(table.spec.arrow.empty_table()).schema
FIRST = datetime(2024, 3, 1, tzinfo=UTC)


def rows(drawn: list[tuple[int, str, str | None, int, bool | None]]) -> pl.DataFrame:
    """(minutes after FIRST, place, id, value, over) as stored: each a version of its own, the partition that of its time."""
    found = [
        {
            "id": id_, "place": place, "value": value, "over": over, "filed": (FIRST + timedelta(minutes=at)).date(),
            "known_at": FIRST + timedelta(minutes=at), "partition_date": (FIRST + timedelta(minutes=at)).date(), "superseded_at": None,
        }
        for at, place, id_, value, over in drawn
    ]  # fmt: skip
    return pl.DataFrame(found, schema=SCHEMA)


def by_hand(frame: pl.DataFrame, moment: datetime | None) -> list[tuple[Any, ...]]:
    """The newest version of each key known by then that is not over."""
    newest: dict[Any, dict[str, Any]] = {}
    for row in sorted(frame.to_dicts(), key=lambda r: r["known_at"]):
        if moment is None or row["known_at"] <= moment:
            newest[("id", row["id"]) if row["id"] is not None else ("place", row["place"])] = row
    return sorted((r["place"], r["value"], r["known_at"]) for r in newest.values() if not r["over"])


DRAWN = st.lists(
    st.tuples(
        st.integers(0, 6 * 1440), st.sampled_from("PQ"), st.sampled_from([None, "a", "b"]), st.integers(0, 2), st.sampled_from([None, False, True])
    ),
    max_size=12, unique_by=lambda row: row[0],
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(DRAWN, st.integers(-10, 6 * 1440))
def test_the_newest_of_any_partition_in_polars_and_sql(drawn: list[tuple[int, str, str | None, int, bool | None]], minute: int) -> None:
    frame, moment = rows(drawn), FIRST + timedelta(minutes=minute)
    for then in (None, moment):
        expected = by_hand(frame, then)
        found = across(frame.lazy(), table)
        shown = latest(found, table) if then is None else found.filter(known_then(then, table))
        columns = ["place", "value", "known_at"]
        assert sorted(shown.select(columns).collect().rows()) == expected
        rule = latest_sql(table) if then is None else known_then_sql(then, table)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("frame", frame.to_arrow())
            query = f"SELECT {', '.join(columns)} FROM {across_sql('frame', table)} WHERE {rule}"
            assert sorted(connection.sql(query).pl().rows()) == expected
            seen = shown.drop("superseded_at").collect()
            connection.register("seen", seen.to_arrow())
            by_sql = connection.sql(viewed_sql("seen", NEWEST)).pl().sort("place")
        by_polars = viewed(seen.lazy(), NEWEST).collect().sort("place")
        assert by_sql.select(by_polars.columns).rows() == by_polars.rows()
        for row in by_polars.to_dicts():
            same = [r for r in seen.to_dicts() if r["place"] == row["place"]]
            assert row["known_at"] == max(r["known_at"] for r in same)
            assert row["conflict"] == (len({r["value"] for r in same if r["filed"] == row["filed"]}) > 1)


def test_a_view_names_columns() -> None:
    with pytest.raises(QuantLakeError, match=r"its view odd names \['nothing'\], which are no columns"):
        Table("tests.things.names", of=raw, doc="x", owner="t", columns=COLUMNS, key=("id",), views=(View(name="odd", per=("nothing",), newest=(), doc="x"),))
    with pytest.raises(QuantLakeError, match="ended_by names 'gone', which is no column"):
        Table("tests.things.names", of=raw, doc="x", owner="t", columns=COLUMNS, key=("id",), ended_by="gone")
