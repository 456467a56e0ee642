"""Databento DBN: every recorded file against the package's own record objects; made files of what the recorded ones lack."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import databento_dbn as package
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import quotes, trades, vendor_bars
from quantlake.sources import databento, dbn
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame, require_counted

READ = ("trades", "tbbo", "mbp-1", "bbo-1s", "bbo-1m", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d")
FIRST_NS = 1_609_160_400_000_704_060  # 2020-12-28, 13:00 UTC


def files() -> list[Path]:
    return sorted(recorded("market/databento_dbn").glob("*/*.dbn.zst"))


def records_of(path: Path) -> list[Any]:
    decoder = package.DBNDecoder(compression=package.Compression.ZSTD)
    decoder.write(path.read_bytes())
    return [record for record in decoder.decode() if not isinstance(record, package.Metadata)]


def price(value: int) -> Decimal | None:
    return None if value == package.UNDEF_PRICE else Decimal(value).scaleb(-9)


def read_all(path: Path) -> dict[str, pl.DataFrame]:
    found: dict[str, list[pa.Table]] = {}
    for stream, part in databento.read(path):
        found.setdefault(stream.name, []).append(part)
    return {name: pl.DataFrame(pa.concat_tables(parts)) for name, parts in found.items()}


def test_every_recorded_file_is_read_or_named() -> None:
    kinds = {f"{path.parent.name}/{path.name.split('.')[1]}": databento.recognise(path) for path in files()}
    assert len(kinds) == 35
    for name, found in kinds.items():
        schema = name.split("/")[1]
        assert (found.name if isinstance(found, Importer) else found) == f"Databento {schema}"
        assert isinstance(found, Importer) == (schema in READ)


def test_the_records_are_those_of_the_package() -> None:
    read = 0
    for path in (p for p in files() if p.name.split(".")[1] in READ):
        schema, records = path.name.split(".")[1], records_of(path)
        for name, rows in read_all(path).items():
            require_counted(rows)
            read += len(rows)
            assert rows["line_number"].to_list() == list(range(1, len(records) + 1))
            assert rows["event_time_ns"].to_list() == [r.ts_recv if r.ts_event == package.UNDEF_TIMESTAMP else r.ts_event for r in records]
            assert rows["event_time"].cast(pl.Int64).to_list() == [ns // 1_000 for ns in rows["event_time_ns"]]
            if name == "vendor_bars":
                for column in ("open", "high", "low", "close"):
                    assert rows[column].to_list() == [price(getattr(r, column)) for r in records]
                assert rows["volume"].to_list() == [Decimal(r.volume) for r in records]
                continue
            assert rows["known_at"].cast(pl.Int64).to_list() == [r.ts_recv // 1_000 for r in records]
            assert rows["sequence"].to_list() == [r.sequence for r in records]
            if name == "trades":
                sides = {"B": "buy", "A": "sell", "N": "unknown"}
                assert rows.select("price", "size", "side").rows() == [(price(r.price), Decimal(r.size), sides[str(r.side)]) for r in records]
                continue
            for column, level in (("bid", "bid"), ("ask", "ask")):
                prices = [price(getattr(r.levels[0], f"{level}_px")) for r in records]
                sizes = [getattr(r.levels[0], f"{level}_sz") for r in records]
                assert rows[f"{column}_price"].to_list() == prices
                assert rows[f"{column}_size"].to_list() == [None if p is None else Decimal(s) for p, s in zip(prices, sizes, strict=True)]
        assert schema != "tbbo" or set(read_all(path)) == {"trades", "quotes"}
    assert read == 3 * (5 * 4 + 4 + 1 + 3 * 4) - 2 * 4  # XNAS.ITCH has no bbo-1s and bbo-1m


def test_venues_symbols_units_and_sessions() -> None:
    gold = frame(trades.raw, databento.read(recorded("market/databento_dbn/GLBX.MDP3/test_data.trades.dbn.zst")))
    first = gold.row(0, named=True)
    assert (first["venue"], first["symbol"], first["size_unit"], first["source"]) == ("glbx_mdp3", "ESH1", "contracts", "databento")
    assert first["source_name"] == "databento/glbx.mdp3/trades/2020-12-28/test_data.trades.dbn"
    assert gold["partition_date"].unique().to_list() == [date(2020, 12, 28)]
    shares = frame(trades.raw, databento.read(recorded("market/databento_dbn/XNAS.ITCH/test_data.trades.dbn.zst")))
    assert shares.select("venue", "symbol", "size_unit").unique().rows() == [("xnas_itch", "NVDA", "shares")]
    daily = frame(vendor_bars.raw, databento.read(recorded("market/databento_dbn/XNAS.ITCH/test_data.ohlcv-1d.dbn.zst")))
    assert daily.select("bar_start", "known_at", "partition_date", "interval").rows() == [
        (datetime(2020, 12, 28, tzinfo=UTC), datetime(2020, 12, 29, tzinfo=UTC), date(2020, 12, 28), "1d")
    ]
    snapshots = frame(quotes.raw, databento.read(recorded("market/databento_dbn/EQUS.MINI/test_data.bbo-1s.dbn.zst")))
    assert snapshots.row(0, named=True)["event_time_source"] == "receive"


def made(path: Path, records: list[Any], *, schema: package.Schema = package.Schema.TRADES, dataset: str = "XNAS.ITCH",
         mappings: Any = None, cut: int = 0) -> Path:
    """A DBN file of these records; instrument 7 is `A` until 2020-12-29, `B` from then on."""
    intervals = {
        "A": [{"start_date": date(2020, 12, 1), "end_date": date(2020, 12, 29), "symbol": "7"}],
        "B": [{"start_date": date(2020, 12, 29), "end_date": date(2021, 1, 9), "symbol": "7"}],
    } if mappings is None else mappings
    symbols = [type("Mapping", (), {"raw_symbol": k, "intervals": [type("Interval", (), i)() for i in v]})() for k, v in intervals.items()]
    metadata = package.Metadata(dataset, FIRST_NS, package.SType.RAW_SYMBOL, package.SType.INSTRUMENT_ID, schema, mappings=symbols)
    content = bytes(metadata) + b"".join(bytes(record) for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content[: len(content) - cut])
    return path


def trade(at: int = FIRST_NS, cost: int = 1, side: package.Side = package.Side.BID, instrument: int = 7, **more: Any) -> Any:
    return package.TradeMsg(1, instrument, at, cost, 1, package.Action.TRADE, side, 0, at + 5_000, **more)


def test_an_instrument_has_the_symbol_of_the_date(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dbn", [trade(), trade(FIRST_NS + 86_400 * 10**9, side=package.Side.ASK)])
    rows = frame(trades.raw, databento.read(path))
    assert rows.select("symbol", "side", "price").rows() == [("A", "buy", Decimal("1e-9")), ("B", "sell", Decimal("1e-9"))]
    assert rows["source_records"].to_list() == [1, 1]
    compressed = tmp_path / "b" / "a.dbn.zst"
    compressed.parent.mkdir()
    with pa.output_stream(str(compressed), compression="zstd") as file:
        file.write(path.read_bytes())
    assert frame(trades.raw, databento.read(compressed)).equals(rows)


def test_a_trade_of_the_evening_belongs_to_the_next_session(tmp_path: Path) -> None:
    evening = int(datetime(2020, 12, 28, 23, tzinfo=UTC).timestamp()) * 10**9
    path = made(tmp_path / "a.dbn", [trade(evening - 1), trade(evening)], dataset="GLBX.MDP3")
    assert frame(trades.raw, databento.read(path))["partition_date"].to_list() == [date(2020, 12, 28), date(2020, 12, 29)]
    path = made(tmp_path / "b.dbn", [trade(evening), trade(evening + 6 * 3_600 * 10**9)])
    assert frame(trades.raw, databento.read(path))["partition_date"].to_list() == [date(2020, 12, 28), date(2020, 12, 29)]  # New York's


@pytest.mark.parametrize(("records", "more", "found"), [
    ([trade(), trade(cost=package.UNDEF_PRICE)], {}, "record 2 is a trade without a price"),
    ([trade(), trade(instrument=8)], {}, "record 2: its mappings have no symbol of instrument 8 on 2020-12-28"),
    ([trade(FIRST_NS + 40 * 86_400 * 10**9)], {}, "record 1: its mappings have no symbol of instrument 7"),
    ([trade(), trade()], {"cut": 3}, "record 2 is cut"),
    ([trade()], {"cut": 60}, "is no whole DBN file"),
    ([trade()], {"schema": package.Schema.TBBO}, "record 1 has type 0x0 and 48 bytes, not 0x1 and 80 as tbbo have|is cut"),
    ([trade(), package.OHLCVMsg(0x20, 1, 7, FIRST_NS, 1, 1, 1, 1, 1)], {}, "record 2 has type 0x20 and 56 bytes, not 0x0 and 48 as trades have"),
])
def test_a_bad_record_is_named(tmp_path: Path, records: list[Any], more: dict[str, Any], found: str) -> None:
    path = made(tmp_path / "a.dbn", records, **more)
    with pytest.raises(QuantLakeError, match=found):
        next(databento.read(path))


def test_what_is_no_file_or_has_no_session_is_named(tmp_path: Path) -> None:
    assert databento.recognise(made(tmp_path / "a.dbn", [], dataset="IFEU.IMPACT")) == (
        "Databento trades of IFEU.IMPACT, whose sessions are not known"
    )
    (tmp_path / "b.dbn").write_bytes(b"DBX")
    assert databento.recognise(tmp_path / "b.dbn") is None
    (tmp_path / "c.dbn.zst").write_bytes(recorded("market/databento_dbn/GLBX.MDP3/test_data.trades.dbn.zst").read_bytes()[:150])
    with pytest.raises(QuantLakeError, match=r"c\.dbn\.zst"):
        next(databento.read(tmp_path / "c.dbn.zst"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 86_399_999_999_999), st.integers(-(2**62), 2**63 - 1)), max_size=30), st.integers(0, 47))
def test_rows_are_the_records_or_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, int]], cut: int) -> None:
    base = FIRST_NS - FIRST_NS % (86_400 * 10**9)
    records = [trade(base + at, cost) for at, cost in told]
    path = made(tmp_path_factory.mktemp("dbn") / "a.dbn", records, cut=cut)
    try:
        rows, refused = sum(part.num_rows for _, part in databento.read(path)), ""
    except QuantLakeError as error:
        rows, refused = 0, str(error)
    bad = cut > 0 or any(cost == dbn.UNDEFINED_PRICE for _, cost in told)
    assert bool(refused) == bad
    assert str(path) in refused if refused else rows == len(records)
