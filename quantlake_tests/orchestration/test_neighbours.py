"""What a date reads of its neighbours: messages around midnight, books that are open over it; over real stores."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quantlake.cli.embedded import Embedded
from quantlake.contract.catalog import Catalog
from quantlake.datasets.market import book_close, book_deltas, book_top, exchange_messages, feed_gaps, quotes, trades
from quantlake.datasets.reference import symbol_map
from quantlake.orchestration.refresh import Refreshed, refresh
from quantlake.orchestration.staleness import state
from quantlake.orchestration.why import why
from quantlake.serving.as_known import AsKnown
from quantlake.serving.query import QueryService
from quantlake.settings import Settings
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake.wiring import Adapters

GRAPH = Catalog((
    symbol_map.raw, symbol_map.symbols, exchange_messages.raw, trades.raw, book_deltas.deltas, trades.trades, book_close.book_close, book_top.top, feed_gaps.feed_gaps,
))  # fmt: skip
MIDNIGHT = datetime(2024, 3, 5, tzinfo=UTC)
DAY, NEXT = date(2024, 3, 4), date(2024, 3, 5)


@pytest.fixture
def adapters(home: Path) -> Iterator[Adapters]:
    found = Adapters(Settings(home=home))
    with Embedded(found, GRAPH):
        yield found


def arrive(adapters: Adapters, *messages: tuple[float, str], connection: str = "c", first: int = 1) -> None:
    """Coinbase's messages, so many seconds after midnight."""
    rows = [
        {
            "source": "coinbase_pro", "venue": "coinbase", "channel": None, "url": None, "transport": "websocket", "connection_id": connection,
            "message_key": f"{connection}:{n}", "receive_time": MIDNIGHT + timedelta(seconds=seconds), "payload": payload,
            "source_name": connection, "source_version": None, "source_records": None, "line_number": n,
        }
        for n, (seconds, payload) in enumerate(messages, first)
    ]  # fmt: skip
    schema = {c.name: pl.DataFrame(exchange_messages.raw.spec.arrow.empty_table()).schema[c.name] for c in exchange_messages.raw.columns}
    filled = exchange_messages.complete(pl.DataFrame(rows, schema=schema))
    send(adapters.broker, adapters.registry, exchange_messages.raw, typed(exchange_messages.raw, filled))


