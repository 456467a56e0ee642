"""What a data file says of its least and greatest values is true, or not said: who trusts it would miss rows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import PARTITION_DATE, Bytes, Column, Text, TextList
from quantlake.contract.columns import TableSpec
from quantlake_tests.ports.lakes import EVERY, made

PORT = "Lake"
DAY = date(2024, 1, 1)
COLUMNS = (Column("name", Text, "Any.", null=True), Column("data", Bytes, "Any.", null=True), Column("names", TextList, "Any."), PARTITION_DATE)
SPEC = TableSpec("curated", "tests", "bounds", COLUMNS)
TEXTS = ["\ud7ff" * 17, "a" * 15 + "\ud7ffb", "\ud7ff" * 16, "\U0010ffff" * 17, "\uffff" * 17, "z" * 5000, "\ud7ff" * 5000, ""]


@pytest.fixture(params=EVERY)
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lake(adapter_name: str, home: Path, request: pytest.FixtureRequest) -> Iterator[Iceberg]:
    with made(adapter_name, home, request) as lake:
        yield lake


def rows(*values: tuple[str | None, bytes | None]) -> pa.Table:
    return pa.Table.from_pylist([{"name": n, "data": d, "names": [n or ""], "partition_date": DAY} for n, d in values], SPEC.arrow)


def found(lake: Iceberg, spec: TableSpec, **where: Any) -> int:
    """How many rows both readers that plan with bounds find."""
    (name, value), = where.items()
    scanned = lake.scan(spec).filter(pl.col(name) == value).collect().height
    table = lake.catalog.load_table((spec.layer, f"{spec.family}_{spec.name}"))
    from pyiceberg.expressions import EqualTo

    assert scanned == table.scan(row_filter=EqualTo(name, value)).to_arrow().num_rows
    return scanned


@pytest.mark.parametrize("greatest", TEXTS, ids=ascii)
def test_any_text_may_be_the_greatest(lake: Iceberg, greatest: str) -> None:
    """Cut at 16 characters and rounded up, some are no text any more."""
    data = greatest.encode()
    lake.ensure(SPEC)
    lake.publish(SPEC, [DAY], rows((greatest, data), ("a", b"a")))
    lake.append(SPEC, rows((greatest, data)), properties={}, expected={})
    assert found(lake, SPEC, name=greatest) == found(lake, SPEC, data=data) == 2
    assert found(lake, SPEC, name="a") == 1
    assert lake.read(SPEC)["names"].to_pylist().count([greatest]) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_groups_of_which_some_say_no_bounds(lake: Iceberg, order: int) -> None:
    """Parquet says none where a value is above 4 kB; those of the file's other groups do not hold for it."""
    raw = replace(SPEC, layer="raw")
    lake.ensure(raw)
    long = "z" * 5000
    groups = [rows(("b", b"b")), rows((long, long.encode()), ("a", None)), rows((None, None))][::order]
    with lake.appender(raw) as appender:
        for group in groups:
            appender.write(group)
        appender.commit(properties={}, expected={})
    assert len(lake.files(raw).paths) == 1
    assert found(lake, raw, name=long) == found(lake, raw, data=long.encode()) == 1
    assert found(lake, raw, name="b") == found(lake, raw, name="a") == found(lake, raw, data=b"b") == 1
