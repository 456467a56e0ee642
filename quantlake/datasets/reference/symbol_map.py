"""Symbols and the instruments they meant, from which day to which.

Here: validity of a symbol, and the instrument of rows as of their own day. Not here: formats, or what an instrument is.
A ticker is no identity: GOOG was Alphabet's class A until 2014-04-02 and is its class C since; TWX was AOL until 2003.
"""

from datetime import date

import polars as pl

from quantlake.contract import Column, Date, Input, Rows, Stream, Table, Text
from quantlake.datasets.reference import common

OF = ("source", "venue", "symbol")
COLUMNS = (
    common.SOURCE,
    Column("venue", Text, "Exchange, market or consolidated tape, lower case."),
    Column("symbol", Text, "As the source prints it."),
    Column("valid_from", Date, "First local date on which it meant the instrument."),
    Column("valid_to", Date, "First local date on which it no longer did (exclusive); null: no end is known.", null=True),
    Column("instrument_id", Text, "The instrument."),
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="That a symbol meant an instrument from a date on; said again, with its end, once it has ended.",
    owner="reference-data",
    topic="reference.symbol_map.v1",
    message_key="symbol",
    files="complete",
    storage_partition="year",
    columns=COLUMNS,
    key=(*OF, "valid_from"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    return common.completed(rows, common.midnight("valid_from", "UTC"))


stands = pl.col("superseded_at").is_null()
end = pl.when(stands).then(pl.col("valid_to").fill_null(date.max)).otherwise(date.min)
earlier_end = end.cum_max().shift().over("partition_date", *OF, order_by="valid_from")

symbols = Table(
    __name__,
    of=raw,
    doc="What a symbol meant, and when: what ends it is a later version, so that no one knew a change before it came.",
    owner="reference-data",
    key=(*OF, "valid_from"),
    versions="across",
    sort_by=(*OF, "valid_from", "known_at"),
    storage_partition="year",
    columns=COLUMNS,
    checks=(
        Rows("validity", pl.col("valid_from") >= pl.col("valid_to"), "that end before they begin", (*OF, "valid_from", "valid_to")),
        Rows("overlapping_symbol_map", stands & (pl.col("valid_from") < earlier_end), "valid while an earlier one is", (*OF, "valid_from", "instrument_id")),
    ),
)


LOOKED_UP = Input(symbols, None, None, since="valid_from", until="valid_to", versions=True)
"""How a dataset reads the whole map, to name the instruments of its rows."""


def with_instruments(rows: pl.LazyFrame, mapped: pl.LazyFrame, day: str = "partition_date") -> pl.LazyFrame:
    """``rows`` (``source``, ``venue``, ``symbol``, ``known_at``) in their order, with ``instrument_id`` as of each one's local ``day``.

    Null where nothing is mapped. ``mapped``: this table's rows, all versions with ``superseded_at``. A row whose mapping became known, or
    another, after the row itself is there once for each: with the instrument as it was known at first, and again from when it changed.
    """
    frame = rows.drop("instrument_id", strict=False).collect()
    if not frame.height:
        return frame.with_columns(instrument_id=pl.lit(None, pl.String)).lazy()
    place = [*OF, day]
    steps = _steps(frame.select(place).unique(), mapped, day)
    from_when = frame.group_by(place).agg(_least=pl.col("known_at").min())
    known = steps.join(from_when, on=place).with_columns(early=pl.col("at") <= pl.col("_least"))
    if known["early"].all():
        settled = known.group_by(place).agg(pl.col("instrument_id").sort_by("at").last())
        return frame.join(settled, on=place, how="left", maintain_order="left").lazy()
    numbered = frame.with_row_index("_row")
    changes = numbered.select("_row", *place, "known_at").join(steps, on=place).sort("_row", "at")
    at_first = changes.filter(pl.col("at") <= pl.col("known_at")).group_by("_row").agg(pl.col("instrument_id").last())
    later = changes.filter(pl.col("at") > pl.col("known_at")).select("_row", "instrument_id", known_at="at")
    once = numbered.join(at_first, on="_row", how="left")
    again = numbered.drop("known_at").join(later, on="_row").select(once.columns)
    return pl.concat([once, again]).sort("_row", "known_at", maintain_order=True).drop("_row").lazy()


def _steps(names: pl.DataFrame, mapped: pl.LazyFrame, day: str) -> pl.DataFrame:
    """Since when (``at``) each of ``names`` was known to mean an instrument on its day; null: no longer. Of two at once the later begun."""
    place = [*OF, day]
    valid = (pl.col("valid_from") <= pl.col(day)) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.col(day)))
    terms = mapped.select(*OF, "valid_from", "valid_to", "instrument_id", "known_at", "superseded_at")
    found = names.lazy().join(terms, on=list(OF)).filter(valid).collect()
    times = pl.concat([found.select(*place, at=c) for c in ("known_at", "superseded_at")]).filter(pl.col("at").is_not_null()).unique()
    then = (pl.col("known_at") <= pl.col("at")) & (pl.col("superseded_at").is_null() | (pl.col("superseded_at") > pl.col("at")))
    known = times.join(found, on=place).filter(then).group_by(*place, "at").agg(pl.col("instrument_id").sort_by("valid_from").last())
    return times.join(known, on=[*place, "at"], how="left")


def with_their_instruments(rows: pl.LazyFrame, *of: pl.LazyFrame) -> pl.LazyFrame:
    """``rows`` (``venue``, ``symbol``) of a date with the ``instrument_id`` of the date's rows that they were made of; the first that has one."""
    found = pl.concat([o.select("venue", "symbol", "instrument_id") for o in of], how="vertical_relaxed").filter(pl.col("instrument_id").is_not_null())
    names = found.unique(["venue", "symbol"], keep="first", maintain_order=True)
    return rows.drop("instrument_id", strict=False).join(names, on=["venue", "symbol"], how="left", maintain_order="left")