def book(seconds: float, *levels: tuple[str, str, str], snapshot: bool = False) -> tuple[float, str]:
    if snapshot:
        sides = {s: ",".join(f'["{p}","{q}"]' for side, p, q in levels if side == s) for s in ("buy", "sell")}
        return seconds, f'{{"type":"snapshot","product_id":"X-USD","bids":[{sides["buy"]}],"asks":[{sides["sell"]}]}}'
    changes = ",".join(f'["{side}","{price}","{size}"]' for side, price, size in levels)
    at = (MIDNIGHT + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return seconds, f'{{"type":"l2update","product_id":"X-USD","changes":[{changes}],"time":"{at}"}}'


def match(seconds: float, number: int, event: float) -> tuple[float, str]:
    at = (MIDNIGHT + timedelta(seconds=event)).isoformat().replace("+00:00", "Z")
    return seconds, f'{{"type":"match","trade_id":{number},"side":"sell","size":"1","price":"5","product_id":"X-USD","sequence":{number},"time":"{at}"}}'


def sql(adapters: Adapters, query: str, moment: datetime | None = None) -> list[tuple[Any, ...]]:
    return [tuple(r.values()) for r in QueryService(GRAPH, adapters).run(query, moment).read_all().to_pylist()]


def refreshed(adapters: Adapters, instance: dg.DagsterInstance) -> Refreshed:
    done = refresh(GRAPH, GRAPH.datasets, adapters, instance)
    assert not done.errors and not done.rejected
    again = state(GRAPH, GRAPH.datasets, adapters, instance)
    assert {d.path: again.stale(d) for d in GRAPH.datasets if again.stale(d)} == {}
    assert not refresh(GRAPH, GRAPH.datasets, adapters, instance).outcomes
    return done


def test_what_only_shares_an_input_is_not_looked_at(adapters: Adapters) -> None:
    """Quotes are made of exchanges' messages as trades are, and of a stream that a selection of trades need not know."""
    whole = Catalog((*GRAPH.datasets, quotes.raw, quotes.quotes))
    arrive(adapters, match(1, 1, 1))
    with dg.instance_for_test() as instance:
        assert not refresh(whole, [exchange_messages.raw, trades.trades], adapters, instance).errors
        found = state(whole, [trades.trades], adapters, instance)
        assert NEXT in found.dates[trades.trades.path] and not found.stale(trades.trades) and set(found.dates) == {trades.trades.path}


TRADES = "SELECT trade_id, partition_date, list_contains(flags, 'outside_window') FROM curated_market_trades ORDER BY trade_id"
TOPS = "SELECT partition_date, bid_price::INT, ask_price::INT, state FROM derived_market_book_top ORDER BY known_at"


def test_items_of_a_neighbouring_date_are_of_their_own_date_and_far_ones_keep_their_message_s(adapters: Adapters) -> None:
    with dg.instance_for_test() as instance:
        arrive(adapters, match(-30, 1, -30), match(1, 2, -1), match(2, 3, 2), match(3, 4, -10 * 86400))
        refreshed(adapters, instance)
        assert sql(adapters, TRADES) == [("1", DAY, False), ("2", DAY, False), ("3", NEXT, False), ("4", NEXT, True)]
        arrive(adapters, match(5, 5, -5), first=9)  # landed on the next date, and of the day before
        done = refreshed(adapters, instance)
        touched = {o.partition for o in done.outcomes["curated/market/trades"] if o.changed}
        assert touched == {DAY} and sql(adapters, TRADES)[-1] == ("5", DAY, False)
        (told,) = (w for w in why(trades.trades, DAY, GRAPH, adapters, instance) if w.asset == "curated/market/trades")
        assert told.state == "built" and not any(i.newer for i in told.inputs)


def test_a_book_goes_on_over_midnight_and_a_late_message_changes_the_days_after_it(adapters: Adapters) -> None:
    with dg.instance_for_test() as instance:
        arrive(adapters, book(-30, ("buy", "5", "1"), ("sell", "9", "1"), snapshot=True), book(-10, ("buy", "6", "1")))
        arrive(adapters, book(10, ("sell", "8", "1")), book(86400 + 10, ("buy", "7", "1")), first=4)
        refreshed(adapters, instance)
        assert sql(adapters, TOPS) == [
            (DAY, 5, 9, "synced"), (DAY, 6, 9, "synced"), (NEXT, 6, 8, "synced"), (NEXT + timedelta(days=1), 7, 8, "synced"),
        ]  # fmt: skip
        arrive(adapters, book(-5, ("buy", "6", "0")), first=3)  # late
        done = refreshed(adapters, instance)
        assert {o.partition for o in done.outcomes["derived/market/book_close"] if o.changed} == {DAY, NEXT, NEXT + timedelta(days=1)}
        assert sql(adapters, TOPS)[-2:] == [(NEXT, 5, 8, "synced"), (NEXT + timedelta(days=1), 7, 8, "synced")]
        # as known before the late message had been received nothing else can be said: its receipt is its time
        before = MIDNIGHT - timedelta(seconds=6)
        assert sql(adapters, TOPS, before) == [(DAY, 5, 9, "synced"), (DAY, 6, 9, "synced")]


def test_as_known_at_a_time_books_of_later_days_are_built_on_what_was_known_of_the_earlier(adapters: Adapters) -> None:
    """The stored partitions cannot answer, since a row of the first day is known later; the chain of days is computed."""
    with dg.instance_for_test() as instance:
        arrive(adapters, book(-30, ("buy", "5", "1"), ("sell", "9", "1"), snapshot=True), book(-10, ("buy", "6", "1")))
        arrive(adapters, book(10, ("sell", "8", "1")), book(86400 + 10, ("buy", "7", "1")), first=3)
        refreshed(adapters, instance)
        stored = sql(adapters, TOPS)
        later = MIDNIGHT + timedelta(days=2)
        assert sql(adapters, TOPS, later) == stored
        known = AsKnown.of(book_top.top, later, adapters.lake)
        assert len(known.served) == 3 and not known.computed
        closing = book_close.book_close.path
        never = replace(known.pins[closing], committed=dict.fromkeys(known.pins[closing].committed, MIDNIGHT - timedelta(days=99)))
        computed = replace(known, pins={**known.pins, closing: never})
        assert computed.computed == [NEXT, NEXT + timedelta(days=1)]
        for only in (None, pl.col("partition_date") == NEXT + timedelta(days=1)):
            frame = pl.concat(computed.narrowed(only).frames()).sort("known_at")
            shown = frame.select("partition_date", pl.col("bid_price", "ask_price").cast(pl.Int64), "state").rows()
            assert shown == (stored[-2:] if only is None else stored[-1:])


def test_a_crossed_top_is_kept_back_alone_and_many_keep_back_the_date(adapters: Adapters) -> None:
    with dg.instance_for_test() as instance:
        quiet = [book(n / 1000, ("buy", "5", str(1 + n % 2))) for n in range(1, 1200)]
        arrive(adapters, book(0, ("buy", "5", "1"), ("sell", "9", "1"), snapshot=True), *quiet)
        arrive(adapters, book(2, ("sell", "4", "1")), book(3, ("sell", "4", "0")), first=5000)
        refreshed(adapters, instance)
        kept = "SELECT _check, state FROM rejected_derived_market_book_top"
        assert sql(adapters, kept) == [("not_crossed", "crossed")]
        assert sql(adapters, "SELECT count(*), count(*) FILTER (state = 'crossed') FROM derived_market_book_top") == [(1201, 0)]
        arrive(adapters, book(4, ("sell", "4", "1")), *(book(4 + n / 10, ("buy", "3", "1")) for n in range(1, 5)), first=6000)
        done = refresh(GRAPH, GRAPH.datasets, adapters, instance)
        assert [(path, day) for path, day, _ in done.rejected] == [("derived/market/book_top", NEXT)]
        assert sql(adapters, "SELECT count(*) FROM derived_market_book_top") == [(1201,)]
        assert "6 of 1207 rows crossed" in done.rejected[0][2]
