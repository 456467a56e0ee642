"""LEAN's reference files: ids, tickers of a day, dividends and splits, the universe, symbol properties, and bad files."""

import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError, Rows, Stream
from quantlake.datasets.reference import corporate_actions, instruments, symbol_map, universe_daily
from quantlake.sources.importers import Importer
from quantlake.sources.lean import reference
from quantlake.sources.lean.security_ids import first_date, security_id
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import require_counted

EQUITIES = "reference/lean_reference/equity/usa"
GOOGL, GOOG, TIME_WARNER, OLD_TIME_WARNER = "GOOG T1AZ164W5VTX", "GOOCV VP83T1ZUHROL", "AOL R735QTJ8XC9X", "TWX R735QTJ8XC9X"
CHECKS = {check.name: check for check in symbol_map.symbols.checks if isinstance(check, Rows)}
COARSE = "A RPTMYV3VC57P,A,55.26,1983802,109624898,True,0.66,1"
HEADER = "market,symbol,type,description,quote_currency,contract_multiplier,minimum_price_variation,lot_size"


def read(path: Path) -> dict[Stream, pl.DataFrame]:
    found = reference.recognise(path)
    assert isinstance(found, Importer)
    frames = {stream: pl.DataFrame(rows) for stream, rows in found.read(path)}
    for frame in frames.values():
        require_counted(frame)
    return frames


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def map_file(folder: Path, text: str, name: str = "x.csv") -> Path:
    return written(folder / "equity/usa/map_files" / name, text)


def factor_file(folder: Path, text: str, name: str = "x.csv") -> Path:
    return written(folder / "equity/usa/factor_files" / name, text)


def universe(day: str) -> pl.DataFrame:
    return read(recorded(f"{EQUITIES}/fundamental/coarse/{day}.csv"))[universe_daily.raw]


def symbols_known(at: datetime | None = None) -> pl.DataFrame:
    """The newest version of each symbol of all recorded map files, as known then."""
    files = sorted(recorded(f"{EQUITIES}/map_files").glob("*.csv"))
    rows = pl.concat(read(path)[symbol_map.raw] for path in files)
    known = rows.filter(pl.col("known_at") <= at) if at else rows
    return known.sort("known_at").unique(symbol_map.symbols.key, keep="last")


def meant(symbol: str, day: date, mapped: pl.DataFrame, venue: str = "usa") -> str | None:
    noon = datetime(day.year, day.month, day.day, 17, tzinfo=UTC)
    trade = pl.LazyFrame({"source": ["lean"], "venue": [venue], "symbol": [symbol], "partition_date": [day], "known_at": [noon]})
    known = mapped.lazy().with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    return str(found) if (found := symbol_map.with_instruments(trade, known).collect()["instrument_id"][-1]) else None


def test_ids_are_those_of_the_universe() -> None:
    files = sorted(recorded(f"{EQUITIES}/map_files").glob("*.csv"))
    listed = set(universe("20140324")["instrument_id"])
    ids = {path.name: read(path)[instruments.raw]["instrument_id"][0] for path in files}
    assert ids["googl.csv"] == GOOGL
    assert ids["aapl.csv"] == "AAPL R735QTJ8XC9X"
    not_yet, no_more = {"goog.csv", "gooav.csv"}, {"fb.1.csv", "twx.1.csv"}
    assert {name for name, found in ids.items() if found in listed} == set(ids) - not_yet - no_more
    every = [security for security in listed if (first := first_date(security)) and security_id(security.split(" ")[0], first) == security]
    assert len(every) == len(listed) == 7_111


