"""CSV bars: recorded files of three vendors read exactly, what is no number, rows newest first, every kind of bad file."""

import gzip
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import vendor_bars
from quantlake.sources import csv_bars
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame, require_counted

WIDE, PLACE = Context(prec=100), Decimal(1).scaleb(-18)
HEADER = "Date,Open,High,Low,Close,Volume"
NAMES = {"open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume", "adj close": "adj_close",
         "dividends": "dividend", "stock splits": "split_ratio", "capital gains": "capital_gain"}  # fmt: skip


def bars(path: Path) -> pl.DataFrame:
    found = csv_bars.recognise(path)
    assert isinstance(found, Importer)
    return frame(vendor_bars.raw, found.read(path))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def expected(cell: str) -> Decimal | None:
    """To the 18th place; null where it is empty, no number, or an adjusted close that is too large."""
    try:
        value = Decimal(cell)
    except InvalidOperation:
        return None
    return value.quantize(PLACE, ROUND_HALF_EVEN, WIDE) if value.is_finite() and abs(value) < Decimal(10) ** 20 else None


def test_every_recorded_bar_of_yfinance_is_read() -> None:
    rounded, infinite, total = 0, 0, 0
    for path in sorted(recorded("market/yfinance_price_repair").glob("*.csv")):
        rows = bars(path)
        require_counted(rows)
        header, *records = [line.split(",") for line in path.read_text().splitlines()]
        total += len(records)
        assert rows["line_number"].to_list() == list(range(1, len(records) + 1))
        for at, name in enumerate(header):
            if column := NAMES.get(name.lower()):
                assert rows[column].to_list() == [expected(r[at]) for r in records], f"{path.name} {name}"
                rounded += sum(e is not None and e != Decimal(r[at]) for r in records if (e := expected(r[at])) is not None)
                infinite += sum(r[at] in ("-inf", "inf") for r in records)
        moments = [datetime.fromisoformat(r[0]) for r in records]
        assert rows["bar_start"].to_list() == moments
        assert rows["partition_date"].to_list() == [moment.date() for moment in moments]
    assert (total, rounded) == (28_699, 6)
    assert infinite > 300


@pytest.mark.parametrize(("name", "symbol", "interval", "source", "first", "ends"), [
    ("1398-HK-1d-bad-div-fixed", "1398.HK", "1d", "yfinance/bad-div-fixed", datetime(2022, 1, 2, 16), datetime(2022, 1, 3, 16)),
    ("AV-L-1wk-bad-stock-split", "AV.L", "1w", "yfinance/bad-stock-split", datetime(2021, 12, 13), datetime(2021, 12, 20)),
    ("EA-15m-no-bad-divs", "EA", "15m", "yfinance/no-bad-divs", datetime(2026, 5, 26, 8), datetime(2026, 5, 26, 8, 15)),
    ("SSNLF-1d-bad-div", "SSNLF", "1d", "yfinance/bad-div", datetime(2001, 8, 6, 4), datetime(2001, 8, 7, 4)),
])
def test_names_of_yfinance(name: str, symbol: str, interval: str, source: str, first: datetime, ends: datetime) -> None:
    row = bars(recorded(f"market/yfinance_price_repair/{name}.csv")).row(0, named=True)
    assert (row["symbol"], row["interval"], row["source"], row["adjustment"]) == (symbol, interval, source, "split")
    assert (row["bar_start"], row["known_at"]) == (first.replace(tzinfo=UTC), ends.replace(tzinfo=UTC))
    assert (row["venue"], row["price_type"], row["source_name"]) == ("unknown", "trade", f"yfinance/unknown/{interval}/{name.lower()}.csv")


def test_zipline_is_adjusted_for_splits_and_quandl_is_raw(tmp_path: Path) -> None:
    zipline = recorded("reference/zipline_csvdir_daily/csvdir/daily/AAPL.csv.gz")
    rows = bars(zipline)
    first = rows.row(0, named=True)
    assert (len(rows), first["symbol"], first["source"], first["interval"], first["adjustment"]) == (754, "AAPL", "zipline", "1d", "split")
    assert (first["open"], first["bar_start"], first["split_ratio"]) == (Decimal("58.485714"), datetime(2012, 1, 3, tzinfo=UTC), Decimal(1))
    assert bars(written(tmp_path / "AAPL.csv", gzip.decompress(zipline.read_bytes()).decode())).equals(rows)
    quandl = bars(recorded("reference/quandl_wiki_adjustments/prices_actions_adjusted.csv"))
    require_counted(quandl)
    assert dict(quandl["symbol"].value_counts().iter_rows()) == {"AAPL": 252, "BRK_A": 252}
    assert quandl.select("source", "adjustment", "interval").unique().rows() == [("quandl", "raw", "1d")]
    assert quandl["source_name"].unique().to_list() == ["quandl/unknown/1d/prices_actions_adjusted.csv"]
    split = quandl.filter((pl.col("symbol") == "AAPL") & (pl.col("split_ratio") != 1))
    assert split.select("partition_date", "split_ratio").rows() == [(date(2014, 6, 9), Decimal(7))]


def test_columns_are_found_in_any_order_and_case(tmp_path: Path) -> None:
    text = "CLOSE,date,LOW,Note,High,open\n4,2024-01-03,1,x,5,2\n,2024-01-02,,y,,\n"
    rows = bars(written(tmp_path / "BRK.B.csv", text))
    assert rows.select("symbol", "open", "high", "low", "close", "volume", "adjustment").rows() == [
        ("BRK.B", 2, 5, 1, 4, None, "raw"), ("BRK.B", None, None, None, None, None, "raw")
    ]
    assert rows["partition_date"].to_list() == [date(2024, 1, 3), date(2024, 1, 2)]


