"""The three tables that parsers make: their columns, and what all venues do alike to fill them.

Here: items of a message numbered and typed, sides by name, actions by size. Not here: venues' fields (their modules), reading JSON
(parsing.py).

An item that a message has but that cannot be read is no reason to lose it: its number is null, and the contract's checks see it.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from quantlake.exchanges.parsing import PRICE, TIME, decimal

Schema = Mapping[str, type[pl.DataType] | pl.DataType]

_COMMON: Schema = {
    "row": pl.UInt32, "item_index": pl.Int64, "symbol": pl.String, "event_time": TIME, "event_time_ns": pl.Int64,
}  # fmt: skip
TRADES: Schema = {
    **_COMMON, "trade_id": pl.String, "price": PRICE, "size": PRICE, "size_unit": pl.String, "side": pl.String, "is_snapshot": pl.Boolean,
    "sequence": pl.Int64, "first_trade_id": pl.Int64, "last_trade_id": pl.Int64,
}  # fmt: skip
QUOTES: Schema = {
    **_COMMON, "update_id": pl.String, "bid_price": PRICE, "bid_size": PRICE, "ask_price": PRICE, "ask_size": PRICE, "size_unit": pl.String,
    "sequence": pl.Int64,
}  # fmt: skip
BOOK_DELTAS: Schema = {
    **_COMMON, "action": pl.String, "side": pl.String, "price": PRICE, "size": PRICE, "level_id": pl.String, "first_update_id": pl.Int64,
    "last_update_id": pl.Int64, "checksum": pl.Int64, "price_text": pl.String, "size_text": pl.String, "depth": pl.Int64,
}  # fmt: skip

AGGRESSOR = {"buy": "buy", "b": "buy", "sell": "sell", "s": "sell"}
OPPOSITE = {"buy": "sell", "sell": "buy"}
BOOK_SIDE = {"buy": "bid", "sell": "ask"}


def sided(text: pl.Expr, words: Mapping[str, str], default: str | None = None) -> pl.Expr:
    """A side by the venue's word for it, in either case."""
    return text.str.to_lowercase().replace_strict(words, default=default, return_dtype=pl.String)


def exploded(messages: pl.DataFrame, column: str) -> pl.DataFrame:
    """A row an element of a list column; a null list and an empty one have none, a null element has one."""
    return messages.filter(pl.col(column).list.len() > 0).explode(column)


def elements(column: str, names: Sequence[str]) -> dict[str, pl.Expr]:
    """The elements of a list column, by place; null where the list is shorter."""
    return {name: pl.col(column).list.get(i, null_on_oob=True) for i, name in enumerate(names)}


def shape(*keys: str) -> str:
    """DuckDB's shape of a list of objects with these keys, all text."""
    return "[{" + ", ".join(f'"{key}": "VARCHAR"' for key in keys) + "}]"


def trades(found: pl.DataFrame) -> pl.DataFrame:
    """Trades with ``price`` and ``size`` as text, in order, as rows of the table; what names no symbol, price or size is none."""
    some = pl.col("symbol").is_not_null() & pl.any_horizontal(pl.col("price", "size").is_not_null())
    kept = found.filter(some).with_columns(decimal(pl.col("price")), decimal(pl.col("size")), pl.col("side").fill_null("unknown"))
    return _shaped(_numbered(kept), TRADES)


def quotes(found: pl.DataFrame) -> pl.DataFrame:
    """Quotes with prices and sizes as text, in order, as rows of the table; a side whose price is 0 is absent.

    What names no symbol, or neither a bid nor an ask, is none.
    """
    prices, sizes = ("bid_price", "ask_price"), ("bid_size", "ask_size")
    some = pl.col("symbol").is_not_null() & pl.any_horizontal(pl.col(prices).is_not_null())
    absent = [pl.lit(None, pl.String).alias(c) for c in sizes if c not in found.columns]
    kept = found.with_columns(absent).filter(some).with_columns(decimal(pl.col(c)) for c in (*prices, *sizes))
    nobody = [pl.when(pl.col(p) != 0).then(pl.col(c)).alias(c) for p, s in zip(prices, sizes, strict=True) for c in (p, s)]
    return _shaped(_numbered(kept.with_columns(nobody)), QUOTES)


def book_deltas(books: pl.DataFrame, levels: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Levels of books' messages as rows of the table; a message without any has one row without a level.

    ``books``: a row a message and symbol, with what its levels share (``row, symbol, event_time, is_snapshot``, ids). ``levels``:
    frames in the order in which a message's parts count: ``row, side, price, size`` (text) and, where a message has books of several
    symbols, ``symbol``. A level may be a deletion by its own word (``is_delete``); else size 0 is one.
    """
    ordered = pl.concat([part.with_columns(part=pl.lit(i)) for i, part in enumerate(levels)], how="diagonal").sort(
        "row", "part", maintain_order=True
    )
    on = ["row", "symbol"] if "symbol" in ordered.columns else ["row"]
    said = books.select(
        c for c in books.columns if c in BOOK_DELTAS or c == "is_snapshot"
    )  # not the lists of levels, a copy a level
    joined = said.filter(pl.col("symbol").is_not_null()).join(ordered, on=on, how="left", maintain_order="left_right")
    whole = _with(joined, {"is_delete": pl.Boolean}).with_columns(decimal(pl.col("price")), decimal(pl.col("size")))
    deletes = pl.col("is_delete").fill_null(False) | (pl.col("size") == 0).fill_null(False)
    action = pl.when("is_snapshot").then(pl.lit("snapshot")).when(deletes).then(pl.lit("delete")).otherwise(pl.lit("set"))
    done = whole.with_columns(action=action).with_columns(size=pl.when(pl.col("action") != "delete").then("size"))
    return _shaped(_numbered(done), BOOK_DELTAS)


def pairs(messages: pl.DataFrame, column: str, side: str) -> pl.DataFrame:
    """Levels of a list column of ``[price, size, ...]``."""
    return exploded(messages.select("row", column), column).select(
        "row", side=pl.lit(side), **elements(column, ("price", "size"))
    )


def changes(messages: pl.DataFrame, column: str) -> pl.DataFrame:
    """Levels of a list column of ``[buy or sell, price, size]``."""
    levels = exploded(messages.select("row", column), column).select("row", **elements(column, ("side", "price", "size")))
    return levels.with_columns(sided(pl.col("side"), BOOK_SIDE))


def none(messages: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """No rows of a table, of which the messages say nothing."""
    return _shaped(messages.clear().select("row"), schema)


def _numbered(found: pl.DataFrame) -> pl.DataFrame:
    return found.with_columns(item_index=pl.int_range(pl.len(), dtype=pl.Int64).over("row"))


def _with(found: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    return found.with_columns(pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in found.columns)


def _shaped(found: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    return _with(found, schema).select(pl.col(name).cast(kind) for name, kind in schema.items())
