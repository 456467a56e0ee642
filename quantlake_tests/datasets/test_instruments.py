"""Which instrument a market row is of: as of its own day, and as it was known; with LEAN's recorded map files, and by hand."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract.compute import compute
from quantlake.contract.versions import across, known_then, latest
from quantlake.datasets.market import exchange_messages, trades
from quantlake.datasets.reference import symbol_map
from quantlake.sources import replay
from quantlake_tests.empty import NO_SYMBOLS, no_rows
from quantlake_tests.recorded import recorded

MAP_FILES = "reference/lean_reference/equity/usa/map_files"
CLASS_A, CLASS_C = "GOOG T1AZ164W5VTX", "GOOCV VP83T1ZUHROL"
DAYS = [date(2014, 3, 24) + timedelta(days=n) for n in range(3)]


def mapped() -> pl.DataFrame:
    """The symbol map of recorded files, as it is stored: by partition, each version with the end that its own date knows."""
    rows = []
    for path in sorted(recorded(MAP_FILES).glob("*.csv")):
        importer = replay.recognise(path)
        assert importer is not None
        rows += [pl.DataFrame(part[1]) for part in importer.read(path) if not hasattr(part, "uri") and part[0] is symbol_map.raw]
    received = pl.concat(rows).with_columns(_timestamp=pl.lit(datetime(2026, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC")))
    parts = received.partition_by("partition_date", as_dict=True)
    return pl.concat([pl.DataFrame(compute(symbol_map.symbols, [part.lazy()], day)) for (day,), part in parts.items()])


def traded(day: date, symbol: str = "GOOG", known_at: datetime | None = None) -> dict[str, Any]:
    at = datetime(day.year, day.month, day.day, 15, tzinfo=UTC)
    return {
        "source": "lean", "symbol": symbol, "venue": "usa", "trade_id": f"{day}", "price": "1157.93", "size": "100", "side": "unknown", "event_time": at,
        "known_at": known_at or at, "partition_date": day, "source_name": "hand", "line_number": 1, "item_index": 0,
    }  # fmt: skip


def curated(row: dict[str, Any], names: pl.LazyFrame) -> pl.DataFrame:
    schema = no_rows(trades.raw).collect_schema()
    texts = {c: pl.String if isinstance(t, pl.Decimal) else t for c, t in schema.items()}
    received = pl.DataFrame([{c: row.get(c) for c in schema}], schema=texts).cast(dict(schema))  # type: ignore[arg-type]
    return pl.DataFrame(compute(trades.trades, [received.lazy(), no_rows(exchange_messages.raw), names], row["partition_date"]))


def test_goog_of_march_2014_is_the_class_a_share_and_by_today_s_ticker_it_would_not_be() -> None:
    names = mapped()
    whole = across(names.lazy(), symbol_map.symbols)
    for day in DAYS:
        assert curated(traded(day), whole)["instrument_id"].to_list() == [CLASS_A]
    assert curated(traded(date(2014, 4, 2)), whole)["instrument_id"].to_list() == [CLASS_A], "the last day of the ticker"
    assert curated(traded(date(2014, 4, 3)), whole)["instrument_id"].to_list() == [CLASS_C]
    assert curated(traded(date(2002, 5, 3), "AOL"), whole)["instrument_id"].to_list() == ["AOL R735QTJ8XC9X"]
    assert curated(traded(date(2002, 5, 3), "TWX"), whole)["instrument_id"].to_list() == [None]
    today = latest(whole, symbol_map.symbols).filter(pl.col("valid_to").is_null(), pl.col("symbol") == "GOOG").collect()
    assert today["instrument_id"].to_list() == [CLASS_C], "which a join by the ticker of today would take for class A's trades"


def named(*versions: tuple[str, int, int | None, int]) -> pl.DataFrame:
    """Versions of one symbol's map: (instrument, valid from, to, known): days of March 2014, as stored, not yet ended by one another."""
    schema = no_rows(symbol_map.symbols).collect_schema()
    rows = [
        {
            "source": "lean", "venue": "usa", "symbol": "X", "valid_from": date(2014, 3, first), "valid_to": date(2014, 3, end) if end else None,
            "instrument_id": instrument, "known_at": datetime(2014, 3, known, tzinfo=UTC), "partition_date": date(2014, 3, known),
        }
        for instrument, first, end, known in versions
    ]  # fmt: skip
    return pl.DataFrame([{c: r.get(c) for c in schema} for r in rows], schema=dict(schema))


def test_a_mapping_that_is_corrected_later_makes_a_version_of_the_row() -> None:
    names = across(named(("A", 1, None, 1), ("B", 1, None, 20)).lazy(), symbol_map.symbols)
    found = curated(traded(date(2014, 3, 10), "X"), names).sort("known_at")
    assert found.select("instrument_id", "known_at", "superseded_at").rows() == [
        ("A", datetime(2014, 3, 10, 15, tzinfo=UTC), datetime(2014, 3, 20, tzinfo=UTC)), ("B", datetime(2014, 3, 20, tzinfo=UTC), None),
    ]  # fmt: skip


def test_a_row_is_of_no_instrument_before_its_mapping_is_known() -> None:
    names = across(named(("A", 1, None, 12)).lazy(), symbol_map.symbols)
    found = curated(traded(date(2014, 3, 10), "X"), names).sort("known_at")
    assert found.select("instrument_id", "superseded_at").rows() == [(None, datetime(2014, 3, 12, tzinfo=UTC)), ("A", None)]
    nothing = curated(traded(date(2014, 3, 10), "X"), NO_SYMBOLS)
    assert nothing["instrument_id"].to_list() == [None]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from([1, 5, 10, 11]), st.sampled_from([None, 10, 11, 15]), st.integers(1, 25)),
        max_size=6, unique_by=lambda v: (v[1], v[3]),
    ),
    st.integers(1, 28),
)  # fmt: skip
def test_as_known_at_any_time_it_is_the_mapping_known_then(versions: list[tuple[str, int, int | None, int]], asked: int) -> None:
    """Where no two mappings hold at once; what is known of a row is what was known then of its symbol."""
    day, moment = date(2014, 3, 10), datetime(2014, 3, asked, 16, tzinfo=UTC)
    names = across(named(*versions).lazy(), symbol_map.symbols)
    then = names.filter(known_then(moment, symbol_map.symbols)).collect()
    valid = then.filter((pl.col("valid_from") <= day) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > day)))
    rows = curated(traded(day, "X"), names).lazy().filter(known_then(moment, trades.trades)).collect()
    if asked < 10:
        assert rows.is_empty()
    elif valid.height == 0:
        assert rows["instrument_id"].to_list() == [None]
    elif valid.height == 1:
        assert rows["instrument_id"].to_list() == valid["instrument_id"].to_list()
    else:
        assert rows.height == 1
