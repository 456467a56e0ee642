"""LEAN ticks: trades, quotes and open interest.

Here: their columns. Not here: bars, clocks (rows.py).

- Trades of equities and futures: ``ms,price,size,exchange,conditions,suspicious``; of crypto ``ms,price,size[,suspicious]``.
- Quotes of equities: ``ms,bid,bid size,ask,ask size,exchange,condition,suspicious``, of futures with or without the condition, of crypto
  ``ms,bid,bid size,ask,ask size[,suspicious]``, of forex ``ms,bid,ask``. A price of 0 says that the row is not of this side.
- Open interest: ``ms,contracts``.

Conditions are a bit mask in hexadecimal. Byte-identical lines are real fills. A size of 0 is legal. Times may have a fraction of a
millisecond; ``event_time`` is cut to microseconds then, and ``event_time_ns`` is whole.
"""

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.market import open_interest, quotes, trades
from quantlake.sources.lean.rows import MILLISECONDS, SIZE_UNITS, File, located, numbered, or_null, timed
from quantlake.sources.text import NOT_NEGATIVE, NUMBER, SHOWN, cells, exact

MASK, FLAG = r"^[0-9A-Fa-f]*$", r"^[01]$"
PATTERNS = {
    "ms": MILLISECONDS, **dict.fromkeys(("price", "bid", "ask"), NUMBER), **dict.fromkeys(("size", "bid_size", "ask_size", "value"), NOT_NEGATIVE),
    "exchange": "", "conditions": MASK, "suspicious": FLAG,
}  # fmt: skip
TRADE = ("ms", "price", "size", "exchange", "conditions", "suspicious")
QUOTE = ("ms", "bid", "bid_size", "ask", "ask_size")
COLUMNS: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("equity", "trade"): (TRADE,),
    ("future", "trade"): (TRADE,),
    ("crypto", "trade"): (TRADE[:3], (*TRADE[:3], "suspicious")),
    ("equity", "quote"): ((*QUOTE, "exchange", "conditions", "suspicious"),),
    ("future", "quote"): ((*QUOTE, "exchange", "suspicious"), (*QUOTE, "exchange", "conditions", "suspicious")),
    ("crypto", "quote"): (QUOTE, (*QUOTE, "suspicious")),
    ("forex", "quote"): (("ms", "bid", "ask"),),
    ("future", "openinterest"): (("ms", "value"),),
}
"""What lines may have, by asset class and what they are of."""


def rows(lines: pl.Series, file: File) -> tuple[Stream, pl.DataFrame]:
    """A row a line; raises ``QuantLakeError`` naming the line that has other columns, a number that is none, or no time."""
    found = cells(lines, {name: PATTERNS[name] for name in _columns(lines, file)}, file.where)
    times = timed(found["ms"], file)
    same = times.select("event_time", "event_time_ns", known_at="event_time", **numbered(len(lines)))
    if file.kind.what == "openinterest":
        return open_interest.raw, located(same.with_columns(value=exact(found["value"], file.where)), times["wall"], file)
    same = same.with_columns(
        size_unit=pl.lit(SIZE_UNITS[file.kind.asset_class]),
        exchange=_text(found, "exchange"),
        suspicious=_text(found, "suspicious") == "1",
    )
    own = _trades(found, file) if file.kind.what == "trade" else _quotes(found, file)
    stream = trades.raw if file.kind.what == "trade" else quotes.raw
    return stream, located(pl.concat([same, own], how="horizontal"), times["wall"], file)


def _columns(lines: pl.Series, file: File) -> tuple[str, ...]:
    """Those of the first line, which all must have."""
    known = COLUMNS.get((file.kind.asset_class, file.kind.what))
    if known is None:
        raise QuantLakeError(f"{file.where}: there are no {file.kind.name}; is its folder right?")
    count = lines[0].count(",") + 1 if len(lines) else len(known[0])
    found = next((columns for columns in known if len(columns) == count), None)
    if found is None:
        expected = " or ".join(",".join(columns) for columns in known)
        raise QuantLakeError(f"{file.where} line 1 has {count} columns; {file.kind.name} have {expected}: {lines[0][:SHOWN]!r}")
    return found


def _trades(found: pl.DataFrame, file: File) -> pl.DataFrame:
    return pl.DataFrame({
        "price": exact(found["price"], file.where, file.price_shift),
        "size": exact(found["size"], file.where),
        "conditions": _text(found, "conditions"),
    }).with_columns(side=pl.lit("unknown"))


def _quotes(found: pl.DataFrame, file: File) -> pl.DataFrame:
    """Both sides, each null where its price is 0."""
    columns: dict[str, pl.Series] = {"quote_condition": _text(found, "conditions")}
    for side in ("bid", "ask"):
        price = exact(found[side], file.where, file.price_shift)
        there = price != 0
        columns[f"{side}_price"] = price.set(~there, None)
        if f"{side}_size" in found.columns:
            columns[f"{side}_size"] = exact(found[f"{side}_size"], file.where).set(~there, None)
    return pl.DataFrame(columns)


def _text(found: pl.DataFrame, name: str) -> pl.Series:
    """Null where the cell is empty, or there is no such column."""
    if name in found.columns:
        return or_null(found[name])
    return pl.Series(name, [None], pl.String).new_from_index(0, len(found))
