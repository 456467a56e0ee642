"""Books against plain dicts: recorded captures, and drawn ones with gaps, repeats, late snapshots and a midnight anywhere."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake import exchanges
from quantlake.datasets.market import book_close, book_deltas, book_top, exchange_messages, feed_gaps, trades
from quantlake.exchanges import books
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.exchanges import brute_book, captured

NOTHING = pl.DataFrame(book_close.book_close.spec.arrow.empty_table())
START = datetime(2024, 3, 4, 12, tzinfo=UTC)
VENUES = {"binance": "binance_v3", "bitstamp": "bitstamp_v2", "kraken": "kraken_v1", "bitmex": "bitmex_v1", "coinbase": "coinbase_pro"}


def of_capture(venue: str) -> pl.DataFrame:
    rows = book_deltas.curate(captured.messages(venue).lazy(), NO_SYMBOLS).collect()
    return rows.sort(book_deltas.deltas.sort_by)


def shown(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[c] for c in ("bid_price", "bid_size", "ask_price", "ask_size", "bid_levels", "ask_levels"))


@pytest.mark.parametrize("venue", captured.NORMALIZED)
def test_tops_and_depths_are_what_the_library_made(venue: str) -> None:
    tops = book_top.build(of_capture(venue).lazy(), NOTHING.lazy()).collect()
    expected = captured.normalized(venue, "l2")
    assert tops.height == sum(map(len, expected.values())) == captured.counts(venue)["L2_BOOK"]
    assert set(tops["state"]) == {"synced"}
    for symbol, wanted in expected.items():
        ours = [shown(r) for r in tops.filter(pl.col("symbol") == symbol).iter_rows(named=True)]
        assert ours == [(*map(Decimal, w["bid"]), *map(Decimal, w["ask"]), w["nbid"], w["nask"]) for w in wanted]


@pytest.mark.parametrize(("venue", "rows"), [("COINBASE", 9_729), ("BYBIT", 4_278)])
def test_one_row_an_applied_message(venue: str, rows: int) -> None:
    tops = book_top.build(of_capture(venue).lazy(), NOTHING.lazy()).collect()
    brute = brute_book.tops(of_capture(venue).to_dicts())
    assert tops.height == len(brute) == rows == captured.counts(venue)["L2_BOOK"]
    by_key = {(t.message_key, t.symbol): tuple(t[2:8]) for t in brute}
    assert {(r["message_key"], r["symbol"]): shown(r) for r in tops.iter_rows(named=True)} == by_key


def test_kraken_s_checksums_are_all_right_and_a_changed_size_is_found() -> None:
    rows = of_capture("KRAKEN")
    ok = books.replay(rows, NOTHING).tops["checksum_ok"]
    assert (ok.sum(), ok.null_count()) == (4_269, 10)
    at = rows.with_row_index().filter((pl.col("action") == "set") & pl.col("checksum").is_not_null())["index"][0]
    planted = rows.with_columns(size_text=pl.when(pl.int_range(pl.len()) == at).then(pl.lit("9.99")).otherwise("size_text"))
    tops = book_top.build(planted.lazy(), NOTHING.lazy()).collect()
    bad = tops.filter(pl.col("state") == "invalid")
    assert bad.height and bad["checksum_ok"].not_().all() and bad["bid_price"].is_null().all()


@pytest.mark.parametrize("venue", captured.VENUES)
def test_a_midnight_anywhere_changes_no_top(venue: str) -> None:
    rows = of_capture(venue)
    times = rows["receive_time"].sort()
    for share in (0.2, 0.5, 0.9):
        midnight = times[int(len(times) * share)]
        first, second = rows.filter(pl.col("receive_time") <= midnight), rows.filter(pl.col("receive_time") > midnight)
        one = books.replay(first, NOTHING)
        two = books.replay(second, one.closing)
        parted = pl.concat([one.tops, two.tops]).filter(pl.col("state") != "gap").select("message_key", "symbol", *SHOWN).sort("message_key", "symbol")
        whole = books.replay(rows, NOTHING).tops.select("message_key", "symbol", *SHOWN).sort("message_key", "symbol")
        assert parted.equals(whole)
        again = books.replay(rows, NOTHING).closing.drop("known_at")
        assert two.closing.drop("known_at").sort(pl.all()).equals(again.filter(_alive(second)).sort(pl.all()))


SHOWN = ("bid_price", "bid_size", "ask_price", "ask_size", "bid_levels", "ask_levels", "state", "checksum_ok")


def _alive(rows: pl.DataFrame) -> pl.Expr:
    """A connection that sends nothing on a day has ended."""
    return pl.col("connection_id").is_in([*rows["connection_id"].unique(), books.NO_CONNECTION])


def row(venue: str, message: int, item: int, **more: Any) -> dict[str, Any]:
    at = START + timedelta(seconds=message)
    rest = venue in ("binance", "bitstamp") and more["action"] == "snapshot"
    return {
        "source": VENUES[venue], "venue": venue, "symbol": "X", "message_key": f"{message}", "item_index": item,
        "connection_id": "rest" if rest else "ws", "side": None, "price": None, "size": None, "level_id": None, "first_update_id": None,
        "last_update_id": None, "checksum": None, "price_text": None, "size_text": None, "depth": 3 if venue == "kraken" else None,
        "event_time": at, "receive_time": at, "known_at": at, "partition_date": at.date(), "source_name": "rest" if rest else "ws",
        "line_number": message, **more,
    }  # fmt: skip


@st.composite
def feeds(draw: st.DrawFn) -> list[dict[str, Any]]:
    venue = draw(st.sampled_from(sorted(VENUES)))
    rows: list[dict[str, Any]] = []
    last = 100
    for message in range(draw(st.integers(1, 25))):
        snapshot = draw(st.integers(0, 9)) == 0 or (message == 0 and draw(st.booleans()))
        step = draw(st.sampled_from([1, 1, 1, 1, 2, 0, -1]))
        ids = {"first_update_id": None if snapshot else last + step, "last_update_id": last if snapshot else last + step + draw(st.integers(0, 2))}
        last = max(last, ids["last_update_id"])
        for item in range(draw(st.integers(1, 6 if snapshot else 3))):
            side, tick = draw(st.sampled_from(["bid", "ask"])), draw(st.integers(1, 8))
            size = draw(st.integers(0, 3)) if not snapshot else draw(st.integers(1, 3))
            action = "snapshot" if snapshot else "set" if size else "delete"
            price: Decimal | None = Decimal(tick)
            if venue == "bitmex" and not snapshot and draw(st.booleans()):
                price = None
            rows.append(row(
                venue, message, item, action=action, side=side, price=price, size=Decimal(size) if size else None, level_id=f"{side}{tick}" if venue == "bitmex" else None,
                **(ids if venue in ("binance", "bitstamp") else {}),
            ))  # fmt: skip
    return rows


SCHEMA: dict[str, Any] = {c.name: pl.DataFrame(book_deltas.deltas.spec.arrow.empty_table()).schema[c.name] for c in book_deltas.deltas.columns if c.name not in ("flags", "event_time_ns", "event_time_source", "source_version", "source_records")}


def brute(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The book after each message that leaves it in order; waiting changes that a snapshot takes along count as of the snapshot."""
    book, found = brute_book.Book(rows[0]["venue"]), {}
    for key, message in groupby(rows, key=lambda r: r["message_key"]):
        tops = book.receive(list(message))
        if tops and book.synced:
            found[key] = tuple(tops[-1][2:8])
    return found


