"""Captures of exchanges' connections: websocket and REST messages with the time of receipt, a line each, plain or gzipped.

Here: that format, and whose capture a file is. Not here: what messages say (quantlake/exchanges).
Lines: ``time: payload`` a websocket message; ``URL -> time: body`` a REST answer; no data: ``URL <-> time`` a connection opened,
``URL <- time: text`` sent, ``configuration: ...``; blank lines are no records. Times are seconds since 1970, by the receiver's clock.
Names, where kept: ``VENUE.ws.4.0``, ``VENUE.http.0.0``, ``VENUE.0``, ``VENUE-1a2b3c.0``.
Format: https://github.com/bmoscon/cryptofeed, cryptofeed/raw_data_collection.py.
"""

import re
from pathlib import Path

import polars as pl

from quantlake import exchanges
from quantlake.contract import QuantLakeError
from quantlake.datasets.market import exchange_messages
from quantlake.exchanges.parsing import seconds
from quantlake.sources import text as texts
from quantlake.sources.importers import Importer, Recognised, Rows, content, decoded, sha256, typed

NAME = re.compile(r"(?P<venue>[A-Z0-9_.]*[A-Z0-9_])(?:-[0-9a-f]+)?(?:\.[a-z]+(?:\.[0-9]+)?)?\.[0-9]+(?:\.gz)?")
OF_NAME = {
    "BINANCE": "binance_v3", "BITMEX": "bitmex_v1", "BITSTAMP": "bitstamp_v2", "BYBIT": "bybit_v2", "COINBASE": "coinbase_pro",
    "GEMINI": "gemini_v2", "KRAKEN": "kraken_v1",
}  # fmt: skip
OF_HOST = {
    "stream.binance.com": "binance_v3", "data-stream.binance.vision": "binance_v3", "api.binance.com": "binance_v3",
    "www.bitmex.com": "bitmex_v1", "ws.bitmex.com": "bitmex_v1", "ws.bitstamp.net": "bitstamp_v2", "www.bitstamp.net": "bitstamp_v2",
    "stream.bybit.com": "bybit_v2", "api.bybit.com": "bybit_v2", "ws-feed.pro.coinbase.com": "coinbase_pro",
    "ws-feed.exchange.coinbase.com": "coinbase_pro", "api.pro.coinbase.com": "coinbase_pro", "api.exchange.coinbase.com": "coinbase_pro",
    "api.gemini.com": "gemini_v2", "ws.kraken.com": "kraken_v1", "api.kraken.com": "kraken_v1",
}  # fmt: skip
OTHER_VERSIONS = re.compile(
    r"^[a-z]+://(?:advanced-trade-ws\.coinbase\.com|api\.gemini\.com/v1/marketdata|stream\.bybit\.com/(?:v[3-9]|contract|spot)|ws\.kraken\.com/v2)",
    re.IGNORECASE | re.MULTILINE,
)
"""Of these venues' interfaces, those which no module here reads."""
TIME = r"[0-9]{1,11}(?:\.[0-9]+)?"
FORMS = {
    "websocket": rf"^(?P<at>{TIME}): (?P<payload>.*)$",
    "rest": rf"^(?P<url>[A-Za-z]+://\S+) -> (?P<at>{TIME}): (?P<payload>.*)$",
    "opened": rf"^(?P<url>[A-Za-z]+://\S+) <-> (?P<at>{TIME})\s*$",
    "sent": rf"^(?P<url>[A-Za-z]+://\S+) <- (?P<at>{TIME}): (?P<payload>.*)$",
    "configuration": r"^configuration: ",
    "blank": r"^\s*$",
}
"""The forms a line can have, by what it is."""
RECORDED = re.compile(rf"(?:[0-9]{{9,11}}(?:\.[0-9]+)?: |[A-Za-z]+://\S+ (?:<->|<-|->) {TIME}|configuration: \{{)")
HOST = re.compile(r"^[A-Za-z]+://([^/:?\s]+)\S* (?:<->|<-|->) ", re.MULTILINE)
HEAD_BYTES = 65_536
SLICE_ROWS = 50_000  # a table's


def recognise(path: Path) -> Recognised:
    """By the first line that is not blank, or by name; the venue by name, else by the host of the first URL in the file's head."""
    name = NAME.fullmatch(path.name)
    known = name is not None and name["venue"] in OF_NAME
    head = _head(path)
    if not known and not RECORDED.match(head.lstrip()):
        return None
    if _source(path, head) is None:
        host = HOST.search(head)
        other = " by another version of its interface than is known" if known else ""
        return f"exchange capture of {name['venue'] if name else host[1] if host else 'a venue that it does not name'}{other}"
    return Importer("exchange captures", read)


