"""Databento DBN files, plain or compressed with zstd: trades, quotes and bars.

Here: which schemas there are importers for, where a file's rows belong, their symbols. Not here: bytes and records (dbn.py).

| schema | stream |
|---|---|
| trades | trades |
| tbbo | trades, and quotes: the book just before each trade, on the same ``line_number`` |
| mbp-1, bbo-1s, bbo-1m | quotes |
| ohlcv-1s, -1m, -1h, -1d | vendor_bars |

- ``venue`` is the dataset in lower case, dots replaced: ``xnas_itch``. US equities' partition is New York's date, GLBX's the CMES
  session, that of a daily bar (a UTC day) its own date; other datasets have no importer, since their session is not known.
- ``event_time_ns`` is ``ts_event``, or ``ts_recv`` where that is undefined; ``event_time`` is it, cut to microseconds.
- ``known_at`` and ``receive_time`` are ``ts_recv`` (bars have none: their end).
- ``side`` B is a buying aggressor, A a selling one, N unknown. An undefined price (2^63-1) is null, and so is the size beside it; a
  trade without a price is refused.
- ``trade_id`` is made of publisher, sequence and, from the second on, the number of the trade among those of this sequence, so that the
  trades of a ``trades`` and of a ``tbbo`` file of one day are the same trades; null where the sequence is 0.
- ``exchange`` is the publisher's id where the dataset consolidates several venues (DBEQ, EQUS), ``suspicious`` where the record's flags
  say that its book may be wrong, since messages were lost.
- ``symbol`` by the file's mappings of instrument ids, dated by UTC date of ``ts_recv``, of bars ``ts_event``; an id without a symbol on its date is refused.
- ``source_name`` is ``databento/<dataset>/<schema>/<first day>/<file name>``, lower case, without ``.zst``.

Format: https://databento.com/docs/standards-and-conventions/databento-binary-encoding, and the package ``databento-dbn``.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.market import common, quotes, trades, vendor_bars
from quantlake.sources import dbn
from quantlake.sources.clocks import UTC, cmes_sessions
from quantlake.sources.importers import Importer, Recognised, Rows, decimals, typed

NAMES = {"trades": "trades", "tbbo": "trades and quotes", "mbp-1": "quotes", "bbo-1s": "quotes", "bbo-1m": "quotes"}
BARS = {"ohlcv-1s": "1s", "ohlcv-1m": "1m", "ohlcv-1h": "1h", "ohlcv-1d": "1d"}
US_EQUITIES = (
    "ARCX", "BATS", "BATY", "DBEQ", "EDGA", "EDGX", "EPRL", "EQUS", "IEXG", "MEMX", "XASE", "XBOS", "XCHI", "XCIS", "XNAS", "XNYS", "XPSX",
)  # fmt: skip
CONSOLIDATED = ("DBEQ", "EQUS")
FUTURES = ("GLBX",)
SIDES = {b"B": "buy", b"A": "sell", b"N": "unknown"}
ROWS = 250_000  # of a table
PLACES = 9  # of a price


def recognise(path: Path) -> Recognised:
    """By content, whatever the file's name; raises ``QuantLakeError`` where its head cannot be read."""
    if not dbn.is_dbn(path):
        return None
    header = dbn.header(path)
    schema = header.schema or "of more than one schema"
    if schema not in NAMES and schema not in BARS:
        return f"Databento {schema}"
    if _publisher(header) not in (*US_EQUITIES, *FUTURES):
        return f"Databento {schema} of {header.dataset}, whose sessions are not known"
    return Importer(f"Databento {schema}", read)


def read(path: Path) -> Rows:
    """The records of one file in its order, typed as their streams; a record's number is its ``line_number``.

    Raises ``QuantLakeError`` naming file and record: a cut file, records of another schema, an id without a symbol, a trade without a
    price, a time that there is none of.
    """
    header, records = dbn.read(path)
    checked = _checked(header, records, path)
    for start in range(0, len(records), ROWS):
        part = slice(start, start + ROWS)
        same = checked[part].with_columns(
            source=pl.lit("databento"),
            venue=pl.lit(header.dataset.lower().replace(".", "_")),
            source_name=pl.lit(f"databento/{header.dataset}/{header.schema}/{header.first_day}/{path.name.removesuffix('.zst')}".lower()),
            source_version=pl.lit(header.version),
            line_number=pl.int_range(start + 1, start + len(checked[part]) + 1, dtype=pl.Int64),
            item_index=pl.lit(0, pl.Int64),
        )
        yield from _tables(header, records[part], same)


def _tables(header: dbn.Header, records: dbn.Records, same: pl.DataFrame) -> Iterator[tuple[Stream, pa.Table]]:
    if header.schema in BARS:
        yield vendor_bars.raw, typed(vendor_bars.raw, _with(same, _bars(records, BARS[header.schema])))
        return
    publisher = pl.Series(records["publisher_id"]).cast(pl.String)
    same = same.with_columns(
        size_unit=pl.lit("contracts" if _publisher(header) in FUTURES else "shares"),
        exchange=publisher if _publisher(header) in CONSOLIDATED else None,
        suspicious=pl.Series(records["flags"] & dbn.MAYBE_BAD_BOOK != 0),
        sequence=pl.Series(records["sequence"]).cast(pl.Int64),
    )
    if header.schema in ("trades", "tbbo"):
        yield trades.raw, typed(trades.raw, _with(same, _trades(records)))
    if header.schema != "trades":
        yield quotes.raw, typed(quotes.raw, _with(same, _quotes(records)))