def test_goog_of_march_2014_is_the_class_a_share() -> None:
    mapped = symbols_known()
    for day in ("20140324", "20140325", "20140326"):
        rows = universe(day).filter(pl.col("symbol") == "GOOG")
        assert rows["instrument_id"].to_list() == [GOOGL]
        assert meant("GOOG", rows["date"][0], mapped) == GOOGL
    assert meant("GOOG", date(2020, 1, 2), mapped) == GOOG, "by today's ticker it would be the class C share"
    assert meant("GOOGL", date(2020, 1, 2), mapped) == GOOGL
    assert (meant("GOOG", date(2014, 4, 2), mapped), meant("GOOG", date(2014, 4, 3), mapped)) == (GOOGL, GOOG)


def test_twx_was_not_aol_before_2003() -> None:
    mapped = symbols_known()
    assert meant("TWX", date(1999, 5, 3), mapped) == OLD_TIME_WARNER
    assert (meant("AOL", date(2002, 5, 3), mapped), meant("TWX", date(2002, 5, 3), mapped)) == (TIME_WARNER, None)
    assert (meant("TWX", date(2018, 6, 15), mapped), meant("TWX", date(2018, 6, 16), mapped)) == (TIME_WARNER, None)


def test_no_symbol_means_two_instruments_at_once_at_any_time() -> None:
    for at in (None, *(datetime(year, month, day, 12, tzinfo=UTC) for year, month, day in ((2003, 10, 16), (2014, 4, 2), (2014, 4, 3)))):
        rows = symbols_known(at).with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")), partition_date=pl.lit(date(2000, 1, 1)))
        for check in CHECKS.values():
            assert rows.filter(check.bad.fill_null(False)).is_empty()


def test_a_symbol_that_means_two_instruments_at_once_fails_its_check() -> None:
    mapped = symbols_known()
    again = mapped.filter(pl.col("symbol") == "GOOG").with_columns(valid_from=pl.lit(date(2014, 4, 1)), valid_to=pl.lit(None, pl.Date)).head(1)
    rows = pl.concat([mapped, again]).with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")), partition_date=pl.lit(date(2000, 1, 1)))
    bad = CHECKS["overlapping_symbol_map"].bad.fill_null(False)
    assert rows.filter(bad)["valid_from"].sort().to_list() == [date(2014, 4, 1), date(2014, 4, 3)]


def test_what_ended_is_known_without_its_end_before() -> None:
    known = symbols_known(datetime(2014, 4, 3, 3, 59, tzinfo=UTC)).filter(pl.col("instrument_id") == GOOGL)
    assert known.select("symbol", "valid_from", "valid_to").rows() == [("GOOG", date(2004, 8, 19), None)]
    frames = read(recorded(f"{EQUITIES}/map_files/twx.csv"))
    assert frames[instruments.raw].select("delisted", "known_at").rows() == [
        (None, datetime(1998, 1, 2, 5, tzinfo=UTC)), (date(2018, 6, 15), datetime(2018, 6, 16, 4, tzinfo=UTC)),
    ]  # fmt: skip
    assert frames[corporate_actions.raw].select("type", "symbol", "ex_date").rows() == [
        ("symbol_change", "TWX", date(2003, 10, 16)), ("delisting", "TWX", date(2018, 6, 16)),
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "intervals"), [
    ("20000103,a\n20501231,a", [("A", date(2000, 1, 3), None)]),
    ("20000103,a", [("A", date(2000, 1, 3), date(2000, 1, 4))]),
    ("20000103,a\n20000110,b\n", [("A", date(2000, 1, 3), date(2000, 1, 4)), ("B", date(2000, 1, 4), date(2000, 1, 11))]),
    ("20000103,a,N\r\n20000110,a,N\r\n20501231,a,Q", [("A", date(2000, 1, 3), date(2000, 1, 11)), ("A", date(2000, 1, 11), None)]),
])  # fmt: skip
def test_a_records_date_is_its_tickers_last(tmp_path: Path, text: str, intervals: list[tuple[str, date, date | None]]) -> None:
    rows = read(map_file(tmp_path, text))[symbol_map.raw].sort("known_at").unique(["symbol", "valid_from"], keep="last")
    assert rows.sort("valid_from").select("symbol", "valid_from", "valid_to").rows() == intervals


