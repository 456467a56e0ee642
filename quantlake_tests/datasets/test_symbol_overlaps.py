"""Symbols that mean two instruments at once, whatever partitions say so."""

from datetime import UTC, date, datetime

import polars as pl

from quantlake.contract.compute import compute_each
from quantlake.contract.versions import across
from quantlake.datasets.reference import symbol_map
from quantlake.datasets.reference.symbol_overlaps import overlaps
from quantlake.sources.lean import maps
from quantlake_tests.recorded import recorded

KINDS = pl.DataFrame(symbol_map.symbols.spec.arrow.empty_table()).schema


def stored(*rows: tuple[str, date, date | None, str, date]) -> pl.DataFrame:
    """Rows of the map: symbol, validity, instrument, and since when it is known."""
    found = pl.DataFrame(rows, schema={name: KINDS[name] for name in ("symbol", "valid_from", "valid_to", "instrument_id", "partition_date")}, orient="row")
    known = found.with_columns(source=pl.lit("lean"), venue=pl.lit("usa"), known_at=pl.col("partition_date").cast(pl.Datetime("us", "UTC")))
    return known.with_columns(pl.lit(None, KINDS[name]).alias(name) for name in KINDS if name not in known.columns).select(list(KINDS))


def built(rows: pl.DataFrame, *dates: date) -> pl.DataFrame:
    """What the dates have, built together and alone."""
    versions = across(rows.lazy(), symbol_map.symbols).collect()
    together, broken = compute_each(overlaps, [versions, versions], dates)
    assert not broken
    for day in dates:
        until = across(rows.filter(pl.col("partition_date") <= day).lazy(), symbol_map.symbols).collect()
        alone, _ = compute_each(overlaps, [until.filter(pl.col("partition_date") == day), until], [day])
        assert pl.DataFrame(alone).equals(pl.DataFrame(together).filter(pl.col("partition_date") == day))
    return pl.DataFrame(together)


def test_an_overlap_is_of_the_date_that_brought_it() -> None:
    first, second, third = date(2010, 1, 4), date(2012, 1, 3), date(2013, 1, 2)
    rows = stored(("A", first, None, "one", first), ("A", second, None, "two", second), ("A", first, second, "one", third))
    found = built(rows, first, second, third)
    assert found.select("partition_date", "valid_from", "other_valid_from", "instrument_id", "other_instrument_id").rows() == [
        (second, second, first, "two", "one")
    ]
    assert found["known_at"].to_list() == [datetime(2012, 1, 3, tzinfo=UTC)]


def test_what_follows_on_the_day_of_the_end_does_not_overlap() -> None:
    first, second = date(2010, 1, 4), date(2012, 1, 3)
    rows = stored(("A", first, None, "one", first), ("A", second, None, "two", second), ("A", first, second, "one", second), ("B", second, None, "three", second))
    assert built(rows, first, second).is_empty()


def test_the_recorded_map_files_do_not_contradict_one_another() -> None:
    files = sorted(recorded("reference/lean_reference/equity/usa/map_files").glob("*.csv"))
    raw = pl.concat(pl.DataFrame(next(rows for stream, rows in maps.read(path) if stream is symbol_map.raw)) for path in files)
    rows = raw.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC"))).select(list(KINDS))
    assert len(rows) == 23
    assert built(rows, *rows["partition_date"].unique()).is_empty()
