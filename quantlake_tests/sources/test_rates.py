"""Interest rates: recorded curves and policy rates cell by cell, and bad files."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import rates as dataset
from quantlake.sources import rates
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame, require_counted

CURVES = "Time Period,1month,10year"


def read(path: Path) -> pl.DataFrame:
    found = rates.recognise(path)
    assert isinstance(found, Importer)
    rows = frame(dataset.raw, found.read(path))
    require_counted(rows)
    return rows


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_every_cell_of_the_recorded_curves_is_a_rate() -> None:
    path = recorded("reference/zipline_rates_benchmark/treasury_curves.csv")
    rows = read(path)
    assert len(rows) == 70_144
    tenors = ["1m", "3m", "6m", "1y", "2y", "3y", "5y", "7y", "10y", "20y", "30y"]
    records = [line.split(",") for line in path.read_text().splitlines()[1:]]
    told = {(date.fromisoformat(day[:10]), tenor): Decimal(cell) for day, *cells in records for tenor, cell in zip(tenors, cells, strict=True) if cell}
    assert {(day, tenor): value for day, tenor, value in rows.select("date", "tenor", "value").iter_rows()} == told
    assert rows.select("series", "unit").unique().rows() == [("us_treasury", "fraction")]
    first = rows.row(0, named=True)
    assert (first["tenor"], first["value"], first["known_at"]) == ("3m", Decimal("0.0783"), datetime(1990, 1, 3, 5, tzinfo=UTC))


def test_the_recorded_policy_rates_are_in_percent() -> None:
    rows = read(recorded("reference/lean_reference/alternative/interest-rate/usa/interest-rate.csv"))
    assert len(rows) == 56
    assert rows.row(-1, named=True)["value"] == Decimal("5.5")
    assert rows.select("series", "tenor", "unit").unique().rows() == [("us_primary_credit", "on", "percent")]
    assert rows["known_at"][0] == datetime(2003, 1, 9, 5, tzinfo=UTC)


def test_returns_are_no_rates(tmp_path: Path) -> None:
    assert rates.recognise(recorded("reference/zipline_rates_benchmark/SPY_benchmark.csv")) == "benchmark returns"
    for header in ("Time Period,price", "Time Period", "Time Period,1month,1month", "date,open"):
        assert rates.recognise(written(tmp_path / "a.csv", header)) is None


@pytest.mark.parametrize(("line", "found"), [
    ("2020-01-02,0.1", "line 3 has 2 columns, not 3"), ("2020-01-02,x,1", "line 3: 1m cannot be 'x'"), ("2020-01-02,,", "line 3 has no rate: '2020-01-02,,'"),
    ("2020-02-30,1,1", "line 3: '2020-02-30' is no date"), ("2020-01-01,1,1", "line 3: 2020-01-01 is there a second time"),
    ("2020-01-02 12:00:00,1,1", "line 3: date cannot be '2020-01-02 12:00:00'"), ("2020-01-02,0.1234567890123456789,1", "line 3: decimal(38,18) cannot hold"),
])  # fmt: skip
def test_a_bad_record_is_named(tmp_path: Path, line: str, found: str) -> None:
    path = written(tmp_path / "a.csv", CURVES, "2020-01-01 00:00:00+00:00,1,-0.5", line)
    with pytest.raises(QuantLakeError) as error:
        read(path)
    assert f"{path} {found}" in str(error.value)


CELL = st.sampled_from(["", "1", "-0.25", "1e-3", "x", "1e30"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELL, min_size=1, max_size=3), max_size=8))
def test_rows_are_the_records_or_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory, told: list[list[str]]) -> None:
    lines = [",".join([f"2020-01-{day:02}", *cells]) for day, cells in enumerate(told, 1)]
    path = written(tmp_path_factory.mktemp("rates") / "a.csv", CURVES, *lines)
    numbers, refused = [], ""
    try:
        numbers = read(path).select("line_number", "item_index").rows()
    except QuantLakeError as error:
        refused = str(error)
    cells = [(n, at) for n, cells in enumerate(told, 1) for at, cell in enumerate(cells) if cell]
    assert refused.startswith(f"{path} line ") if refused else numbers == cells
