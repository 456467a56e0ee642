"""Order books from changes: the top of the book after every message, and the book that a day ends with.

Here: which changes make one book, in which order, by which venue's rule; frames to arrays and back. Not here: the loop (book_kernel).

A book is of one symbol on one connection, so that two recorders of a venue do not disturb each other. A snapshot that was asked for
by REST belongs to the connection that was open then. Rules of continuity:

- Binance: changes up to the snapshot's last id are dropped, the next has first id <= last id + 1, then first id = previous last id
  + 1, else there is a gap until the next snapshot (https://developers.binance.com/docs/binance-spot-api-docs, "How to manage a local
  order book correctly");
- Bitstamp: changes older than the snapshot's microtimestamp are dropped;
- all others begin with a snapshot, and a gap cannot be detected. Kraken's checksum is over the top ten levels (its "How to maintain a
  valid order book", CRC32 of the texts without dot and leading zeros), and it keeps ``depth`` levels a side.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from quantlake.exchanges.book_kernel import Ints

RULES = {"binance": 1, "bitstamp": 2}
BOOK = ("source", "venue", "symbol", "connection_id")
OF_RECORDER = r"[/#](?:rest|[0-9]+)$"  # how connections of one recorder differ, in captures and live
NO_CONNECTION = ""  # of a snapshot before the first message of its symbol
STATES = ("synced", "gap", "crossed", "invalid")
DROPPED = 4  # what the loop calls a message that changes nothing, or that carries on from the day before
LEVEL = ("side", "price", "size", "level_id", "price_text", "size_text")


class Replayed(NamedTuple):
    """``tops``: a row a message and symbol that counts, with the message's columns, ``bid_price`` .. ``ask_levels``, ``state``,
    ``checksum_ok``, ``update_id``. ``closing``: a row a level of each book that ends in order (``BOOK``, ``LEVEL``, ``depth``,
    ``last_update_id``, ``known_at``); a book without levels has one row of nulls."""

    tops: pl.DataFrame
    closing: pl.DataFrame


def replay(deltas: pl.DataFrame, opening: pl.DataFrame) -> Replayed:
    """The changes of a day (columns of ``curated/market/book_deltas``), from the books that the day before ended with (``closing``)."""
    rows = _ordered(deltas, opening)
    messages = _messages(rows)
    books = messages.with_row_index("m").group_by("book", maintain_order=True).agg(pl.col("m").first(), pl.len(), pl.col("venue").first())
    rules = books["venue"].replace_strict(RULES, default=0, return_dtype=pl.Int64)
    out, standing, closed = _run(rows, messages, books, rules)
    return Replayed(_tops(rows, messages, out), _closing(rows, books, standing, closed))


def _ordered(deltas: pl.DataFrame, opening: pl.DataFrame) -> pl.DataFrame:
    """All changes, those of a book together and in order, with ``book`` and ``message`` (numbers) and ``hidden`` (of the day before)."""
    changes = _with_connection(deltas).with_columns(hidden=pl.lit(False))
    # in a connection by line; a snapshot from elsewhere where its time falls
    own = pl.col("connection_id") == pl.col("book_connection")
    place = pl.when(own).then(pl.col("receive_time")).cum_max().over("book_connection")
    changes = changes.sort("line_number", "item_index", maintain_order=True).with_columns(place=pl.coalesce(place, "receive_time"))
    symbol = ["source", "venue", "symbol"]
    first = changes.sort("receive_time").group_by(symbol).agg(pl.col("book_connection").first().alias("first"))
    unread = pl.col("connection_id") == NO_CONNECTION
    begun = opening.join(first, on=symbol, how="left", maintain_order="left").with_columns(
        hidden=pl.lit(True), copied=pl.lit(False), action=pl.lit("snapshot"), message_key=pl.lit(""), place=pl.lit(None, changes.schema["place"]),
        book_connection=pl.when(unread).then(pl.coalesce("first", "connection_id")).otherwise("connection_id"),
    ).filter(unread | pl.col("book_connection").is_in(changes["book_connection"].unique().implode())).drop("first")  # fmt: skip
    whole = pl.concat([begun, changes], how="diagonal_relaxed")
    by_book = ["source", "venue", "symbol", "book_connection"]
    whole = whole.sort(*by_book, "place", own.not_(), "line_number", "item_index", nulls_last=False, maintain_order=True)
    whole = whole.with_columns(
        connection_id=pl.col("book_connection"),
        book=pl.struct(by_book).rle_id(),
        message=pl.struct(*by_book, "message_key").rle_id(),
    )
    anew = (pl.col("action") == "snapshot") & (pl.col("message") != pl.col("message").shift(fill_value=0))
    since = ["book", anew.cum_sum(), "level_id"]  # BitMEX names a level by its id alone where it is changed or deleted
    price = pl.when(pl.col("level_id").is_not_null()).then(pl.col("price").forward_fill().over(since)).otherwise("price")
    return whole.with_columns(price=price)


def _with_connection(deltas: pl.DataFrame) -> pl.DataFrame:
    """``book_connection``: the connection whose book a change is of; of a REST snapshot that of its own recorder which was open, the latest
    begun; where no name says whose it is, every open one of its symbol, since ids are the venue's: all but one of these are ``copied``.
    """
    by = ["source", "venue", "symbol"]
    rest = pl.col("venue").is_in(list(RULES)) & (pl.col("action") == "snapshot")
    recorder = pl.col("connection_id").str.replace(OF_RECORDER, "")
    received = pl.col("receive_time")
    begun = deltas.filter(~rest).group_by(*by, "connection_id").agg(began=received.min(), ended=received.max())
    known = begun.select(*by, "began", "ended", recorder=recorder, book_connection="connection_id").sort("began")
    asked = deltas.filter(rest).with_columns(recorder=recorder).sort("receive_time")
    own, own_later, any_one, any_later = (
        asked.join_asof(known, left_on="receive_time", right_on="began", by=keys, strategy=strategy, check_sortedness=False)["book_connection"]
        for keys in ([*by, "recorder"], by) for strategy in ("backward", "forward")
    )  # fmt: skip
    whose = pl.select(pl.coalesce(own, own_later, any_one, any_later, pl.lit(NO_CONNECTION))).to_series()
    asked = asked.drop("recorder").with_columns(book_connection=whose)
    unnamed = asked.filter(own.is_null() & own_later.is_null())
    beside = unnamed.join(known.select(*by, "began", "ended", also="book_connection"), on=by, maintain_order="left").filter(
        received.is_between("began", "ended"), pl.col("also") != pl.col("book_connection")
    )
    copies = beside.with_columns(book_connection="also").select(asked.columns)
    whole = pl.concat([deltas.filter(~rest).with_columns(book_connection="connection_id"), asked])
    return pl.concat([whole.with_columns(copied=pl.lit(False)), copies.with_columns(copied=pl.lit(True))])


def _messages(rows: pl.DataFrame) -> pl.DataFrame:
    """A row a message of a book."""
    return rows.with_row_index("row").group_by("message", maintain_order=True).agg(
        pl.col("book").first(),
        pl.col("row").first(),
        pl.len(),
        pl.col("hidden").first(),
        pl.col("copied").first(),
        (pl.col("action") == "snapshot").any().alias("snapshot"),
        pl.col("first_update_id").first(),
        pl.col("last_update_id").last(),
        pl.col("checksum").drop_nulls().last(),
        pl.col("depth").max(),
        pl.col("source", "venue", "symbol", "connection_id", "message_key", "line_number", "event_time", "receive_time", "known_at", "partition_date").last(),
    )  # fmt: skip


def _run(rows: pl.DataFrame, messages: pl.DataFrame, books: pl.DataFrame, rules: pl.Series) -> "tuple[Ints, Ints, Ints]":
    from quantlake.exchanges import book_kernel

    side = rows["side"].replace_strict({"bid": 0, "ask": 1}, default=-1, return_dtype=pl.Int64)
    level = rows.select(pl.col("price").rank("dense").over("book", "side").cast(pl.Int64) - 1).to_series()
    levels = (rows.height and int(level.fill_null(0).to_numpy().max())) + 1
    side = pl.select(pl.when(level.is_not_null()).then(side).otherwise(-1)).to_series()
    checked = rows["checksum"].is_not_null().any()
    texts, offsets = _texts(rows) if checked else (np.zeros(0, np.uint8), np.zeros(rows.height + 1, np.int64))
    return book_kernel.replay(
        _ints(books["m"], books["m"] + books["len"], rules),
        _ints(
            messages["row"], messages["row"] + messages["len"], messages["snapshot"], messages["first_update_id"].fill_null(-1),
            messages["last_update_id"].fill_null(-1), messages["checksum"].fill_null(-1), messages["depth"].fill_null(0), messages["hidden"],
        ),
        side.to_numpy(), level.fill_null(0).to_numpy(), (rows["action"] == "delete").cast(pl.Int64).to_numpy(), texts, offsets,
        levels,
    )  # fmt: skip


def _ints(*columns: pl.Series) -> "Ints":
    return np.ascontiguousarray(np.column_stack([c.cast(pl.Int64).to_numpy() for c in columns]))


def _texts(rows: pl.DataFrame) -> "tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], Ints]":
    """What a checksum is over, of every row: price and size as sent, without dot and leading zeros."""
    digits = [pl.col(c).str.replace(".", "", literal=True).str.strip_chars_start("0").fill_null("") for c in ("price_text", "size_text")]
    joined = rows.select(pl.concat_str(digits)).to_series()
    lengths = joined.str.len_bytes().to_numpy().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.frombuffer("".join(joined.to_list()).encode() or b"\0", np.uint8), offsets


def _tops(rows: pl.DataFrame, messages: pl.DataFrame, out: "Ints") -> pl.DataFrame:
    prices = rows.select("price", "size")
    columns: dict[str, pl.Series] = {}
    for i, side in enumerate(("bid", "ask")):
        at = pl.Series(out[:, i]).replace(-1, None)
        columns |= {f"{side}_price": prices["price"].gather(at), f"{side}_size": prices["size"].gather(at)}
        columns[f"{side}_levels"] = pl.Series(out[:, 2 + i]).replace(-1, None)
    crossed = pl.col("bid_price") >= pl.col("ask_price")
    state, wrong = pl.col("state"), pl.col("checksum_ok").not_().fill_null(False)
    shown = [f"{side}_{part}" for side in ("bid", "ask") for part in ("price", "size", "levels")]
    return (
        messages.with_columns(**columns, state=pl.Series(out[:, 4]), update_id="last_update_id",
                              checksum_ok=pl.Series(out[:, 5]).replace_strict({1: True, 0: False}, default=None, return_dtype=pl.Boolean))
        .filter(state < DROPPED, ~pl.col("copied"))
        .with_columns(state=state.replace_strict(dict(enumerate(STATES)), return_dtype=pl.String))
        .with_columns(state=pl.when((state == "synced") & crossed).then(pl.lit("crossed")).otherwise(state))
        .with_columns(pl.when(~wrong).then(pl.col(c)).alias(c) for c in shown)
    )  # fmt: skip


def _closing(rows: pl.DataFrame, books: pl.DataFrame, standing: "Ints", closed: "Ints") -> pl.DataFrame:
    """The levels of each book in order, lowest bid first; what Kraken's depth and the rule of the venue need, too."""
    ends = books.select("book").with_columns(synced=pl.Series(closed[:, 0]) == 1, last_update_id=pl.Series(closed[:, 1]).replace(-1, None))
    last = rows.group_by("book", maintain_order=True).agg(
        *(pl.col(c).last() for c in BOOK), pl.col("depth").max(), pl.col("known_at").max(), last_update=pl.col("last_update_id").last()
    )
    whole = ends.filter("synced").join(last, on="book").with_columns(pl.coalesce("last_update_id", "last_update").alias("last_update_id"))
    levels = rows.filter(pl.Series(standing) == 1).select("book", *LEVEL)
    closing = whole.join(levels, on="book", how="left", maintain_order="left_right")
    return closing.sort("book", "side", "price", maintain_order=True).select(*BOOK, *LEVEL, "depth", "last_update_id", "known_at")
