"""CSV files of bars with dividends and splits, as yfinance, zipline's csvdir and Quandl's WIKI table have them.

Here: their headers, names, intervals and clocks. Not here: repairing a vendor's errors; prices come as they are printed.

A header in any case: ``date`` or ``datetime``, ``open``, ``high``, ``low``, ``close``; maybe ``volume``, ``adj close`` (``adj_close``),
``dividends`` (``dividend``, ``ex-dividend``), ``stock splits`` (``split``, ``split_ratio``), ``capital gains``, ``ticker`` (``symbol``).
Further columns (``Repaired?``, ``adj_open`` and its like) are not read. Cells may be empty but for the time. Rows may come newest first.

- The layout names the source: Quandl's has ``ex-dividend`` and ``split_ratio`` (`quandl`), zipline's csvdir ``dividend`` and ``split``
  (`zipline`); another is `csv`, and yfinance's is told by its name.
- yfinance's files are called ``<symbol, - for .>-<interval>[-<label>].csv`` (``1398-HK-1d-bad-div.csv``: `1398.HK`, `1d`, source
  `yfinance/bad-div`). Others are the symbol's (``AAPL.csv``) unless a column says it; their interval is the median distance of their
  times.
- ``adjustment``: yfinance's prices are adjusted for splits, and so are those of a file with a split column (zipline's csvdir); raw are
  those of a file without, and of one that has adjusted prices beside them (``adj_open``, ``adj_volume``: Quandl).
- Times with an offset are the exchange's; those without are taken for UTC, since no exchange is named (``venue`` is `unknown`). The
  partition is the printed date.
- Numbers are read from their text. yfinance prints 64-bit floats, so of a number of 15 to 17 significant digits what is beyond the
  18th decimal place is rounded; any other such number is refused. An adjusted close that is no number, infinite or too large
  (1e20) is null; elsewhere these are refused.
- ``source_name`` is ``<csv, quandl, zipline or yfinance>/unknown/<interval>/<file name>`` in lower case, ``line_number`` counts records, not the header.

Formats: https://ranaroussi.github.io/yfinance, https://zipline.ml4t.io/bundles.html#ingesting-data-from-csv-files.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import vendor_bars
from quantlake.datasets.reference import corporate_actions
from quantlake.sources import text
from quantlake.sources.importers import Importer, Recognised, Rows, content, counted, decoded, sha256, typed
from quantlake.sources.provenance import stamped, unique

SUFFIX = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)
YFINANCE = re.compile(r"(?P<symbol>.+?)-(?P<interval>[0-9]+m|[0-9]+h|[0-9]+d|[0-9]+wk|[0-9]+mo)(?:-(?P<label>.+))?", re.IGNORECASE)
PRICES = ("open", "high", "low", "close")
NAMES = {
    **dict.fromkeys(("date", "datetime"), "time"), **{name: name for name in (*PRICES, "volume")},
    **dict.fromkeys(("adj close", "adj_close"), "adj_close"), **dict.fromkeys(("dividends", "dividend", "ex-dividend"), "dividend"),
    **dict.fromkeys(("stock splits", "split", "split_ratio"), "split_ratio"),
    "capital gains": "capital_gain", **dict.fromkeys(("ticker", "symbol"), "symbol"),
}  # fmt: skip
NEEDED = ("time", *PRICES)
NUMBERS = (*PRICES, "volume", "adj_close", "dividend", "split_ratio", "capital_gain")
LAYOUTS = {frozenset({"ex-dividend", "split_ratio"}): "quandl", frozenset({"dividend", "split"}): "zipline"}
ADJUSTED_BESIDE = ("adj_open", "adj_volume")
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
OR_EMPTY = "^$|"
NO_NUMBER = r"(?i)^[+-]?(nan|inf|infinity)$"
TOO_LARGE = 20  # integer digits
UNITS = ((604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
DAY_SECONDS, WEEK_SECONDS = 86_400, 604_800
MONTH_SECONDS = (28 * 86_400, 31 * 86_400)
HEAD_BYTES = 4_096


@dataclass(frozen=True)
class Header:
    """The fields of each record in order, as ``NAMES`` calls them; others by number and not read."""

    columns: tuple[str, ...]
    adjusted_beside: bool
    publisher: str

    @property
    def adjustment(self) -> str:
        """Of a file that is not yfinance's."""
        return "split" if "split_ratio" in self.columns and not self.adjusted_beside else "raw"


