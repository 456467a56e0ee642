"""Rows that stand or do not by another table: in polars and in SQL as by hand."""

from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlake.contract import (
    PARTITION_DATE,
    Column,
    Integer,
    QuantLakeError,
    Settled,
    Standing,
    Stream,
    Table,
    Text,
    Timestamp,
    View,
)
from quantlake.contract.catalog import Catalog
from quantlake.contract.standing import said_twice, told, told_sql

STANDS = Standing(
    by="curated/things/chain", place=("chain", "height"), value="hash", dated="time", name="stands",
    settled=Settled(name="settled", height="height", within="chain", said="final", depth=2),
)  # fmt: skip
ROW = {"chain": pl.Int64, "height": pl.Int64, "hash": pl.String, "time": pl.Int64}
SAID = {"chain": pl.Int64, "height": pl.Int64, "hash": pl.String, "final": pl.Int64}

KEY = ("chain", "height", "hash")
heights = st.integers(0, 5)
hashes = st.sampled_from("ab")
rows = st.lists(st.tuples(st.integers(1, 2), st.one_of(st.none(), heights), st.one_of(st.none(), hashes), st.sampled_from([None, 1, 2])), max_size=8)
said = st.lists(st.tuples(st.integers(1, 2), heights, st.one_of(st.none(), hashes), st.one_of(st.none(), heights)), max_size=6)


def by_hand(rows: list[Any], said: list[Any]) -> list[tuple[bool, bool]]:
    """``said`` are versions, of a place the last one holds."""
    found = []
    for chain, height, hash_, time in rows:
        at = [s for s in said if s[0] == chain and s[1] == height]
        stands = not at or (hash_ is not None and at[-1][2] == hash_)
        stands = stands and not (time is None and any(r[:3] == (chain, height, hash_) and r[3] is not None for r in rows))
        finals = [s[3] for s in said if s[0] == chain and s[3] is not None]
        tops = [s[1] for n, s in enumerate(said) if s[0] == chain and s[2] and s[:2] not in [later[:2] for later in said[n + 1 :]]]
        final = max(finals) if finals else max(tops) - 2 if tops else None
        found.append((stands, stands and height is not None and final is not None and height <= final))
    return found


@given(rows, said)
def test_what_stands_and_what_is_settled(rows: list[Any], said: list[Any]) -> None:
    frame = pl.DataFrame(rows, ROW, orient="row").with_row_index("n")
    versions = pl.DataFrame(said, SAID, orient="row")
    claims = versions.unique(["chain", "height"], keep="last", maintain_order=True)
    found = said_twice(told(frame.lazy(), STANDS, claims.lazy(), versions.lazy()), STANDS, KEY).collect()
    assert found.columns == [*frame.columns, "stands", "settled"]
    assert found.select("stands", "settled").rows() == by_hand(rows, said)
    sql = duckdb.sql(f"SELECT stands, settled FROM ({told_sql('frame', STANDS, 'claims', 'versions', KEY)}) ORDER BY n")
    assert sql.fetchall() == by_hand(rows, said)


COLUMNS = (
    Column("chain", Integer, "x"), Column("height", Integer, "x"), Column("hash", Text, "x", null=True), Column("time", Integer, "x", null=True), Column("known_at", Timestamp, "x"), PARTITION_DATE,
)  # fmt: skip
stream = Stream("tests.things.rows", doc="x", owner="t", topic="t", message_key="hash", columns=COLUMNS)


def test_what_cannot_stand_is_refused() -> None:
    with pytest.raises(QuantLakeError, match=r"stand by \['height'\], which are no columns"):
        Table("tests.things.rows", of=stream, doc="x", owner="t", columns=tuple(c for c in COLUMNS if c.name != "height"), stands=STANDS)
    with pytest.raises(QuantLakeError, match="further views"):
        view = View(name="newest", per=("hash",), newest=("known_at",), doc="x")
        Table("tests.things.rows", of=stream, doc="x", owner="t", columns=COLUMNS, views=(view,), stands=STANDS)
    with pytest.raises(QuantLakeError, match="curated and derived"):
        Stream("tests.things.rows", doc="x", owner="t", topic="t", message_key="hash", columns=COLUMNS, stands=STANDS)
    assert Catalog((stream,))