@settings(max_examples=300, deadline=None)
@given(feeds())
def test_drawn_feeds_give_the_books_of_plain_dicts(rows: list[dict[str, Any]]) -> None:
    tops = books.replay(pl.DataFrame(rows, schema=SCHEMA), NOTHING).tops
    ours = {r["message_key"]: shown(r) for r in tops.iter_rows(named=True) if r["state"] in ("synced", "crossed")}
    assert ours == brute(rows)


def test_gaps_are_found_in_books_connections_and_ids() -> None:
    """A Binance book loses one message; a new one comes; a Coinbase trade is missing."""
    level = {"side": "bid", "price": Decimal(5), "size": Decimal(1)}
    ids = lambda first, last: {"first_update_id": first, "last_update_id": last}  # noqa: E731
    rows = [
        row("binance", 0, 0, action="snapshot", **level, **ids(None, 10)), row("binance", 1, 0, action="set", **level, **ids(11, 11)),
        row("binance", 2, 0, action="set", **level, **ids(13, 13)), row("binance", 3, 0, action="snapshot", **level, **ids(None, 14)),
    ]  # fmt: skip
    tops = book_top.build(pl.DataFrame(rows, schema=SCHEMA).lazy(), NOTHING.lazy()).collect()
    assert tops["state"].to_list() == ["synced", "synced", "gap", "synced"]
    trade = {"source": "coinbase_pro", "venue": "coinbase", "symbol": "X", "partition_date": START.date(), "instrument_id": None}
    sold = [trade | {"trade_id": f"{n}", "event_time": START + timedelta(seconds=n), "known_at": START + timedelta(seconds=n)} for n in (7, 8, 11)]
    found = feed_gaps.build(tops.lazy(), pl.DataFrame(sold).lazy(), NOTHING.lazy()).collect()
    told = [(r["channel"], (r["gap_start"] - START).seconds, (r["gap_end"] - START).seconds, r["reason"]) for r in found.iter_rows(named=True)]
    assert told == [("book", 1, 3, "sequence"), ("trades", 8, 11, "missing_ids")]


