"""What parsers make of recorded captures, against counts that were published and what another library made of the same bytes."""

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl
import pytest

from quantlake import exchanges
from quantlake_tests.exchanges import brute_book, captured

INBOUND = {"BINANCE": 265, "COINBASE": 9_946, "KRAKEN": 4_430, "BYBIT": 4_440, "BITSTAMP": 747, "GEMINI": 678, "BITMEX": 2_120}


@cache
def rows_of(venue: str, parse: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
    return parse(captured.messages(venue).lazy()).collect()


def by_symbol(rows: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    return {str(symbol): own.to_dicts() for (symbol,), own in rows.partition_by("symbol", as_dict=True, maintain_order=True).items()}


def micros(seconds: float | str) -> int:
    return round(Decimal(str(seconds)) * 1_000_000)


def event_micros(row: dict[str, Any]) -> int:
    return round(row["event_time"].timestamp() * 1_000_000)


@pytest.mark.parametrize("venue", captured.VENUES)
def test_every_inbound_message_is_there(venue: str) -> None:
    inbound = captured.messages(venue).filter(pl.col("transport") == "websocket")
    assert inbound.height == INBOUND[venue] == captured.counts(venue)["messages"]
    assert captured.messages(venue)["message_key"].n_unique() == captured.messages(venue).height
    unnamed = inbound.filter(pl.col("channel").is_null())
    assert unnamed.height == {"BITMEX": 1, "BYBIT": 20}.get(venue, 0)  # a welcome, answers to subscriptions


@pytest.mark.parametrize("venue", captured.VENUES)
def test_trades_are_as_many_as_published(venue: str) -> None:
    found = rows_of(venue, exchanges.trades)
    embedded = found.filter("is_snapshot").height
    assert embedded == {"GEMINI": 500, "COINBASE": 10, "BITMEX": 10}.get(venue, 0)
    assert found.height - (500 if venue == "GEMINI" else 0) == captured.counts(venue)["TRADES"]
    assert found.select(pl.col("symbol", "price", "size", "side", "event_time").is_null().any()).row(0) == (False,) * 5
    assert found["side"].is_in(["buy", "sell"]).all()
    assert not found.select("message_key", "item_index").is_duplicated().any()


@pytest.mark.parametrize("venue", captured.NORMALIZED)
def test_trades_equal_what_the_library_made(venue: str) -> None:
    found = rows_of(venue, exchanges.trades).filter(~pl.col("is_snapshot") | (venue == "BITMEX"))
    expected = captured.normalized(venue, "trade")
    ours = by_symbol(found)
    assert ours.keys() == expected.keys()
    for symbol, wanted in expected.items():
        assert [(r["side"], r["size"], r["price"], r["trade_id"], event_micros(r)) for r in ours[symbol]] == [
            (w["side"], Decimal(w["amount"]), Decimal(w["price"]), w["id"], micros(w["timestamp"])) for w in wanted
        ]


@pytest.mark.parametrize("venue", captured.VENUES)
def test_quotes_are_as_many_as_published(venue: str) -> None:
    assert rows_of(venue, exchanges.quotes).height == captured.counts(venue).get("TICKER", 0)


@pytest.mark.parametrize("venue", ["BINANCE", "KRAKEN", "BITMEX"])
def test_quotes_equal_what_the_library_made(venue: str) -> None:
    expected, ours = captured.normalized(venue, "ticker"), by_symbol(rows_of(venue, exchanges.quotes))
    assert ours.keys() == expected.keys()
    for symbol, wanted in expected.items():
        assert [(r["bid_price"], r["ask_price"]) for r in ours[symbol]] == [(Decimal(w["bid"]), Decimal(w["ask"])) for w in wanted]
        if venue == "BITMEX":  # the others' tickers have no time
            assert [event_micros(r) for r in ours[symbol]] == [micros(w["timestamp"]) for w in wanted]
        else:
            assert {r["event_time_source"] for r in ours[symbol]} == {"receive"}


@pytest.mark.parametrize(("venue", "not_applied"), [
    ("BINANCE", 5), ("BITMEX", 0), ("BITSTAMP", 100), ("BYBIT", 0), ("COINBASE", 0), ("GEMINI", 0), ("KRAKEN", 0),
])
def test_every_book_message_has_rows(venue: str, not_applied: int) -> None:
    """Those not applied precede the snapshot that was asked for."""
    found = rows_of(venue, exchanges.book_deltas)
    assert found["message_key"].n_unique() == captured.counts(venue)["L2_BOOK"] + not_applied
    assert not found.select("message_key", "item_index").is_duplicated().any()
    unreadable = pl.col("side").is_not_null() & pl.col("price").is_null() & pl.col("level_id").is_null()
    sizeless = pl.col("side").is_not_null() & pl.col("size").is_null() & (pl.col("action") != "delete")
    assert not found.select((unreadable | sizeless).any()).item()


@pytest.mark.parametrize("venue", captured.VENUES)
def test_as_many_messages_are_applied_as_published(venue: str) -> None:
    assert len(brute_book.tops(rows_of(venue, exchanges.book_deltas).to_dicts())) == captured.counts(venue)["L2_BOOK"]


@pytest.mark.parametrize("venue", captured.NORMALIZED)
def test_books_from_the_rows_equal_what_the_library_made(venue: str) -> None:
    tops = brute_book.tops(rows_of(venue, exchanges.book_deltas).to_dicts())
    ours: dict[str, list[brute_book.Top]] = defaultdict(list)
    for top in tops:
        ours[top.symbol].append(top)
    expected = captured.normalized(venue, "l2")
    assert ours.keys() == expected.keys()
    for symbol, wanted in expected.items():
        assert [(t.bid_price, t.bid_size, t.ask_price, t.ask_size, t.bid_levels, t.ask_levels) for t in ours[symbol]] == [
            (*map(Decimal, w["bid"]), *map(Decimal, w["ask"]), w["nbid"], w["nask"]) for w in wanted
        ]


def test_every_checksum_that_kraken_sent_is_that_of_the_book() -> None:
    sent = [top.checksum_ok for top in brute_book.tops(rows_of("KRAKEN", exchanges.book_deltas).to_dicts())]
    assert (sent.count(True), sent.count(False), sent.count(None)) == (4_269, 0, 10)


@pytest.mark.parametrize("venue", captured.VENUES)
def test_no_book_is_ever_crossed_or_locked(venue: str) -> None:
    tops = brute_book.tops(rows_of(venue, exchanges.book_deltas).to_dicts())
    assert [top for top in tops if top.bid_price is None or top.ask_price is None or top.bid_price >= top.ask_price] == []


def test_coinbases_tickers_are_the_tops_of_its_books() -> None:
    """Another answer that the venue itself gives; the ten tickers that open subscriptions are of the last trade before."""
    before: dict[str, list[tuple[int, Decimal | None, Decimal | None]]] = defaultdict(list)
    for top in brute_book.tops(rows_of("COINBASE", exchanges.book_deltas).to_dicts()):
        before[top.symbol].append((int(top.message_key.rpartition(":")[2]), top.bid_price, top.ask_price))
    history = rows_of("COINBASE", exchanges.trades).filter("is_snapshot").select("symbol", "sequence")
    quotes = rows_of("COINBASE", exchanges.quotes).join(history, on=["symbol", "sequence"], how="anti").to_dicts()
    assert len(quotes) == 97
    for quote in quotes:
        last = [top for top in before[quote["symbol"]] if top[0] < quote["line_number"]][-1]
        assert last[1:] == (quote["bid_price"], quote["ask_price"])