def read(path: Path) -> Rows:
    """The messages of one file as ``exchange_messages.raw``, in file order; payloads verbatim, whether or not they are JSON.

    ``source_name``: ``capture/venue/time of the first message/file name``; ``connection_id`` the same, from the second connection that
    the file opens on with ``#2`` and so on, and with ``#rest`` for what requests answered once a connection was opened.
    Raises ``QuantLakeError`` naming file and line, before any row: not UTF-8, of no known form, of no time; or not a whole gzip file.
    """
    raw = content(path)
    found = lines(decoded(raw, str(path)))
    if (wrong := found.filter(pl.col("form").is_null())).height:
        number, line = wrong.row(0)[:2]
        raise QuantLakeError(
            f"{path} line {number} is no line of a capture (time: payload, URL -> time: body, ...): {line[:80]!r}"
        )
    messages = found.filter(pl.col("form").is_in(["websocket", "rest"]))
    if not messages.height:
        return
    source = _source(path, "\n".join(found.filter(pl.col("form").is_in(["opened", "sent", "rest"]))["line"].head(1)))
    assert source is not None  # recognise() chose this file
    venue, version = exchanges.MODULES[source].VENUE, sha256(raw)
    source_name = f"capture/{venue}/{messages['at'][0].strftime('%Y%m%dT%H%M%S%fZ')}/{path.name.removesuffix('.gz')}"
    for part in messages.iter_slices(SLICE_ROWS):
        yield exchange_messages.raw, typed(exchange_messages.raw, _rows(part, source, source_name, version))


def lines(text: str) -> pl.DataFrame:
    """All lines of a capture: ``line_number``, ``line``, ``form`` (of ``FORMS``; null: none), ``at`` (its time), ``url``, and
    ``opened``, how many connections were until then. A websocket message's URL is that of the connection last opened.
    """
    line = pl.col("line")
    form = pl.coalesce(pl.when(line.str.contains(f"(?s){pattern}")).then(pl.lit(name)) for name, pattern in FORMS.items())
    opens = pl.col("form") == "opened"
    url = line.str.extract(r"^([A-Za-z]+://\S+) ")
    return (
        texts.lines(text)
        .to_frame()
        .with_row_index("line_number", offset=1)
        .with_columns(form=form)
        .with_columns(
            at=seconds(line.str.extract(rf"^(?:[A-Za-z]+://\S+ (?:<->|<-|->) )?({TIME})")),
            url=pl.when(pl.col("form") == "websocket").then(pl.when(opens).then(url).forward_fill()).otherwise(url),
            opened=opens.cum_sum(),
        )
        # A message without a time that can be is of no form.
        .with_columns(form=pl.when(pl.col("at").is_not_null() | pl.col("form").is_in(["configuration", "blank"])).then("form"))
    )


def _rows(messages: pl.DataFrame, source: str, source_name: str, version: str) -> pl.DataFrame:
    module = exchanges.MODULES[source]
    rest = pl.col("form") == "rest"
    # By the lines before it alone, so that a file that grows keeps what it had.
    which = (
        pl.when(rest & (pl.col("opened") > 0))
        .then(pl.lit("#rest"))
        .when(~rest & (pl.col("opened") > 1))
        .then(pl.format("#{}", "opened"))
    )
    payload = pl.col("line").str.extract(rf"(?s)^(?:[A-Za-z]+://\S+ -> )?{TIME}: (.*)$")
    asked = pl.col("url").str.extract(r"^[A-Za-z]+://[^/?]+(.*)$")
    return messages.with_columns(
        source=pl.lit(source),
        venue=pl.lit(module.VENUE),
        channel=pl.when(rest).then(asked).otherwise(module.channel(pl.when(~rest).then(payload))),
        payload=payload,
        transport="form",
        connection_id=pl.concat_str(pl.lit(source_name), which.fill_null("")),
        message_key=pl.format("{}:{}", pl.lit(source_name), "line_number"),
        receive_time="at",
        known_at="at",
        partition_date=pl.col("at").dt.date(),
        source_name=pl.lit(source_name),
        source_version=pl.lit(version),
        source_records=pl.lit(None, pl.Int64),
        line_number=pl.col("line_number").cast(pl.Int64),
    )


def _source(path: Path, head: str) -> str | None:
    if OTHER_VERSIONS.search(head):
        return None
    name = NAME.fullmatch(path.name)
    if name and name["venue"] in OF_NAME:
        return OF_NAME[name["venue"]]
    host = HOST.search(head)
    return OF_HOST.get(host[1].lower()) if host else None


def _head(path: Path) -> str:
    try:
        head = content(path, HEAD_BYTES)
    except QuantLakeError:  # a file that is cut is told of where its name says whose it is, when it is read
        head = b""
    return head.decode("utf-8", errors="replace")
