"""Versions against a model by hand: order, repeats, superseded_at, and the predicates of latest and as known at T."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import PARTITION_DATE, Column, Float, Stream, Table, Text, TextList, Timestamp
from quantlake.contract.versions import arrived_then_sql, known_then_sql, latest, versioned

DAY = date(2024, 1, 1)
COLUMNS = (
    Column("name", Text, "Key, first part."),
    Column("number", Text, "Key, second part.", null=True),
    Column("line", Text, "What identifies a row without a number.", null=True),
    Column("price", Float, "Content.", null=True),
    Column("tags", TextList, "Content.", null=True),
    Column("known_at", Timestamp, "When."),
    PARTITION_DATE,
    Column("source", Text, "Where from.", null=True, provenance=True),
)
stream = Stream("tests.things.versions", doc="x", owner="tests", topic="t", message_key="name", columns=COLUMNS)
keyed = Table("tests.things.versions", of=stream, doc="x", owner="tests", key=("name", "number"), columns=COLUMNS)
fallback = replace(keyed, fallback_key=("name", "line"))
SCHEMA = {
    "name": pl.String, "number": pl.String, "line": pl.String, "price": pl.Float64, "tags": pl.List(pl.String),
    "known_at": pl.Datetime("us", "UTC"), "partition_date": pl.Date, "source": pl.String,
}  # fmt: skip
Row = dict[str, Any]


def at(minute: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


ROWS = st.lists(
    st.fixed_dictionaries({
        "name": st.sampled_from(["a", "b"]), "number": st.sampled_from([None, "1", "a"]), "line": st.sampled_from([None, "1", "2"]),
        "price": st.sampled_from([None, 0.0, 1.0]), "tags": st.sampled_from([None, [], ["x"], ["x", "y"]]),
        "known_at": st.integers(0, 4).map(at), "partition_date": st.just(DAY), "source": st.sampled_from([None, "f", "g"]),
    }),
    max_size=14,
)  # fmt: skip
ENDS = st.lists(st.fixed_dictionaries({"_key": st.sampled_from([b"a", b"b", b"c", None]), "known_at": st.integers(0, 4).map(at)}), max_size=4)
TABLES = st.sampled_from([keyed, fallback])
T = st.floats(-1, 5).map(at) | st.integers(-1, 5).map(at)


def identity(row: Row, table: Table) -> tuple[Any, ...]:
    if table.fallback_key and row["number"] is None:
        return ("by line", row["name"], row["line"])
    return ("by number", row["name"], row["number"])


def content(row: Row, table: Table) -> tuple[Any, ...]:
    return tuple(row[c] for c in table.business_columns)


def histories(rows: list[Row], table: Table) -> list[list[Row]]:
    """Each key's versions, by the words of the rule: by known_at, then arrival; one equal to the one before is none."""
    return [[version for version, _ in history] for history in lives(rows, [], table)]


def lives(rows: list[Row], ends: list[Row], table: Table) -> list[list[tuple[Row, datetime | None]]]:
    """Each key's versions and when each ended: at the next one's known_at, or at a deletion, which comes last at its moment."""
    found: dict[tuple[Any, ...], list[tuple[Row, datetime | None]]] = defaultdict(list)
    for row in sorted([*rows, *ends], key=lambda r: (r["known_at"], "_key" in r)):  # stable
        if "_key" in row:
            for history in (h for h in found.values() if h[0][0]["name"].encode() == row["_key"] and h[-1][1] is None):
                history[-1] = (history[-1][0], row["known_at"])
            continue
        history = found[identity(row, table)]
        if history and history[-1][1] is None:
            if content(history[-1][0], table) == content(row, table):
                continue
            history[-1] = (history[-1][0], row["known_at"])
        history.append((row, None))
    return list(found.values())


def known(rows: list[Row], table: Table, moment: datetime) -> list[Row]:
    """What the model says was known: each key's newest version by then."""
    seen = [[v for v in history if v["known_at"] <= moment] for history in histories(rows, table)]
    return [history[-1] for history in seen if history]


def plain(rows: list[Row], columns: Iterable[str] = SCHEMA) -> list[list[str]]:
    """Rows in no order; times by their moment, whatever the zone's name."""
    return sorted([str(v.timestamp() if isinstance(v, datetime) else v) for v in (row[c] for c in columns)] for row in rows)