def recognise(path: Path) -> Recognised:
    """By content: a ``.csv`` or ``.csv.gz`` whose header names a time and the four prices."""
    if not SUFFIX.search(path.name):
        return None
    line = content(path, HEAD_BYTES).split(b"\n")[0].decode("utf-8-sig", errors="replace")
    header = _header(line.rstrip("\r"))
    return Importer("CSV bars", read) if all(header.columns.count(name) == 1 for name in NEEDED) else None


def read(path: Path) -> Rows:
    """The bars of one file, one table typed as ``vendor_bars.raw``, in file order; ``known_at`` is the bar's end.

    Then the dividends and splits of daily bars, typed as ``corporate_actions.raw``; their instrument is `<source>:<symbol>`.

    Raises ``QuantLakeError`` naming file and line: another number of columns, a number or time that is none, columns named twice.
    """
    raw = content(path)
    lines = text.lines(decoded(raw, str(path)))
    header = _header(lines[0] if len(lines) else "")
    if wrong := [n for n in NAMES.values() if header.columns.count(n) > 1] + [n for n in NEEDED if n not in header.columns]:
        must = f"must name each of {', '.join(NEEDED)} once, and no other twice"
        raise QuantLakeError(f"{path} line 1: its header {must}; look at {wrong[0]}: {lines[:1].to_list()}")
    found = text.cells(lines[1:], {name: _pattern(name) for name in header.columns}, str(path), first_line=2)
    rows = _named(_read(found, path), path, header.publisher)
    unique(rows.select("symbol", "bar_start"), str(path), first_line=2)
    stored = counted(rows.with_columns(
        event_time=pl.col("bar_start"),
        partition_date=pl.col("wall").dt.date(),
        venue=pl.lit("unknown"),
        price_type=pl.lit("trade"),
        is_final=pl.lit(True),
        adjustment=pl.when(pl.col("source") == header.publisher).then(pl.lit(header.adjustment)).otherwise(pl.lit("split")),
        event_time_source=pl.lit("file"),
        source_version=pl.lit(sha256(raw)),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        item_index=pl.lit(0, pl.Int64),
    ))  # fmt: skip
    yield vendor_bars.raw, typed(vendor_bars.raw, stored)
    actions = _actions(stored)
    if actions.height:
        yield corporate_actions.raw, stamped(corporate_actions.raw, actions, stored["source_name"][0], stored["source_version"][0], "day")


def _actions(bars: pl.DataFrame) -> pl.DataFrame:
    """The dividends and splits of daily bars, known on their ex-date."""
    no_number = pl.lit(None, pl.Decimal(38, 18))
    dividend, split = (pl.col(c) if c in bars.columns else no_number for c in ("dividend", "split_ratio"))
    days = bars.filter(pl.col("interval") == "1d").select(
        "source", "symbol", "line_number", instrument_id=pl.concat_str("source", pl.lit(":"), "symbol"), ex_date=pl.col("wall").dt.date(),
        known_at="bar_start", amount=dividend, ratio=split, status=pl.lit("active"),
    )  # fmt: skip
    paid = days.filter(pl.col("amount") != 0).with_columns(type=pl.lit("dividend"), ratio=no_number, item_index=pl.lit(0, pl.Int64))
    changed = days.filter((pl.col("ratio") > 0) & (pl.col("ratio") != 1))
    return pl.concat([paid, changed.with_columns(type=pl.lit("split"), amount=no_number, item_index=pl.lit(1, pl.Int64))])


