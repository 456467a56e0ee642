"""Symbols that mean two instruments at once: of each date the contradictions that it brought. There must be none.

Here: validities that overlap over all partitions of the map, as known when the later of the two was. Not here: the map itself, which
sees a date's own rows only.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Date, Derived, Input, Rows, Text
from quantlake.datasets.reference import common, symbol_map

TERMS = ("valid_from", "valid_to", "instrument_id")
MAPPED = {column.name: column for column in symbol_map.COLUMNS}

overlaps = Derived(
    __name__,
    of=(Input(symbol_map.symbols, versions=True), Input(symbol_map.symbols, None, 0, versions=True, makes="none")),
    many=True,
    doc="A mapping of a symbol and another one of it, both valid on some day.",
    owner="reference-data",
    key=(*symbol_map.OF, "valid_from", "other_valid_from"),
    storage_partition="year",
    columns=(
        *(MAPPED[name] for name in (*symbol_map.OF, *TERMS)),
        Column("other_valid_from", Date, "First local date of the other."),
        Column("other_valid_to", Date, "The other's end (exclusive); null: none is known.", null=True),
        Column("other_instrument_id", Text, "What it means by the other; maybe the same."),
        common.KNOWN_AT,
        PARTITION_DATE,
    ),
    checks=(
        Rows("overlapping_symbol_map", pl.col("symbol").is_not_null(), "valid while another one of the symbol is", (*symbol_map.OF, "valid_from", "other_valid_from")),
    ),
)  # fmt: skip


@overlaps.build
def build(brought: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    rows = brought.select(*symbol_map.OF, *TERMS, "known_at", "superseded_at", "partition_date")
    others = mapped.select(*symbol_map.OF, *(pl.col(c).alias(f"other_{c}") for c in (*TERMS, "known_at", "superseded_at")))
    pairs = rows.filter(_known("superseded_at")).join(others, on=list(symbol_map.OF)).filter(pl.col("valid_from") != pl.col("other_valid_from"))
    both = pairs.filter(pl.col("other_known_at") <= pl.col("known_at"), _known("other_superseded_at"))
    return both.filter(_before("valid_from", "other_valid_to"), _before("other_valid_from", "valid_to"))


def _known(superseded_at: str) -> pl.Expr:
    """Whether a version still held when the row became known."""
    return pl.col(superseded_at).is_null() | (pl.col(superseded_at) > pl.col("known_at"))


def _before(start: str, end: str) -> pl.Expr:
    return pl.col(end).is_null() | (pl.col(start) < pl.col(end))
