"""What each venue's documented messages say: sides, units, ids, times, snapshots, deletions, and what is no item."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pytest

from quantlake import exchanges
from quantlake.datasets.market import book_deltas, quotes, trades
from quantlake_tests.exchanges import venue_messages

Table = Literal["trades", "quotes", "book_deltas"]


def rows(source: str, table: Table, *columns: str, messages: list[tuple[str, str]] | None = None) -> list[tuple[Any, ...]]:
    frame = venue_messages.frame(source, *(messages or venue_messages.GOOD[source]))
    parse = getattr(exchanges.MODULES[source], table)
    return parse(frame).select(pl.col(c).cast(pl.String) if c in ("price", "size") else c for c in columns).rows()


def plain(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Decimals' texts without trailing zeros."""
    return [tuple(c.rstrip("0").rstrip(".") if isinstance(c, str) and c.endswith("0" * 8) else c for c in row) for row in found]


def at(micros: int, *parts: int) -> datetime:
    return datetime(*parts, micros, UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(("source", "expected"), [
    ("binance_v3", [("12345", "sell", "0.001", "100", "base", False)]),
    ("bitmex_v1", [("39744121", "buy", "0.00001819", "52", "contracts", False)]),
    ("bitstamp_v2", [("216000477", "sell", "3805.44", "0.0792", "base", False)]),
    ("bybit_v2", [("01cacfe9", "buy", "1053.9", "0.14", "base", False), ("5ffb", "sell", "60621.5", "4", "contracts", False)]),
    ("coinbase_pro", [("10", "buy", "14.7775", "0.04", "base", False), ("9", "sell", "14", "1", "base", True)]),
    ("gemini_v2", [("169841458", "sell", "9122.04", "0.0073173", "base", True), ("3575573053", "buy", "9004.21", "0.0911", "base", False)]),
    ("kraken_v1", [(None, "sell", "354.11", "0.89594024", "base", False), (None, "buy", "354.2", "1", "base", False)]),
])  # fmt: skip
def test_trades_say_the_aggressors_side_and_what_a_size_counts(source: str, expected: list[tuple[Any, ...]]) -> None:
    assert plain(rows(source, "trades", "trade_id", "side", "price", "size", "size_unit", "is_snapshot")) == expected


def test_an_aggregate_names_its_first_and_last_trade() -> None:
    assert rows("binance_v3", "trades", "symbol", "first_trade_id", "last_trade_id") == [("BTCUSDT", 100, 105)]


@pytest.mark.parametrize(("source", "expected"), [
    ("binance_v3", [at(136_000, 2022, 12, 31, 19, 43, 2)]),
    ("bitmex_v1", [at(14_000, 2021, 7, 22, 22, 36, 10)]),
    ("bitstamp_v2", [at(596_000, 2022, 1, 5, 0, 48, 19)]),
    ("kraken_v1", [at(557_535, 2021, 4, 17, 16, 49, 2), at(557_536, 2021, 4, 17, 16, 49, 2)]),
    ("coinbase_pro", [at(244_075, 2021, 4, 17, 16, 43, 30), at(0, 2021, 4, 17, 16, 43, 30)]),
])  # fmt: skip
def test_trades_are_of_the_exchanges_time(source: str, expected: list[datetime]) -> None:
    assert [row[0] for row in rows(source, "trades", "event_time")] == expected


def test_coinbases_ticker_without_an_ask_has_none() -> None:
    assert rows("coinbase_pro", "quotes", "bid_price", "ask_price", "bid_size", "sequence") == [(Decimal("14.7550"), None, None, 333938798)]


def test_quotes_take_the_lot_volume_and_the_update_id() -> None:
    assert rows("kraken_v1", "quotes", "symbol", "bid_price", "bid_size", "ask_price", "ask_size") == [
        ("WAVES/EUR", Decimal("13.2329"), Decimal("185.18432037"), Decimal("13.2539"), Decimal("35.72892241"))
    ]
    assert rows("binance_v3", "quotes", "symbol", "update_id", "bid_size", "ask_size") == [
        ("BNBUSDT", "400900217", Decimal("31.21"), Decimal("40.66"))
    ]
    assert rows("bitmex_v1", "quotes", "bid_price", "bid_size", "ask_price", "size_unit") == [(Decimal("17.277"), Decimal(750), None, "contracts")]


LEVEL = ("row", "item_index", "symbol", "action", "side", "price", "size")


@pytest.mark.parametrize(("source", "expected"), [
    ("binance_v3", [
        (1, 0, "BNBBTC", "set", "bid", "0.0024", "10"), (1, 1, "BNBBTC", "delete", "ask", "0.0026", None),
        (2, 0, "BNBBTC", "set", None, None, None),
        (4, 0, "BNBBTC", "snapshot", "bid", "4", "431"), (4, 1, "BNBBTC", "snapshot", "ask", "4.2", "12"),
    ]),
    ("bitmex_v1", [
        (1, 0, "XBTUSD", "snapshot", "ask", "17.25", "10"), (2, 0, "XBTUSD", "set", "ask", None, "5"),
        (2, 1, "ETHUSD", "set", "bid", None, "2"), (3, 0, "XBTUSD", "delete", "ask", None, None),
        (4, 0, "NEWUSD", "snapshot", None, None, None),
    ]),
    ("bitstamp_v2", [
        (1, 0, "bateur", "set", "bid", "1.15979", "993"), (1, 1, "bateur", "delete", "ask", "1.16", None),
        (2, 0, "bateur", "snapshot", "bid", "0.14695", "4567.4"),
    ]),
    ("bybit_v2", [
        (2, 0, "BCHUSDT", "snapshot", "bid", "1053.05", "2.63"), (3, 0, "EOSUSD", "snapshot", "bid", "7.943", "154219"),
        (4, 0, "EOSUSD", "delete", "bid", "7.943", None), (4, 1, "EOSUSD", "set", "ask", "7.9", "3"),
    ]),
    ("coinbase_pro", [
        (3, 0, "BAND-GBP", "snapshot", "bid", "14.7", "1"), (3, 1, "BAND-GBP", "snapshot", "bid", "14.6", "2"),
        (3, 2, "BAND-GBP", "snapshot", "ask", "14.8024", "12.77"), (4, 0, "BAND-GBP", "delete", "ask", "14.8024", None),
        (4, 1, "BAND-GBP", "set", "bid", "14.71", "660.5"),
    ]),
    ("gemini_v2", [
        (0, 0, "BTCUSD", "snapshot", "bid", "9122.04", "0.00121425"), (0, 1, "BTCUSD", "snapshot", "ask", "9122.07", "0.98942292"),
        (1, 0, "NEWUSD", "snapshot", None, None, None), (2, 0, "BTCUSD", "delete", "bid", "9121.76", None),
    ]),
    ("kraken_v1", [
        (2, 0, "XBT/USD", "snapshot", "ask", "0.05005", "0.000005"), (2, 1, "XBT/USD", "snapshot", "bid", "0.05", "0.000005"),
        (3, 0, "XBT/USD", "set", "ask", "0.04299", "364630.28"), (3, 1, "XBT/USD", "delete", "bid", "0.04298", None),
    ]),
])  # fmt: skip
def test_a_books_changes_are_in_the_order_in_which_they_count(source: str, expected: list[tuple[Any, ...]]) -> None:
    assert plain(rows(source, "book_deltas", *LEVEL)) == expected


def test_ids_and_checksums_of_a_book_are_those_of_its_message() -> None:
    ids = ("row", "first_update_id", "last_update_id")
    assert rows("binance_v3", "book_deltas", *ids) == [(1, 157, 160), (1, 157, 160), (2, 161, 161), (4, None, 156), (4, None, 156)]
    assert rows("bitstamp_v2", "book_deltas", *ids)[-1] == (2, None, 1641343695572693)
    assert rows("kraken_v1", "book_deltas", "checksum", "depth", "price_text", "size_text")[1:3] == [
        (None, 10, "0.05000", "0.00000500"), (4105471083, 10, "0.042990", "364630.28"),
    ]  # fmt: skip
    assert rows("bitmex_v1", "book_deltas", "level_id") == [("8799",), ("8799",), ("1",), ("8799",), (None,)]
    assert rows("bybit_v2", "book_deltas", "level_id", "last_update_id")[-1] == ("79000", 3)


def test_a_kraken_message_is_of_one_time_and_a_snapshot_of_none() -> None:
    assert [row[0] for row in rows("kraken_v1", "book_deltas", "event_time")] == [None, None, *[at(920_708, 2021, 4, 17, 16, 49, 5)] * 2]


def test_what_is_there_but_cannot_be_read_exactly_is_null_and_stays() -> None:
    fill = '{{"table":"trade","action":"insert","data":[{{"timestamp":"x","symbol":"XBTUSD","side":"","size":1,"price":{}}}]}}'
    wrong = [("", fill.format("0.1000000000000000055")), ("", fill.format("1e99")), ("", fill.format("2"))]
    assert plain(rows("bitmex_v1", "trades", "row", "price", "side", "event_time", messages=wrong)) == [
        (0, None, "unknown", None), (1, None, "unknown", None), (2, "2", "unknown", None),
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "payload"), [
    ("binance_v3", '{"stream":"x@kline_1m","data":{"e":"kline","s":"NKNUSDT","k":{"t":1,"B":"0","b":"1","a":"2","A":"3"}}}'),
    ("binance_v3", '{"e":"24hrTicker","s":"BNBBTC","b":"0.0024","B":"10","a":"0.0026","A":"100","u":1}'),
    ("binance_v3", '{"e":"trade","s":"BNBBTC","t":12345,"p":"0.001","q":"100","m":true}'),
    ("bitmex_v1", '{"success":true,"subscribe":"orderBookL2:XBTUSD","request":{"op":"subscribe","args":["trade:XBTUSD"]}}'),
    ("bitmex_v1", '{"table":"trade","action":"insert","data":[{"timestamp":"2021-07-22T22:36:10.014Z","symbol":".BXBT","side":"Buy","size":null,"price":1.5,"trdMatchID":"00000000-0000-0000-0000-000000000000"}]}'),
    ("bitstamp_v2", '{"event":"bts:subscription_succeeded","channel":"diff_order_book_sgbeur","data":{}}'),
    ("bitstamp_v2", '{"data":{"microtimestamp":"1641343691244908","bids":[["1","2"]],"asks":[]},"channel":"order_book_bateur","event":"data"}'),
    ("bybit_v2", '{"success":true,"ret_msg":"","request":{"op":"subscribe","args":["trade.BTCUSD","orderBookL2_25.BTCUSD"]}}'),
    ("coinbase_pro", '{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["SKL-GBP"]},{"name":"matches"},{"name":"level2"}]}'),
    ("gemini_v2", '{"type":"heartbeat","timestamp":1624493666869}'),
    ("kraken_v1", '{"channelID":1664,"channelName":"book-1000","event":"subscriptionStatus","pair":"WAVES/EUR","status":"subscribed"}'),
    ("kraken_v1", '[42,["1542057314.748456","1542057360.435743","3586.70","3586.7","3586.6","3586.7","3586.6","0.03","2"],"ohlc-5","XBT/USD"]'),
])  # fmt: skip
def test_other_messages_have_no_rows(source: str, payload: str) -> None:
    for table in ("trades", "quotes", "book_deltas"):
        assert rows(source, table, "row", messages=[("", payload)]) == []