@pytest.mark.parametrize(("name", "dividends", "splits"), [("aapl", 35, 4), ("bac", 93, 1), ("ibm", 93, 1), ("spy", 94, 0), ("twx", 58, 5), ("googl", 0, 1)])
def test_price_factors_follow_from_the_actions(name: str, dividends: int, splits: int) -> None:
    path = recorded(f"{EQUITIES}/factor_files/{name}.csv")
    actions = read(path)[corporate_actions.raw]
    assert dict(actions["type"].value_counts().iter_rows()) == {k: n for k, n in (("dividend", dividends), ("split", splits)) if n}
    lines = [line.split(",") for line in path.read_text().splitlines()]
    by_line = {(row["line_number"], row["type"]): row for row in actions.iter_rows(named=True)}
    price_factor = split_factor = Decimal(1)
    for number in range(len(lines) - 1, 0, -1):  # newest to oldest; the last record is the open end
        _, price, split, *reference_price = lines[number - 1]
        if found := by_line.get((number, "dividend")):
            price_factor *= 1 - found["amount"] / Decimal(reference_price[0])
        if found := by_line.get((number, "split")):
            split_factor /= found["ratio"]
        assert abs(price_factor - Decimal(price)) < Decimal("1e-6")
        assert abs(split_factor / Decimal(split) - 1) < Decimal("1e-6")


@pytest.mark.parametrize(("name", "ex_date", "amount"), [
    ("aapl", date(2012, 8, 9), "2.65"), ("ibm", date(2019, 5, 9), "1.62"), ("ibm", date(2014, 2, 6), "0.95"), ("bac", date(2009, 3, 4), "0.01"),
    ("bac", date(2020, 12, 3), "0.18"), ("twx", date(2018, 1, 9), "0.4025"),
])  # fmt: skip
def test_dividends_are_what_was_paid(name: str, ex_date: date, amount: str) -> None:
    actions = read(recorded(f"{EQUITIES}/factor_files/{name}.csv"))[corporate_actions.raw]
    (paid,) = actions.filter((pl.col("type") == "dividend") & (pl.col("ex_date") == ex_date))["amount"]
    assert abs(paid - Decimal(amount)) < Decimal("5e-4")


def test_splits_and_their_ids() -> None:
    aapl = read(recorded(f"{EQUITIES}/factor_files/aapl.csv"))[corporate_actions.raw].filter(pl.col("type") == "split")
    assert aapl["ex_date"].to_list() == [date(2000, 6, 21), date(2005, 2, 28), date(2014, 6, 9), date(2020, 8, 31)]
    assert [round(ratio, 4) for ratio in aapl["ratio"]] == [2, 2, 7, 4]
    assert aapl.select("instrument_id", "symbol", "known_at").row(0) == ("AAPL R735QTJ8XC9X", "AAPL", datetime(2000, 6, 21, 4, tzinfo=UTC))
    twx = read(recorded(f"{EQUITIES}/factor_files/twx.csv"))[corporate_actions.raw].filter(pl.col("type") == "split")
    assert twx["instrument_id"].unique().to_list() == [TIME_WARNER]
    assert twx["symbol"].to_list() == ["AOL", "AOL", "AOL", "AOL", "TWX"]


def test_a_factor_file_without_its_map_file_has_leans_id_for_that(tmp_path: Path) -> None:
    path = factor_file(tmp_path, "20200102,0.5,1,10\n20200106,0.5,0.5,20\n20501231,1,1,0", "abc.1.csv")
    rows = read(path)[corporate_actions.raw]
    assert rows.select("instrument_id", "symbol", "type", "ex_date", "amount", "ratio").rows() == [
        ("ABC 2T", "ABC", "dividend", date(2020, 1, 7), 10, None), ("ABC 2T", "ABC", "split", date(2020, 1, 3), None, Decimal("0.5")),
        ("ABC 2T", "ABC", "split", date(2020, 1, 7), None, 2),
    ]  # fmt: skip
    version = rows["source_version"][0]
    map_file(tmp_path, "20000103,abc\n20501231,abc", "abc.1.csv")
    again = read(path)[corporate_actions.raw]
    assert again["instrument_id"][0] == security_id("abc", date(2000, 1, 3))
    assert again["source_version"][0] != version