def test_a_new_connection_is_a_gap_and_an_unopened_book_too() -> None:
    level = {"side": "bid", "price": Decimal(5), "size": Decimal(1)}
    begun = [row("coinbase", 0, 0, action="snapshot", **level), row("coinbase", 1, 0, action="set", **level)]
    second = [row("coinbase", n, 0, action="snapshot" if n == 9 else "set", **level) | {"connection_id": "ws2"} for n in (8, 9)]
    tops = book_top.build(pl.DataFrame(begun + second, schema=SCHEMA).lazy(), NOTHING.lazy()).collect()
    nothing = trades.trades.spec.arrow.empty_table()
    found = feed_gaps.build(tops.lazy(), pl.DataFrame(nothing).lazy(), NOTHING.lazy()).collect()
    assert [((r["gap_start"] - START).seconds, (r["gap_end"] - START).seconds, r["reason"]) for r in found.iter_rows(named=True)] == [(1, 9, "reconnected")]
    alone = book_top.build(pl.DataFrame(second[:1], schema=SCHEMA).lazy(), NOTHING.lazy()).collect()
    unopened = feed_gaps.build(alone.lazy(), pl.DataFrame(nothing).lazy(), NOTHING.lazy()).collect()
    assert unopened.select("gap_end", "reason").rows() == [(None, "no_snapshot")]


def test_recorded_captures_have_no_gap() -> None:
    for venue in captured.VENUES:
        tops = book_top.build(of_capture(venue).lazy(), NOTHING.lazy())
        empty = pl.DataFrame(trades.raw.spec.arrow.empty_table()).lazy()
        traded = trades.curate(empty, captured.messages(venue).lazy(), NO_SYMBOLS)
        assert feed_gaps.build(tops, traded, NOTHING.lazy()).collect().height == 0


def test_nothing_gives_nothing() -> None:
    empty = pl.DataFrame(exchange_messages.raw.spec.arrow.empty_table()).lazy()
    for parse in (exchanges.trades, exchanges.quotes, exchanges.book_deltas):
        assert parse(empty).collect().height == 0


def two_recorders(rest: tuple[str, str]) -> pl.DataFrame:
    """Binance: `A` begins at 1, `B` at 2; the snapshots of both, asked for by ``rest``, come after both began."""

    def change(name: str, at: int, update: int) -> dict[str, Any]:
        ids = {"first_update_id": update, "last_update_id": update}
        key = {"connection_id": name, "source_name": name, "message_key": f"{name}:{update}"}
        return row("binance", at, 0, action="set", side="bid", price=Decimal(update), size=Decimal(1), **ids) | key

    def answer(name: str, at: int, update: int) -> dict[str, Any]:
        asked = row("binance", at, 0, action="snapshot", side="bid", price=Decimal(1), size=Decimal(1), last_update_id=update)
        return asked | {"connection_id": name, "source_name": name, "message_key": f"{name}:{at}"}

    found = [change("A", at, at) for at in range(1, 9)] + [change("B", at, at) for at in range(2, 9)]
    return pl.DataFrame([*found, answer(rest[0], 3, 3), answer(rest[1], 5, 5)], schema=SCHEMA)


@pytest.mark.parametrize("rest", [("A/rest", "B/rest"), ("A#rest", "B#rest"), ("x", "y")])
def test_each_of_two_recorders_has_a_book(rest: tuple[str, str]) -> None:
    tops = books.replay(two_recorders(rest), NOTHING).tops
    assert tops.filter(state="gap").is_empty()
    assert not tops.select("message_key", "symbol").is_duplicated().any()
    assert set(tops.filter(message_key=pl.col("connection_id") + ":8")["connection_id"]) == {"A", "B"}


def test_an_answer_older_than_the_book_does_not_undo_it() -> None:
    ids = [{"first_update_id": n, "last_update_id": n} for n in range(1, 7)]
    changes = [row("binance", n, 0, action="set", side="bid", price=Decimal(n), size=Decimal(1), **ids[n - 1]) for n in range(1, 7)]
    first, late = (
        row("binance", at, 0, action="snapshot", side="bid", price=Decimal(1), size=Decimal(1), last_update_id=1) | {"message_key": key}
        for at, key in ((1, "first"), (5, "late"))
    )
    tops = books.replay(pl.DataFrame([first, *changes, late], schema=SCHEMA), NOTHING).tops
    assert tops.filter(pl.col("state") != "synced").is_empty()
    assert tops.filter(message_key="6").select("bid_price", "bid_levels").row(0) == (Decimal(6), 6)