@pytest.mark.parametrize(("header", "source"), [
    ("", "csv"), ("Adj Close", "csv"), ("split", "csv"), ("Dividends,Stock Splits", "csv"), ("dividend,split", "zipline"),
    ("Dividend,Split,Adj_Close", "zipline"), ("ex-dividend,split_ratio", "quandl"),
])
def test_a_layout_names_the_source(tmp_path: Path, header: str, source: str) -> None:
    more = [f",{name}" for name in header.split(",") if name]
    rows = bars(written(tmp_path / "X.csv", HEADER + "".join(more) + "\n2024-01-02,1,1,1,1,1" + ",0" * len(more)))
    assert rows.select("source", "source_name").rows() == [(source, f"{source}/unknown/1d/x.csv")]


@pytest.mark.parametrize(("times", "interval"), [
    (("2024-01-02", "2024-01-03", "2024-01-04", "2024-01-08"), "1d"), (("2024-01-01", "2024-01-08", "2024-01-15"), "1w"),
    (("2024-01-01", "2024-02-01", "2024-03-01"), "1mo"), (("2024-01-02 10:00:00", "2024-01-02 10:15:00", "2024-01-02 10:30"), "15m"),
    (("2024-01-02T10:00:00Z", "2024-01-02T11:00:00Z"), "1h"), (("2024-01-02",), "1d"),
])
def test_an_interval_is_the_median_distance(tmp_path: Path, times: tuple[str, ...], interval: str) -> None:
    path = written(tmp_path / "X.csv", "\n".join([HEADER, *(f"{time},1,1,1,1,1" for time in reversed(times))]))
    assert bars(path)["interval"].unique().to_list() == [interval]


@pytest.mark.parametrize(("line", "found"), [
    ("2024-01-03,1,1,1,1", "line 3 has 5 columns, not 6"),
    ("2024-01-03,1,-inf,1,1,1", "line 3: high cannot be '-inf'"),
    ("2024-01-03,1,1,1,nan,1", "line 3: close cannot be 'nan'"),
    ("2024-01-03,1,1,1,1,many", "line 3: volume cannot be 'many'"),
    ("2024-13-03,1,1,1,1,1", "line 3: '2024-13-03' is no time"),
    ("03/01/2024,1,1,1,1,1", "line 3: time cannot be '03/01/2024'"),
    (",1,1,1,1,1", "line 3: time cannot be ''"),
    ("2024-01-03,0.0000000000000000001,1,1,1,1", r"line 3: decimal\(38,18\) cannot hold 0.0000000000000000001 exactly"),
    ("2024-01-03,1e25,1,1,1,1", "line 3: 1e25 is too large"),
    ("", "line 3 has 1 columns"),
])
def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path, line: str, found: str) -> None:
    path = written(tmp_path / "X.csv", f"{HEADER}\n2024-01-02,1,1,1,1,1\n{line}\n")
    with pytest.raises(QuantLakeError, match=rf"X\.csv {found}"):
        bars(path)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(HEADER.encode() + b"\n2024-01-02,1,1,1,1,1\n2024-01-03,\xff,1,1,1,1")
    with pytest.raises(QuantLakeError, match=r"a\.csv line 3 is not UTF-8"):
        bars(tmp_path / "a.csv")
    with pytest.raises(QuantLakeError, match=r"b\.csv line 1: its header .* volume: .*Volume,Volume"):
        bars(written(tmp_path / "b.csv", HEADER + ",Volume,Volume\n"))
    with pytest.raises(QuantLakeError, match=r"c\.csv: the interval of its bars cannot be told"):
        bars(written(tmp_path / "c.csv", HEADER + "\n2024-01-02 10:00:00,1,1,1,1,1"))
    whole = gzip.compress((HEADER + "\n2024-01-02,1,1,1,1,1" * 3_000).encode(), mtime=0)
    (tmp_path / "d.csv.gz").write_bytes(whole[:-12])
    with pytest.raises(QuantLakeError, match=r"d\.csv\.gz is not a whole gzip file"):
        bars(tmp_path / "d.csv.gz")
    for text in ("open,close,break_start\n", "Date,Open,Close\n", ""):
        assert csv_bars.recognise(written(tmp_path / "e.csv", text)) is None


cell = st.sampled_from(["1", "", "2.5", "1e-3", "-4", "nan", "x", "1e30", "0.1234567890123456789"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(cell, min_size=4, max_size=6), max_size=12), st.booleans())
def test_rows_are_the_records_or_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory, told: list[list[str]], newline: bool) -> None:
    lines = [",".join([f"2024-01-{day:02}", *cells]) for day, cells in enumerate(told, 1)]
    path = written(tmp_path_factory.mktemp("csv") / "X.csv", "\n".join([HEADER, *lines]) + "\n" * newline)
    good = all(len(cells) == 5 and not {"nan", "x", "1e30", "0.1234567890123456789"} & set(cells) for cells in told)
    try:
        numbers, refused = bars(path)["line_number"].to_list(), ""
    except QuantLakeError as error:
        numbers, refused = [], str(error)
    assert good == (not refused)
    assert f"{path} line " in refused if refused else numbers == list(range(1, len(told) + 1))