def test_the_universe_is_read_whole() -> None:
    days = [universe(day) for day in ("20140324", "20140325", "20140326")]
    assert sum(map(len, days)) == 21_234
    first = days[0].row(0, named=True)
    assert (first["close"], first["dollar_volume"], first["has_fundamental"]) == (Decimal("55.26"), 109_624_898, True)
    assert (first["date"], first["partition_date"], first["known_at"]) == (date(2014, 3, 24), date(2014, 3, 24), datetime(2014, 3, 25, 4, tzinfo=UTC))
    assert days[0]["symbol"].is_duplicated().sum() == 14
    assert not days[0]["instrument_id"].is_duplicated().any()


def test_symbol_properties_are_instruments_and_symbols() -> None:
    frames = read(recorded("reference/lean_reference/symbol-properties/symbol-properties-database.csv"))
    terms, mapped = frames[instruments.raw], frames[symbol_map.raw]
    assert (len(terms), terms["instrument_id"].n_unique(), terms["line_number"].to_list() == list(range(1, len(terms) + 1))) == (10_821, 10_821, True)
    curated = instruments.curate(terms.lazy()).collect()
    assert len(curated) == 10_811
    bitcoin, gold = (curated.row(by_predicate=pl.col("instrument_id") == i, named=True) for i in ("coinbase:BTCUSD", "comex:GC"))
    assert (bitcoin["asset_class"], bitcoin["currency"], bitcoin["tick_size"], bitcoin["decimals"]) == ("crypto", "USD", Decimal("0.01"), 2)
    assert (gold["asset_class"], gold["multiplier"], gold["tick_size"], gold["decimals"]) == ("future", 100, Decimal("0.1"), 1)
    assert not mapped.select(symbol_map.symbols.key).is_duplicated().any()
    assert meant("BTCUSD", date(2016, 10, 7), mapped, "coinbase") == "coinbase:BTCUSD"
    assert meant("BTCUSDT", date(2021, 1, 1), mapped, "binance/crypto_future") == "binance/crypto_future:BTCUSDT"


def test_other_ids_fold_into_the_instrument_of_the_map_file() -> None:
    ids = read(recorded("reference/lean_reference/symbol-properties/security-database.csv"))[instruments.raw]
    listed = read(recorded(f"{EQUITIES}/map_files/aapl.csv"))[instruments.raw]
    for order in ([ids, listed], [listed, ids]):
        last = instruments.curate(pl.concat(order).lazy()).collect().row(-1, named=True)
        assert (last["figi"], last["isin"], last["cik"]) == ("BBG000B9XRY4", "US0378331005", "0000320193")
        assert (last["listed"], last["currency"], last["asset_class"]) == (date(1998, 1, 2), "USD", "equity")


