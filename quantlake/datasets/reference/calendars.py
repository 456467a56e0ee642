"""Sessions of exchanges: when each opens and closes.

Here: what a session is, and when it was known. Not here: where sessions come from; which rows are due on one (contract/sessions.py).

A calendar is assumed known one year ahead. A closure that no one planned was known then as an ordinary session, and becomes known as closed
on the day itself: a second version of its key, ``is_closed``, so that the table shows exactly the sessions there were, and as known the
week before also those that did not take place.
"""

import polars as pl

from quantlake.contract import Boolean, Column, Date, Rows, Stream, Table, Text, Timestamp
from quantlake.datasets.reference import common

COLUMNS = (
    Column("calendar", Text, "As `exchange_calendars` calls it: `XNYS`, `CMES`, `24/7`."),
    Column("session", Date, "The session's date, local."),
    Column("open", Timestamp, "Start of trading, UTC; of CMES on the evening before. Of a closed session as it had been planned."),
    Column("close", Timestamp, "End of trading, UTC."),
    Column("break_start", Timestamp, "Start of the lunch break, UTC; null: none.", null=True),
    Column("break_end", Timestamp, "End of the lunch break, UTC.", null=True),
    Column("is_half_day", Boolean, "Whether it closes earlier or opens later than its ordinary ones; null: not known.", null=True),
    Column("is_closed", Boolean, "Whether there was none after all."),
    Column("source", Text, "Who said it.", null=True, provenance=True),
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="A session as planned, or that it was closed.",
    owner="reference-data",
    topic="reference.calendars.v1",
    message_key="calendar",
    files="complete",
    storage_partition="year",
    columns=COLUMNS,
    key=("calendar", "session"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    return common.completed(rows.with_columns(pl.col("is_closed").fill_null(False)), pl.col("open"))


calendars = Table(
    __name__,
    of=raw,
    doc="A session of an exchange.",
    owner="reference-data",
    key=("calendar", "session"),
    versions="across",
    ended_by="is_closed",
    sort_by=("calendar", "session", "known_at"),
    storage_partition="year",
    columns=COLUMNS,
    checks=(
        Rows("opens_before_it_closes", pl.col("open") >= pl.col("close"), "that open when they close, or after it", ("calendar", "session", "open", "close")),
        Rows(
            "break_within", (pl.col("break_start") >= pl.col("break_end")) | (pl.col("break_start") <= pl.col("open")) | (pl.col("break_end") >= pl.col("close"))
            | (pl.col("break_start").is_null() != pl.col("break_end").is_null()), "whose break does not lie within them", ("calendar", "session"),
        ),
    ),
)  # fmt: skip
