"""What the tables of market data share: columns, clocks of venues, and flags.

Here: the columns every curated row of a market has, which date a print belongs to, what is odd about a row. Not here: datasets.
"""

from collections.abc import Mapping
from datetime import time

import polars as pl

from quantlake.contract import Column, Integer, Rows, Sessions, Text, TextList, Timestamp

CONSOLIDATED_US = "usa"  # the consolidated tape, whose day is New York's
NEW_YORK = "America/New_York"
US_FUTURES = ("comex", "cme", "nymex", "cbot", "glbx_mdp3")  # their day is the CME's session, their prices may be negative
XNYS = Sessions("XNYS", NEW_YORK, opens=time(9, 30), due=time(22, 0))

SOURCE = Column("source", Text, "Who sent or kept it: `lean`, `databento`, `binance`; null before this column was kept.", null=True, provenance=True)
EVENT_TIME_NS = Column("event_time_ns", Integer, "The event's time in ns since 1970, where the source has nanoseconds.", null=True)
EVENT_TIME_SOURCE = Column(
    "event_time_source", Text, "Whose clock `event_time` is.", null=True, allowed=("exchange", "receive", "file"), provenance=True
)
RECEIVE_TIME = Column("receive_time", Timestamp, "When we received it, UTC; null where a file does not say.", null=True, provenance=True)
ITEM_INDEX = Column("item_index", Integer, "Number of the item in its record, from 0.", null=True, provenance=True)
INSTRUMENT_ID = Column("instrument_id", Text, "Ours, as of the row's time; null until it is mapped.", null=True)

AT_SOURCE = (SOURCE, EVENT_TIME_NS, EVENT_TIME_SOURCE, RECEIVE_TIME, ITEM_INDEX)
"""What raw rows have beside ``SOURCE_COLUMNS``."""

SIZE_UNITS = ("base", "shares", "contracts")
SIZE_UNIT = Column("size_unit", Text, "What sizes count: base currency, shares or contracts.", null=True, allowed=SIZE_UNITS)


def flags(meaning: str) -> Column:
    """The column ``flags``, with what each of its words means. They follow from the rest, and from when and beside what a row came, so
    that of two copies of an event the first one stays."""
    return Column("flags", TextList, f"What is odd about it: {meaning}.", provenance=True)


def session_date() -> pl.Expr:
    """The date of a print by its ``venue`` and ``event_time``: New York's for the US tape, UTC's elsewhere."""
    new_york = pl.col("event_time").dt.convert_time_zone(NEW_YORK).dt.date()
    return pl.when(pl.col("venue") == CONSOLIDATED_US).then(new_york).otherwise(pl.col("event_time").dt.date())


def out_of_order() -> pl.Expr:
    """Whether an earlier record of the same symbol in the same file or connection has a later time; of rows in order of arrival."""
    return pl.col("event_time") < pl.col("event_time").cum_max().shift().over("source_name", "source_version", "symbol")


CLOCK = Rows(
    "clock", pl.col("flags").list.contains("clock_skew"), "known over 1 s before it happened", ("event_time", "known_at"), blocking=False
)
IN_ORDER = Rows(
    "in_order", pl.col("flags").list.contains("out_of_order"), "after a later one of its file or connection", ("symbol", "event_time"),
    blocking=False,
)  # fmt: skip


def flagged(odd: Mapping[str, pl.Expr]) -> pl.Expr:
    """The words whose expression is true, as a list; ``clock_skew`` is always looked for."""
    skew = pl.col("event_time") - pl.col("known_at") > pl.duration(seconds=1)
    words = [pl.when(condition).then(pl.lit(word)) for word, condition in {**odd, "clock_skew": skew}.items()]
    return pl.concat_list(words).list.drop_nulls()


def first_item() -> pl.Expr:
    """``item_index``, 0 where nothing is said: rows sent before the column was kept are the same rows."""
    return pl.col("item_index").fill_null(0)
