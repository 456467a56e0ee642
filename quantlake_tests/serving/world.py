"""A small graph for the suites of serving: quotes, what is derived from them, and their stores; no Dagster, no checks."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pyarrow as pa

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import (
    PARTITION_DATE,
    Column,
    Dataset,
    Derived,
    EmbeddingIndex,
    FeatureView,
    Float,
    Integer,
    Rollup,
    Stream,
    Table,
    Text,
    Timestamp,
    Vector,
)  # fmt: skip
from quantlake.contract.catalog import Catalog
from quantlake.contract.compute import compute
from quantlake.ports import Platform
from quantlake.serving.frames import Tables
from quantlake.serving.query import QueryService

MONDAY, TUESDAY, WEDNESDAY = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
DAYS = (MONDAY, TUESDAY, WEDNESDAY)
KNOWN_AT = Column("known_at", Timestamp, "When.")
QUOTE = (Column("name", Text, "Of what."), Column("price", Float, "In units.", null=True), KNOWN_AT, PARTITION_DATE)
TOTAL = (Column("quotes", Integer, "How many."), Column("total", Float, "Their sum."), KNOWN_AT, PARTITION_DATE)

stream = Stream("tests.things.quotes", doc="x", owner="tests", topic="t", message_key="name", columns=QUOTE)
quotes = Table("tests.things.quotes", of=stream, doc="x", owner="tests", key=("name",), columns=QUOTE)
fees = Table("tests.things.fees", of=stream, doc="x", owner="tests", key=("name",), columns=QUOTE)
totals = Derived("tests.things.totals", of=(quotes,), doc="x", owner="tests", columns=TOTAL, storage_partition="month")
names = Derived("tests.things.names", of=(quotes,), doc="x", owner="tests", columns=(QUOTE[0], PARTITION_DATE))
both = Derived("tests.things.both", of=(totals, fees), doc="x", owner="tests", columns=TOTAL)
moves = FeatureView(
    "tests.things.moves", of=(both,), doc="x", owner="tests", columns=TOTAL, entities=("quotes",), ttl=timedelta(days=1)
)  # fmt: skip
after = Derived("tests.things.after", of=(moves,), doc="x", owner="tests", columns=(TOTAL[1], PARTITION_DATE))
rollup = Rollup(
    "tests.things.totals", of=quotes, equals=totals, doc="x", owner="tests", sql="",
    columns=(TOTAL[1], Column("extra", Text, "The base has it not."), PARTITION_DATE), key=("total",),
)  # fmt: skip
alone = Rollup("tests.things.alone", of=quotes, doc="x", owner="tests", sql="", columns=TOTAL)
index = EmbeddingIndex(
    "tests.things.index", of=quotes, doc="x", owner="tests", text=("name",), columns=(Column("embedding", Vector, "x"), PARTITION_DATE)
)
of_raw = Derived("tests.things.of_raw", of=(stream,), doc="x", owner="tests", columns=TOTAL)
CATALOG = Catalog((stream, quotes, fees, totals, names, both, moves, after, rollup, alone, index, of_raw))


@totals.build
def _totals(rows: pl.LazyFrame) -> pl.LazyFrame:
    bad = rows.filter(pl.col("name") == "bad").collect()
    if bad.height:
        raise ValueError("no total of\nbad quotes")
    return (
        rows.group_by("partition_date").agg(quotes=pl.len().cast(pl.Int64), total=pl.col("price").sum(), known_at=pl.col("known_at").max())
    )  # fmt: skip


@names.build
def _names(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("name", "partition_date").sort("name")


@both.build
def _both(totals: pl.LazyFrame, fees: pl.LazyFrame) -> pl.LazyFrame:
    fee = fees.select(name=pl.lit("fee"), price=-pl.col("price"), known_at="known_at", partition_date="partition_date")
    return _totals(pl.concat([totals.select(name=pl.lit("t"), price="total", known_at="known_at", partition_date="partition_date"), fee]))


@moves.build
def _moves(both: pl.LazyFrame) -> pl.LazyFrame:
    return both.with_columns(pl.col("known_at").dt.offset_by("10m"))


@after.build
def _after(moves: pl.LazyFrame) -> pl.LazyFrame:
    return moves.select("total", "partition_date")


def at(minute: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def quote(name: str, price: float | None, minute: float, day: date = MONDAY) -> dict[str, Any]:
    return {"name": name, "price": price, "known_at": at(minute), "partition_date": day}


def platform(lake: Iceberg, **others: Any) -> Platform:
    return cast(Platform, SimpleNamespace(lake=lake, **others))


class World:
    """Tables in a lake, published as a build would."""

    def __init__(self, lake: Iceberg) -> None:
        self.lake = lake
        self.queries = QueryService(CATALOG, platform(lake))
        self.tables = Tables(CATALOG, platform(lake))
        self.arrived: dict[str, list[dict[str, Any]]] = {"quotes": [], "fees": []}

    def arrive(self, *rows: dict[str, Any], table: Table = quotes) -> None:
        self.arrived[table.name] += rows
        days = {r["partition_date"] for r in rows}
        frame = pl.LazyFrame(self.arrived[table.name], pl.DataFrame(table.streams[0].spec.arrow.empty_table()).schema)
        self.publish(table, [compute(table, [frame.filter(pl.col("partition_date") == d)], d) for d in days], days)

    def build(self, dataset: Derived | FeatureView, *days: date) -> None:
        self.publish(dataset, [compute(dataset, [self.latest(i, d) for i in dataset.inputs], d) for d in days or DAYS], days or DAYS)

    def plant(self, dataset: Derived | FeatureView, *rows: dict[str, Any]) -> None:
        """Publish what the function would never return, so that what is stored can be told from what is computed."""
        planted = pa.Table.from_pylist([dict(r) for r in rows], pa.schema([f.with_nullable(True) for f in dataset.spec.arrow]))
        self.publish(dataset, [planted], {r["partition_date"] for r in rows})

    def publish(self, dataset: Dataset, tables: Sequence[pa.Table], days: Sequence[date] | set[date]) -> None:
        self.lake.publish(dataset.spec, days, pa.concat_tables(tables))

    def latest(self, dataset: Dataset, day: date) -> pl.LazyFrame:
        rows = pl.DataFrame(self.lake.read(dataset.spec, [day])).lazy()
        return rows.filter(pl.col("superseded_at").is_null()).drop("superseded_at") if isinstance(dataset, Table) else rows

    def sql(self, sql: str, minute: float | datetime | None = None) -> list[tuple[Any, ...]]:
        moment = at(minute) if isinstance(minute, int | float) else minute
        rows = self.queries.run(sql, moment).read_all()
        return [tuple(r.values()) for r in rows.to_pylist()]

    def totals(self, minute: float | datetime | None = None) -> list[tuple[Any, ...]]:
        return self.sql("SELECT total FROM derived_things_totals ORDER BY partition_date", minute)