@pytest.mark.parametrize(("source", "channels"), [
    ("binance_v3", ["btcusdt@aggTrade", "depthUpdate", "x@depth", None, None]),
    ("bitmex_v1", ["trade", "orderBookL2", "orderBookL2", "orderBookL2", "orderBookL2_25", "quote"]),
    ("bitstamp_v2", ["live_trades_ethusd", "diff_order_book_bateur", None]),
    ("bybit_v2", ["trade.BCHUSDT", "trade.BTCUSD", "orderBookL2_25.BCHUSDT", "orderBookL2_25.EOSUSD", "orderBook_200.100ms.EOSUSD"]),
    ("coinbase_pro", ["match", "last_match", "ticker", "snapshot", "l2update"]),
    ("gemini_v2", ["l2_updates", "l2_updates", "l2_updates", "trade"]),
    ("kraken_v1", ["trade", "ticker", "book-10", "book-10"]),
])  # fmt: skip
def test_channels_are_as_messages_name_them(source: str, channels: list[str | None]) -> None:
    frame = venue_messages.frame(source, *venue_messages.GOOD[source])
    module = exchanges.MODULES[source]
    assert frame.select(module.channel(pl.col("payload"))).to_series().to_list() == channels
    assert (module.SOURCE, exchanges.MODULES[module.SOURCE]) == (source, module)


