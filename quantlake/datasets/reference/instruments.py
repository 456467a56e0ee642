"""Instruments: what can be traded, and the terms of its contract.

Here: an instrument's identity and terms. Not here: its symbols (symbol_map.py), formats.

``instrument_id`` is
- of a US equity that LEAN knows LEAN's security id, the first ticker and a code of the first date: `GOOG T1AZ164W5VTX`;
- of what else is in LEAN's symbol properties `<market>:<symbol>` (`coinbase:BTCUSD`), of a perpetual future and an option
  `<market>/<asset class>:<symbol>` (`binance/crypto_future:BTCUSDT`), since these share symbols with what lies under them;
- of Databento's security master `databento:<security_id>`. ``isin``, ``figi`` and ``cik`` tie it to others' ids.

Of a future or an option on one, it is the product; contracts and their expiry are no part of these files.
"""

import polars as pl

from quantlake.contract import Boolean, Column, Date, Integer, Size, Stream, Table, Text
from quantlake.datasets.reference import common

ASSET_CLASSES = (
    "equity", "index", "forex", "cfd", "crypto", "crypto_future", "future", "future_option", "option", "index_option",
)  # fmt: skip
DEFAULTS = ":[*]"  # the terms of all symbols of a market and asset class that have none of their own
TERMS = (
    Column("asset_class", Text, "Kind.", null=True, allowed=ASSET_CLASSES),
    Column("name", Text, "As the source names it.", null=True),
    Column("currency", Text, "Of its prices, ISO 4217 or a coin's ticker.", null=True),
    Column("multiplier", Size, "Units of the underlying in one contract; 1 for a share.", null=True, above=0),
    Column("inverse", Boolean, "Whether it is quoted in one currency and settled in the other.", null=True),
    Column("settle_currency", Text, "In what it is settled, where that is not `currency`.", null=True),
    Column("tick_size", Size, "Least step of its price.", null=True, above=0),
    Column("lot_size", Size, "Least step of an order's size.", null=True, above=0),
    Column("expiry", Date, "Last day of a contract that expires.", null=True),
    Column("decimals", Integer, "Decimal places of its price.", null=True, minimum=0),
    Column("listed", Date, "First day of trading.", null=True),
    Column("delisted", Date, "Last day of trading.", null=True),
    Column("figi", Text, "FIGI, of the listing or the composite as the source says.", null=True),
    Column("isin", Text, "ISIN.", null=True),
    Column("cik", Text, "SEC's number of its issuer, ten digits.", null=True),
)
COLUMNS = (
    Column("instrument_id", Text, "Ours."),
    *TERMS,
    Column("source", Text, "Who said it.", null=True, provenance=True),
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="An instrument's terms as one source has them.",
    owner="reference-data",
    topic="reference.instruments.v1",
    message_key="instrument_id",
    files="complete",
    storage_partition="year",
    columns=COLUMNS,
    key=("instrument_id",),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    return common.completed(rows, pl.col("known_at"))


instruments = Table(
    __name__,
    of=raw,
    doc="An instrument: sources that speak of one day fold, each filling what the others leave open. A market's defaults stay in raw.",
    owner="reference-data",
    key=("instrument_id",),
    versions="across",
    sort_by=("instrument_id", "known_at"),
    storage_partition="year",
    columns=COLUMNS,
)


@instruments.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    of_instruments = received.filter(~pl.col("instrument_id").str.ends_with(DEFAULTS))
    return of_instruments.with_columns(pl.col(c.name).forward_fill().over("partition_date", "instrument_id") for c in TERMS)