def _with(same: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([same, own], how="horizontal")


def _trades(records: dbn.Records) -> pl.DataFrame:
    side = pl.Series(records["side"]).replace_strict(SIDES, default="unknown", return_dtype=pl.String)
    return pl.DataFrame({
        "price": _price(records["price"]), "size": decimals(pl.Series(records["size"])), "side": side,
    })  # fmt: skip


def _quotes(records: dbn.Records) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {}
    for side in ("bid", "ask"):
        price = _price(records[f"{side}_px_00"])
        columns[f"{side}_price"] = price
        columns[f"{side}_size"] = decimals(pl.Series(records[f"{side}_sz_00"])).set(price.is_null(), None)
    return pl.DataFrame(columns)


def _bars(records: dbn.Records, interval: str) -> pl.DataFrame:
    prices = {name: _price(records[name]) for name in ("open", "high", "low", "close")}
    return pl.DataFrame({**prices, "volume": decimals(pl.Series(records["volume"]))}).with_columns(
        interval=pl.lit(interval), price_type=pl.lit("trade"), is_final=pl.lit(True), adjustment=pl.lit("raw")
    )


def _price(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.Series:
    return decimals(pl.Series(values), shift=PLACES).set(pl.Series(values == dbn.UNDEFINED_PRICE), None)


def _checked(header: dbn.Header, records: dbn.Records, path: Path) -> pl.DataFrame:
    """Times, symbol and partition of each record; raises ``QuantLakeError`` naming the record that cannot be."""
    times = _times(header, records, path)
    if header.schema in ("trades", "tbbo"):
        for row in np.flatnonzero(records["price"] == dbn.UNDEFINED_PRICE)[:1]:
            raise QuantLakeError(f"{path} record {row + 1} is a trade without a price")
    found = times.with_columns(
        symbol=_symbols(header, records, times["known_at" if "receive_time" in times.columns else "event_time"], path),
        partition_date=_partition_dates(header, times["event_time"]),
    ).with_columns(source_records=pl.len().over("partition_date").cast(pl.Int64))
    return found.with_columns(trade_id=_trade_ids(records, found["symbol"])) if header.schema in ("trades", "tbbo") else found


def _trade_ids(records: dbn.Records, symbols: pl.Series) -> pl.Series:
    numbered = pl.DataFrame({"p": pl.Series(records["publisher_id"]), "s": pl.Series(records["sequence"]), "symbol": symbols})
    nth = pl.int_range(pl.len()).over("p", "s", "symbol")
    later = pl.when(nth > 0).then(pl.format(":{}", nth)).otherwise(pl.lit(""))
    return numbered.select(pl.when(pl.col("s") > 0).then(pl.format("{}:{}{}", "p", "s", later))).to_series()


def _times(header: dbn.Header, records: dbn.Records, path: Path) -> pl.DataFrame:
    undefined = records["ts_event"] == dbn.UNDEFINED_TIME
    received = records["ts_recv"] if "ts_recv" in (records.dtype.names or ()) else None
    ns = records["ts_event"] if received is None else np.where(undefined, received, records["ts_event"])
    for row in np.flatnonzero(ns >= dbn.LAST_TIME)[:1]:
        raise QuantLakeError(f"{path} record {row + 1}: {ns[row]} is no time in ns since 1970")
    event_time = _microseconds(ns)
    if received is None:
        end = event_time.dt.offset_by(BARS[header.schema])
        times = pl.DataFrame({"event_time": event_time, "bar_start": event_time, "known_at": end})
    else:
        receive_time = _microseconds(received)
        known_at = pl.select(pl.coalesce(receive_time, event_time)).to_series()
        times = pl.DataFrame({"event_time": event_time, "known_at": known_at, "receive_time": receive_time})
    source = pl.when(pl.Series(undefined)).then(pl.lit("receive")).otherwise(pl.lit("exchange"))
    return times.with_columns(event_time_ns=pl.Series(ns).cast(pl.Int64), event_time_source=source)


def _microseconds(ns: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> pl.Series:
    """Null where it is undefined."""
    there = ns < dbn.LAST_TIME
    return pl.Series(np.where(there, ns // 1_000, 0).astype(np.int64)).cast(UTC).set(~pl.Series(there), None)


def _partition_dates(header: dbn.Header, event_time: pl.Series) -> pl.Series:
    if header.schema == "ohlcv-1d":
        return event_time.dt.date()
    if _publisher(header) in FUTURES:
        return cmes_sessions(event_time)
    return event_time.dt.convert_time_zone(common.NEW_YORK).dt.date()


def _symbols(header: dbn.Header, records: dbn.Records, indexed_at: pl.Series, path: Path) -> pl.Series:
    """By instrument id and UTC date of the time that Databento indexes by: the mapping whose interval [first, end) has it."""
    ids = pl.DataFrame({"id": pl.Series(records["instrument_id"]).cast(pl.Int64), "day": indexed_at.dt.date()})
    known = ids.unique().join(header.symbols, on="id").filter(pl.col("day").is_between("first", "end", closed="left"))
    found = ids.join(known.unique(["id", "day"], keep="first"), on=["id", "day"], how="left", maintain_order="left")["symbol"]
    for row in found.is_null().arg_true().head(1):
        unmapped = ids.row(row)
        raise QuantLakeError(f"{path} record {row + 1}: its mappings have no symbol of instrument {unmapped[0]} on {unmapped[1]}")
    return found


def _publisher(header: dbn.Header) -> str:
    return header.dataset.split(".")[0]