OURS = {
    "trades": {"instrument_id", "flags", "updates_ohlc", "updates_volume", "exchange", "conditions", "suspicious"},
    "quotes": {"instrument_id", "flags", "quote_condition", "exchange", "suspicious"},
    "book_deltas": {"instrument_id", "flags"},
}
"""What a table's own function fills, or files alone have."""


@pytest.mark.parametrize(("table", "dataset"), [("trades", trades.trades), ("quotes", quotes.quotes), ("book_deltas", book_deltas.deltas)])
def test_rows_fill_the_tables_columns_in_their_types(table: Table, dataset: Any) -> None:
    frames = [
        venue_messages.frame(source, *good)
        .with_columns(
            venue=pl.lit(exchanges.MODULES[source].VENUE),
            message_key=pl.format("{}:{}", pl.lit(source), "row"),
            connection_id=pl.lit(source),
            partition_date=pl.col("receive_time").dt.date(),
            source_name=pl.lit(source),
            source_version=pl.lit("v"),
            source_records=pl.lit(None, pl.Int64),
            line_number=pl.col("row").cast(pl.Int64),
        )
        .drop("row")
        for source, good in venue_messages.GOOD.items()
    ]
    found = getattr(exchanges, table)(pl.concat(frames).lazy()).collect()
    wanted = pl.DataFrame(pl.from_arrow(pa.schema([pa.field(c.name, c.type.arrow) for c in dataset.columns]).empty_table())).schema
    assert wanted.keys() - found.schema.keys() == OURS[table]
    assert {name: found.schema[name] for name in wanted if name in found.schema} == {n: k for n, k in wanted.items() if n not in OURS[table]}
    required = [c.name for c in dataset.columns if not c.null and c.name not in OURS[table]]
    assert found.select(pl.sum_horizontal(pl.col(required).null_count())).item() == 0