def _read(found: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Numbers, times, and the symbol where a column says it."""
    numbers = {name: _numbers(found[name], path) for name in NUMBERS if name in found.columns}
    symbol = [found["symbol"]] if "symbol" in found.columns else []
    return pl.DataFrame(numbers).with_columns(*_times(found["time"], path), *symbol)


def _named(rows: pl.DataFrame, path: Path, layout: str) -> pl.DataFrame:
    """With what the file's name and layout say: ``source``, ``symbol``, ``interval``, ``source_name``; and ``known_at``, the bar's end."""
    stem = SUFFIX.sub("", path.name)
    yfinance = YFINANCE.fullmatch(stem)
    if "symbol" not in rows.columns:
        rows = rows.with_columns(symbol=pl.lit(yfinance["symbol"].replace("-", ".") if yfinance else stem))
    interval = _yfinance_interval(yfinance["interval"]) if yfinance else _interval(rows, path)
    publisher = "yfinance" if yfinance else layout
    return rows.with_columns(
        source=pl.lit(f"yfinance/{yfinance['label']}" if yfinance and yfinance["label"] else publisher),
        interval=pl.lit(interval),
        known_at=(pl.col("wall").dt.offset_by(interval) - pl.col("offset")).dt.replace_time_zone("UTC"),
        source_name=pl.lit(f"{publisher}/unknown/{interval}/{stem}.csv".lower()),
    )


def _header(line: str) -> Header:
    names = [name.strip().lower() for name in line.split(",")]
    columns = tuple(NAMES.get(name, f"column {i}") for i, name in enumerate(names, 1))
    publisher = next((publisher for layout, publisher in LAYOUTS.items() if layout <= set(names)), "csv")
    return Header(columns, any(name in ADJUSTED_BESIDE for name in names), publisher)


def _pattern(name: str) -> str:
    if name == "time":
        return TIME
    if name == "adj_close":
        return f"{OR_EMPTY}{NO_NUMBER}|{text.NUMBER}"
    return OR_EMPTY + text.NUMBER if name in NUMBERS else "." if name == "symbol" else ""


def _numbers(cells: pl.Series, path: Path) -> pl.Series:
    """Null where a cell is empty; of adjusted closes also where it is no number or too large."""
    there = cells.str.contains(text.NUMBER)
    if cells.name == "adj_close":
        parts = cells.str.extract_groups(r"^-?0*([0-9]*)(?:\.[0-9]*)?(?:[eE]([+-]?[0-9]+))?$").struct.unnest()
        digits = parts["1"].str.len_bytes().cast(pl.Int64) + parts["2"].cast(pl.Int64).fill_null(0)
        there &= (digits <= TOO_LARGE).fill_null(False)
    numbers = pl.select(pl.when(there).then(cells)).to_series()
    return text.exact(numbers, str(path), first_line=2, floats=True).alias(cells.name)


def _times(printed: pl.Series, path: Path) -> list[pl.Series]:
    """``wall``, as printed and naive; ``offset`` from UTC (none: 0); ``bar_start``, UTC."""
    parts = printed.str.extract_groups(r"^(?<day>.{10})[ T]?(?<minute>[0-9:]{5})?(?<second>:[0-9]{2})?(?<offset>Z|[+-].*)?$").struct.unnest()
    clock = parts["day"] + "T" + parts["minute"].fill_null("00:00") + parts["second"].fill_null(":00")
    wall = clock.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False).alias("wall")
    for row in wall.is_null().arg_true().head(1):
        raise QuantLakeError(f"{path} line {row + 2}: {printed[row]!r} is no time")
    offset = parts["offset"].str.extract_groups(r"^(?<sign>[+-])(?<hours>..):?(?<minutes>..)$").struct.unnest()
    minutes = (offset["hours"].cast(pl.Int64) * 60 + offset["minutes"].cast(pl.Int64)).fill_null(0)
    signed = pl.duration(minutes=pl.when(pl.lit(offset["sign"]) == "-").then(-pl.lit(minutes)).otherwise(pl.lit(minutes)))
    found = pl.select(wall=wall, offset=signed).with_columns(bar_start=(pl.col("wall") - pl.col("offset")).dt.replace_time_zone("UTC"))
    return found.get_columns()


def _yfinance_interval(printed: str) -> str:
    return {"60m": "1h"}.get(printed.lower(), printed.lower().replace("wk", "w"))


def _interval(rows: pl.DataFrame, path: Path) -> str:
    """The median distance of a symbol's neighbouring times; a lone record that begins at midnight is a day's."""
    ordered = rows.select("symbol", "bar_start").unique().sort("symbol", "bar_start")
    distance = ordered.select(pl.col("bar_start").diff().over("symbol").drop_nulls().dt.total_seconds()).to_series()
    median = distance.sort()[len(distance) // 2] if len(distance) else 86_400
    if not len(distance) and (rows["wall"].dt.truncate("1d") != rows["wall"]).any():
        raise QuantLakeError(f"{path}: the interval of its bars cannot be told from one time of each symbol")
    if median < WEEK_SECONDS - DAY_SECONDS and (rows["wall"].dt.truncate("1d") == rows["wall"]).all():
        return "1d"  # of a few days, a weekend or holidays may be the only distance
    if MONTH_SECONDS[0] <= median <= MONTH_SECONDS[1]:
        return "1mo"
    return next(f"{median // seconds}{unit}" for seconds, unit in UNITS if median % seconds == 0)
