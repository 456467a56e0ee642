"""The recorded captures of a venue: its messages, what others made of them, and the symbols as they write them."""

import gzip
import json
from functools import cache
from typing import Any

import polars as pl

from quantlake.sources import captures
from quantlake_tests.recorded import recorded

FOLDER = "market/cryptofeed_raw_ws"
VENUES = ("BINANCE", "BITMEX", "BITSTAMP", "BYBIT", "COINBASE", "GEMINI", "KRAKEN")
NORMALIZED = ("BINANCE", "BITMEX", "BITSTAMP", "GEMINI", "KRAKEN")


@cache
def messages(venue: str) -> pl.DataFrame:
    """All messages of the venue's files, file by file."""
    files = sorted(recorded(FOLDER).glob(f"{venue}.*"))
    return pl.concat([pl.DataFrame(pl.from_arrow(table)) for path in files for _, table in captures.read(path)])


@cache
def counts(venue: str) -> dict[str, int]:
    """Published: how many messages, and callbacks of each kind."""
    published = json.loads(recorded(f"{FOLDER}/expected_counts.json").read_text())[venue]
    return {"messages": published["messages_processed"], **published["callbacks"]}


@cache
def normalized(venue: str, kind: str) -> dict[str, list[dict[str, Any]]]:
    """What the library made of the venue's files, by symbol as the venue prints it, in order."""
    by_symbol: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(recorded(f"{FOLDER}/expected_normalized/{venue}.jsonl.gz"), "rt") as file:
        for record in map(json.loads, file):
            if record["kind"] == kind:
                by_symbol.setdefault(printed(venue, record["symbol"]), []).append(record)
    return by_symbol


def printed(venue: str, symbol: str) -> str:
    """The library's ``BTC-USD-PERP`` or ``XRP-BTC-21U24`` as the venue prints it."""
    base, quote, *rest = symbol.split("-")
    if venue == "KRAKEN":
        return f"{base}/{quote}".replace("BTC", "XBT")
    if venue == "BITSTAMP":
        return f"{base}{quote}".lower()
    if venue == "BITMEX":
        dated = rest and rest[0] != "PERP"
        return (f"{base}{rest[0][2]}{rest[0][:2]}" if dated else f"{base}{quote}").replace("BTC", "XBT")
    return f"{base}{quote}"
