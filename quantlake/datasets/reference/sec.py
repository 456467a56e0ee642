"""What the tables of SEC filings share: columns, and when something filed could first be known.

Here: how a company, a filing and their times are written. Not here: datasets, formats (quantlake/sources/sec).
EDGAR's accession numbers and CIKs: https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data.
"""

import polars as pl

from quantlake.contract import Column, Date, Text, Timestamp
from quantlake.datasets.reference import common

SOURCE = Column("source", Text, "Who published it: `sec`.", provenance=True)
CIK = Column("cik", Text, "Central Index Key of a company or person: ten digits, zeros first, as text.")
ACCESSION = Column("accession", Text, "EDGAR's number of the filing: `0001193125-26-027232`.")
FORM = Column("form", Text, "Form type as EDGAR prints it: `10-K`, `8-K/A`, `4`.")
FILED = Column("filed", Date, "Filing date, New York's: of what is accepted after 17:30 mostly the next business day.")
ACCEPTED_AT = Column("accepted_at", Timestamp, "When EDGAR accepted it, UTC; null where the source does not say.", null=True)
KNOWN_AT = Column("known_at", Timestamp, "When it could first be known, UTC: its acceptance, else 00:00 New York on the day after `filed`.")


def day_after(filed: str) -> pl.Expr:
    """00:00 New York on the day after a date: when what was filed on it could be known at the latest. As UTC."""
    return common.midnight(pl.col(filed).dt.offset_by("1d"))


def known(accepted_at: str, filed: str) -> list[pl.Expr]:
    """``known_at`` and ``known_at_precision`` of a filing, from its acceptance where that is known."""
    exact = pl.col(accepted_at).is_not_null()
    return [
        pl.coalesce(accepted_at, day_after(filed)).alias("known_at"),
        pl.when(exact).then(pl.lit("exact")).otherwise(pl.lit("day")).alias("known_at_precision"),
    ]