@pytest.mark.parametrize(("name", "text", "found"), [
    ("map_files/x.csv", "20000103,a\n20000103,b", "line 2: 20000103 does not come after 20000103"),
    ("map_files/x.csv", "20000103,a\n20001303,b", "line 2: '20001303' is no date"),
    ("map_files/x.csv", "20000103,a\n20010103", "line 2 has 1 columns, not 2"),
    ("map_files/x.csv", "20000103,<html>", "line 1: ticker cannot be '<html>'"),
    ("map_files/x.csv", "", "is empty"),
    ("factor_files/x.csv", "20000103,1,1,1\n20501231,0,1,0", "line 2: a factor of 0"),
    ("factor_files/x.csv", "20000103,inf,1,1\n20501231,1,1,0", "line 1: price_factor cannot be 'inf'"),
    ("factor_files/x.csv", "20000103,0.5,1,0\n20501231,1,1,0", "line 1: the price factor changes after it"),
    ("factor_files/x.csv", "20000103,1\n20501231,1", "line 1 has 2 columns, not 3"),
    ("factor_files/x.csv", "20400103,0.5,1,1\n20501231,1,1,0", "line 1: XNYS has no known session after 2040-01-03"),
    ("fundamental/coarse/20140324.csv", f"{COARSE}\n{COARSE}", "line 2: A RPTMYV3VC57P is there a second time"),
    ("fundamental/coarse/20140324.csv", COARSE.replace("55.26", "nan"), "line 1: close cannot be 'nan'"),
    ("fundamental/coarse/20140324.csv", COARSE.replace("A R", "AR"), "line 1: instrument_id cannot be 'ARPTMYV3VC57P'"),
    ("fundamental/coarse/today.csv", COARSE, "a coarse universe is called after its date"),
    ("symbol-properties-database.csv", f"{HEADER}\n\n# c\nx,A,swap,,USD,1,1,1", "line 4: type cannot be 'swap'"),
    ("symbol-properties-database.csv", f"{HEADER}\nx,A,crypto,,USD,1,1,1\n# c\nx,A,crypto,,USD,1,1,1", "line 4: x, A, crypto is there a second time"),
    ("symbol-properties-database.csv", f"{HEADER}\nx,A,crypto,,USD,many,1,1", "line 2: multiplier cannot be 'many'"),
    ("symbol-properties-database.csv", f"{HEADER}\nx,A,crypto,,USD,1,1", "line 2 has 11 columns, not 12"),
    ("security-database.csv", "# c\nA RPTMYV3VC57P,1,2,3,4,5", "line 2: figi cannot be '2'"),
    ("security-database.csv", "# c\nA 2T,,,,,", "line 2: A 2T is no US equity's id with a first date"),
])  # fmt: skip
def test_a_bad_file_is_refused_by_name(tmp_path: Path, name: str, text: str, found: str) -> None:
    path = written(tmp_path / "equity/usa" / name, text)
    with pytest.raises(QuantLakeError) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    assert found in str(error.value)


def test_map_files_of_other_markets_are_named(tmp_path: Path) -> None:
    assert reference.recognise(written(tmp_path / "equity/india/map_files/x.csv", "20000103,a")) == "LEAN map file of india"
    assert reference.recognise(written(tmp_path / "x.csv", "20000103,a")) is None


DATES = st.dates(date(1998, 1, 1), date(2020, 1, 1))
CELLS = st.sampled_from(["a", "b", "1", "0.5", "0", "", "nan", "x y", "20000103", "1e400", "<html>"])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["map_files", "factor_files"]), st.lists(DATES, max_size=6), st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=6), st.booleans())
def test_every_record_makes_its_rows_or_the_file_is_refused(kind: str, days: list[date], cells: list[list[str]], ordered: bool) -> None:
    days = sorted(set(days)) if ordered else days
    lines = [",".join([day.strftime("%Y%m%d"), *more]) for day, more in zip(days, cells, strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "equity/usa" / kind / "x.csv", "\n".join(lines))
        refused = ""
        try:
            frames = read(path)
        except QuantLakeError as error:
            frames, refused = {}, str(error)
    if refused:
        assert refused.startswith(str(path))
        return
    if kind == "map_files":
        told = set(frames[symbol_map.raw]["line_number"]) | set(frames[instruments.raw]["line_number"])
        assert told == set(range(1, len(lines) + 1))
    else:
        factors = [line.split(",")[1:3] for line in lines]
        changed = {n for n, (one, after) in enumerate(pairwise(factors), 1) if one != after}
        assert set(frames[corporate_actions.raw]["line_number"]) == changed
