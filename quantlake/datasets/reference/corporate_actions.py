"""Corporate actions: dividends, splits, changes of symbol, delistings, mergers, spin-offs.

Here: what an action is, and which of the sources' events are one. Not here: formats; adjusting prices.
"""

import polars as pl

from quantlake.contract import Column, Date, Price, Rows, Size, Stream, Table, Text
from quantlake.datasets.reference import common

TYPES = ("dividend", "split", "symbol_change", "delisting", "merger", "spinoff")
TYPE = "What it is; of raw null where the source's event is none of these."
EX_DATE = "First local date without it: without the dividend, at the new number of shares, under the new symbol, no longer listed."
TERMS = (
    Column("announced", Date, "Date of its announcement.", null=True),
    Column("record_date", Date, "Who holds it then takes part.", null=True),
    Column("pay_date", Date, "When it is paid.", null=True),
    Column("ratio", Size, "New shares for an old one, as exact as the source's numbers.", null=True, above=0),
    Column("amount", Price, "Cash for a share as it stood before the ex-date.", null=True),
    Column("currency", Text, "Of `amount`, ISO 4217.", null=True),
    Column("source_event_id", Text, "The source's own id of the event; null: it has none.", null=True),
    Column("status", Text, "`active`, `cancelled` or `deleted`.", null=True, allowed=("active", "cancelled", "deleted")),
    Column("event", Text, "The source's own word for the event.", null=True, provenance=True),
    *common.TIMES,
)
SUBJECT = (
    common.SOURCE,
    Column("instrument_id", Text, "Whose."),
    Column("symbol", Text, "Its symbol on the ex-date, as the source prints it.", null=True),
)

raw = Stream(
    __name__,
    doc="An event of an instrument as one source has it.",
    owner="reference-data",
    topic="reference.corporate_actions.v1",
    message_key="instrument_id",
    files="complete",
    storage_partition="year",
    columns=(*SUBJECT, Column("type", Text, TYPE, null=True, allowed=TYPES), Column("ex_date", Date, EX_DATE, null=True), *TERMS),
    key=("source", "source_event_id"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    return common.completed(rows, common.midnight("ex_date", "UTC").fill_null(pl.col("known_at")))


active = pl.col("status") == "active"
actions = Table(
    __name__,
    of=raw,
    doc="A corporate action: a correction or a cancellation is a later version. Events that are no such action stay in raw.",
    owner="reference-data",
    key=("source", "source_event_id"),
    fallback_key=("source", "instrument_id", "type", "ex_date"),
    versions="across",
    sort_by=("instrument_id", "ex_date", "type", "known_at"),
    storage_partition="year",
    columns=(*SUBJECT, Column("type", Text, TYPE, allowed=TYPES), Column("ex_date", Date, EX_DATE), *TERMS),
    checks=(
        Rows("split_ratio", active & (pl.col("type") == "split") & pl.col("ratio").is_null(), "splits without a ratio", ("instrument_id", "ex_date")),
        Rows(
            "dividend_amount", active & (pl.col("type") == "dividend") & pl.col("amount").is_null(), "dividends without an amount",
            ("instrument_id", "ex_date"), blocking=False,
        ),
    ),
)  # fmt: skip


@actions.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return received.filter(pl.col("type").is_not_null())
