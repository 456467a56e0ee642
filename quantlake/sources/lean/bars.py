"""LEAN bars: of trades, quotes and open interest, by the second, minute, hour and day.

Here: their columns, and which rows a record gives. Not here: ticks, clocks (rows.py).

Lines begin with ``ms`` since midnight, or in hour and daily files with ``yyyyMMdd HH:mm``, the bar's start; then

- trades: ``open,high,low,close,volume``: a row;
- quotes: ``open,high,low,close,last size`` of the bid, then of the ask: a row each (``item_index`` 0 and 1). A side whose prices are
  all empty or all 0 was absent: its row has no prices and no size;
- open interest: ``contracts``: a row whose prices are all that number, without volume.
"""

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.market import vendor_bars
from quantlake.sources.clocks import to_utc
from quantlake.sources.lean.rows import File, located, time_pattern, timed
from quantlake.sources.text import NOT_NEGATIVE, NUMBER, SHOWN, cells, exact

PRICES = ("open", "high", "low", "close")
OR_EMPTY = "^$|"
INTERVALS = {"second": "1s", "minute": "1m", "hour": "1h", "daily": "1d"}
SIDES = ("bid", "ask")


def rows(lines: pl.Series, file: File) -> tuple[Stream, pl.DataFrame]:
    """A row a line, of quotes two; raises ``QuantLakeError`` naming the line that has other columns, a wrong number or no time."""
    found = cells(lines, {"time": time_pattern(file)} | _patterns(file.kind.what), file.where)
    interval = INTERVALS[file.kind.step]
    times = timed(found["time"], file)
    end = to_utc(times["wall"].dt.offset_by(interval), file.zone) if interval == "1d" else times["event_time"].dt.offset_by(interval)
    same = times.select(
        "wall", "event_time", "event_time_ns",
        bar_start="event_time", known_at=end, line_number=pl.int_range(1, len(lines) + 1, dtype=pl.Int64), interval=pl.lit(interval),
        is_final=pl.lit(True), adjustment=pl.lit("raw"),
    )  # fmt: skip
    items = [pl.concat([same, item], how="horizontal") for item in _items(found, file)]
    whole = pl.concat(items).sort("line_number", "item_index") if len(items) > 1 else items[0]
    return vendor_bars.raw, located(whole.drop("wall"), whole["wall"], file)


def _patterns(what: str) -> dict[str, str]:
    if what == "openinterest":
        return {"value": NOT_NEGATIVE}
    if what == "trade":
        return {**dict.fromkeys(PRICES, NUMBER), "volume": NOT_NEGATIVE}
    columns = [(f"{side}_{name}", name) for side in SIDES for name in (*PRICES, "size")]
    return {column: OR_EMPTY + (NOT_NEGATIVE if name == "size" else NUMBER) for column, name in columns}


def _items(found: pl.DataFrame, file: File) -> list[pl.DataFrame]:
    """The rows of each record, by their number in it."""
    if file.kind.what == "quote":
        return [_side(found, side, number, file) for number, side in enumerate(SIDES)]
    if file.kind.what == "openinterest":
        value = exact(found["value"], file.where)
        columns = {**dict.fromkeys(PRICES, value), "volume": value.clear(len(found))}
    else:
        shift = {**dict.fromkeys(PRICES, file.price_shift), "volume": 0}
        columns = {name: exact(found[name], file.where, places) for name, places in shift.items()}
    price_type = "trade" if file.kind.what == "trade" else "open_interest"
    return [pl.DataFrame(columns).with_columns(price_type=pl.lit(price_type), item_index=pl.lit(0, pl.Int64))]


def _side(found: pl.DataFrame, side: str, number: int, file: File) -> pl.DataFrame:
    prices = [exact(_number(found[f"{side}_{name}"]), file.where, file.price_shift) for name in PRICES]
    columns = pl.DataFrame(dict(zip(PRICES, prices, strict=True)) | {"volume": exact(_number(found[f"{side}_size"]), file.where)})
    empty = columns.select(pl.sum_horizontal(pl.col(c).is_null() for c in PRICES)).to_series()
    cut = (empty > 0) & (empty < len(PRICES)) | (empty == 0) & columns["volume"].is_null()
    for row in cut.arg_true().head(1):
        printed = ",".join(found.row(row))[:SHOWN]
        raise QuantLakeError(f"{file.where} line {row + 1}: the {side} has some of its prices and size and not others: {printed!r}")
    absent = pl.all_horizontal(pl.col(c).is_null() | (pl.col(c) == 0) for c in PRICES)
    shown = columns.select(pl.when(~absent).then(pl.col(c)).alias(c) for c in (*PRICES, "volume"))
    return shown.with_columns(price_type=pl.lit(side), item_index=pl.lit(number, pl.Int64))


def _number(text: pl.Series) -> pl.Series:
    return text.replace("", None)
