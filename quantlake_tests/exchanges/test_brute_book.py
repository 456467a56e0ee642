"""The rules of the slow book that others are checked by, where recorded captures have no example."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from quantlake_tests.exchanges import brute_book


def message(number: int, venue: str, action: str, bid: int | None, first: int | None, last: int | None, connection: str = "a") -> dict[str, Any]:
    return {
        "message_key": f"m{number}", "item_index": 0, "venue": venue, "symbol": "X", "action": action, "side": "bid" if bid else None,
        "price": Decimal(bid) if bid else None, "size": Decimal(1), "level_id": None, "first_update_id": first, "last_update_id": last,
        "checksum": None, "price_text": None, "size_text": None, "depth": None, "connection_id": connection, "source_name": "s",
        "receive_time": datetime(2022, 1, 1, tzinfo=UTC) + timedelta(seconds=number), "line_number": number,
    }  # fmt: skip


def bids(*messages: dict[str, Any]) -> list[tuple[str, Decimal | None]]:
    return [(top.message_key, top.bid_price) for top in brute_book.tops(messages)]


def test_binance_diffs_wait_for_the_snapshot_and_begin_with_the_one_that_holds_its_id() -> None:
    assert bids(
        message(1, "binance", "set", 10, 1, 5), message(2, "binance", "set", 20, 6, 8), message(3, "binance", "snapshot", 1, None, 6, "rest"),
        message(4, "binance", "set", 30, 9, 9),
    ) == [("m3", 1), ("m2", 20), ("m4", 30)]  # fmt: skip


def test_after_a_gap_binance_has_no_book_until_a_snapshot() -> None:
    assert bids(
        message(1, "binance", "snapshot", 1, None, 6, "rest"), message(2, "binance", "set", 20, 7, 8), message(3, "binance", "set", 30, 10, 11),
        message(4, "binance", "set", 40, 12, 12), message(5, "binance", "snapshot", 5, None, 9, "rest"),
    ) == [("m1", 1), ("m2", 20), ("m5", 5), ("m3", 30), ("m4", 40)]  # fmt: skip


def test_a_new_connection_has_no_book_until_a_snapshot() -> None:
    assert bids(
        message(1, "bitstamp", "snapshot", 1, None, 6, "rest"), message(2, "bitstamp", "set", 20, None, 5), message(3, "bitstamp", "set", 30, None, 6),
        message(4, "bitstamp", "set", 40, None, 9, "b"), message(5, "bitstamp", "snapshot", 5, None, 8, "rest"),
        message(6, "bitstamp", "set", 60, None, 10, "b"), message(7, "coinbase", "set", 70, None, None),
    ) == [("m1", 1), ("m3", 30), ("m5", 5), ("m4", 40), ("m6", 60)]  # fmt: skip