def build(rows: list[Row], table: Table, ends: list[Row] | None = None) -> pl.DataFrame:
    deletions = None if ends is None else pl.DataFrame(ends, {"_key": pl.Binary, "known_at": SCHEMA["known_at"]})
    return versioned(pl.LazyFrame(rows, SCHEMA), table, deletions)


@settings(deadline=None, max_examples=150)
@given(ROWS, TABLES)
def test_versions_are_those_of_the_model(rows: list[Row], table: Table) -> None:
    expected = [
        {**version, "superseded_at": following["known_at"] if following else None}
        for history in histories(rows, table)
        for version, following in zip(history, [*history[1:], None], strict=True)
    ]
    built = build(rows, table)
    assert built.columns == [*SCHEMA, "superseded_at"]
    found = built.rows(named=True)
    columns = (*SCHEMA, "superseded_at")
    assert plain(found, columns) == plain(expected, columns)
    assert [(r["name"], r["number"]) for r in found] == sorted(
        ((r["name"], r["number"]) for r in found), key=lambda k: (k[0], k[1] is not None, k[1] or "")
    )


@settings(deadline=None, max_examples=150)
@given(ROWS, TABLES, T)
def test_the_predicates_are_the_model(rows: list[Row], table: Table, moment: datetime) -> None:
    built = build(rows, table)
    assert plain(latest(built.lazy(), table).collect().rows(named=True)) == plain(known(rows, table, at(99)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")  # a session's zone is no matter
        connection.register("built", built.to_arrow())
        sql = f"SELECT {', '.join(SCHEMA)} FROM built WHERE {known_then_sql(moment, table)}"
        found = [dict(zip(SCHEMA, row, strict=True)) for row in connection.execute(sql).fetchall()]
    assert plain(found) == plain(known(rows, table, moment))


@settings(deadline=None, max_examples=150)
@given(ROWS, ENDS, TABLES, T)
def test_a_deletion_ends_a_version_and_removes_none(rows: list[Row], ends: list[Row], table: Table, moment: datetime) -> None:
    expected = lives(rows, [e for e in ends if e["_key"]], table)
    columns = (*SCHEMA, "superseded_at")
    built = build(rows, table, ends)
    assert built.columns == [*columns] and (ends or built.equals(build(rows, table)))
    assert plain(built.rows(named=True), columns) == plain([{**v, "superseded_at": end} for h in expected for v, end in h], columns)
    with duckdb.connect() as connection:
        connection.register("built", built.to_arrow())
        sql = f"SELECT {', '.join(SCHEMA)} FROM built WHERE {known_then_sql(moment, table)}"
        found = [dict(zip(SCHEMA, row, strict=True)) for row in connection.execute(sql).fetchall()]
    so_far = build([r for r in rows if r["known_at"] <= moment], table, [e for e in ends if e["known_at"] <= moment])
    assert plain(found) == plain(latest(so_far.lazy(), table).collect().rows(named=True))


@settings(deadline=None, max_examples=60)
@given(ROWS, TABLES, T)
def test_what_was_known_does_not_change_with_what_comes_later(rows: list[Row], table: Table, moment: datetime) -> None:
    so_far = [row for row in rows if row["known_at"] <= moment]
    assert plain(latest(build(so_far, table).lazy(), table).collect().rows(named=True)) == plain(known(rows, table, moment))


@settings(deadline=None, max_examples=60)
@given(ROWS, TABLES)
def test_what_arrives_again_adds_nothing(rows: list[Row], table: Table) -> None:
    rows = list({row["known_at"]: row for row in rows}.values())  # within one moment arrival is an order, and means something
    assert build([*rows, *rows], table).equals(build(sorted(rows, key=lambda r: r["known_at"]), table))


@settings(deadline=None, max_examples=150)
@given(ROWS, ENDS, TABLES, st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_versions(rows: list[Row], ends: list[Row], table: Table, chance: Random) -> None:
    """Where ``known_at`` differs or the rows are equal: of two others at one moment, arrival says which stands."""
    first: dict[Any, Row] = {}
    for row in rows:
        first.setdefault((identity(row, table), row["known_at"]), row)
    told = [
        {**first[identity(row, table), row["known_at"]], "source": row["source"]} for row in rows  # equal rows may come from two files
    ]
    shuffled = chance.sample(told, len(told))
    columns = [c for c in (*SCHEMA, "superseded_at") if c != "source"]
    assert plain(build(told, table).rows(named=True), columns) == plain(build(shuffled, table).rows(named=True), columns)
    ended, later = (build(some, table, chance.sample(ends, len(ends))).rows(named=True) for some in (told, shuffled))
    assert plain(ended, columns) == plain(later, columns)
    expected = [{**v, "superseded_at": end} for history in lives(shuffled, [e for e in ends if e["_key"]], table) for v, end in history]
    assert plain(ended, columns) == plain(expected, columns)


ONE = {"name": "a", "number": "1", "line": None, "price": 1.0, "tags": ["x"], "known_at": at(0), "partition_date": DAY, "source": "f"}


@pytest.mark.parametrize(
    ("change", "versions"),
    [({"price": None}, 2), ({"tags": None}, 2), ({"tags": []}, 2), ({"tags": ["x", None]}, 2), ({"source": None}, 1), ({"line": "9"}, 2), ({}, 1)],
)
def test_a_change_to_or_from_null_is_a_version(change: Row, versions: int) -> None:
    later = {**ONE, **change, "known_at": at(1)}
    assert build([ONE, later], keyed).height == versions
    assert build([{**later, "known_at": at(0)}, {**ONE, "known_at": at(1)}], keyed).height == versions


def test_a_value_that_returns_is_a_version_again() -> None:
    built = build([ONE, {**ONE, "price": 2.0, "known_at": at(2)}, {**ONE, "known_at": at(3)}, {**ONE, "known_at": at(1)}], keyed)
    assert built.select("price", "known_at", "superseded_at").rows() == [(1.0, at(0), at(2)), (2.0, at(2), at(3)), (1.0, at(3), None)]


def test_what_was_deleted_is_a_version_again_when_it_returns() -> None:
    end = [{"_key": b"a", "known_at": at(1)}, {"_key": b"a", "known_at": at(1)}, {"_key": b"a", "known_at": at(-1)}, {"_key": b"z", "known_at": at(1)}]
    built = build([ONE, {**ONE, "name": "b"}, {**ONE, "known_at": at(2)}], keyed, end)
    assert built.select("name", "known_at", "superseded_at").rows() == [("a", at(0), at(1)), ("a", at(2), None), ("b", at(0), None)]
    assert build([ONE], keyed, [{"_key": b"a", "known_at": at(0)}])["superseded_at"].to_list() == [at(0)], "after rows of its moment"


def test_of_two_at_one_moment_the_later_arrival_stands() -> None:
    first, second = {**ONE, "price": 2.0}, {**ONE, "price": 3.0}
    built = build([first, second], keyed)
    assert built.select("price", "superseded_at").rows() == [(2.0, at(0)), (3.0, None)]
    assert plain(known([first, second], keyed, at(0))) == plain([second])


def test_a_fallback_key_is_never_taken_for_a_key() -> None:
    by_line = {**ONE, "number": None, "line": "1"}
    other = {**by_line, "price": 5.0, "line": "2"}
    assert build([ONE, by_line, other], fallback)["superseded_at"].null_count() == 3
    assert build([ONE, {**by_line, "price": 3.0, "known_at": at(1)}, {**by_line, "known_at": at(2)}], fallback).height == 3


def test_raw_rows_are_known_by_arrival_where_they_say_nothing() -> None:
    rows = [{"known_at": None, "_timestamp": at(1)}, {"known_at": at(2), "_timestamp": at(3)}]
    frame = pl.DataFrame(rows, {"known_at": SCHEMA["known_at"], "_timestamp": SCHEMA["known_at"]}).to_arrow()
    with duckdb.connect() as connection:
        connection.register("frame", frame)
        counts = [
            connection.execute(f"SELECT count(*) FROM frame WHERE {arrived_then_sql(at(t))}").fetchall()[0][0] for t in range(4)
        ]
    assert counts == [0, 1, 2, 2]
