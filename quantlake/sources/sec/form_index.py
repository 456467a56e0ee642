"""EDGAR's form index: the filings of a day (or quarter) by form type, in columns of fixed width.

Here: that file. Not here: what a line is (datasets/reference/filing_index.py).
A heading names the columns and says where the company's name begins; CIK, date and path are the last three words of a line.
``source_name`` is ``sec/form_index/<file's name>``, ``line_number`` counts lines below the heading. Names are ISO-8859-1.
The format: https://www.sec.gov/Archives/edgar/daily-index/, https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data.
"""

import re

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import filing_index
from quantlake.sources.importers import Rows
from quantlake.sources.sec.documents import CIK_DIGITS, EdgarDocument, Records, tables

HEADING = re.compile(r"^Form Type +Company Name +CIK +Date Filed +File Name\s*$", re.MULTILINE)
RULE = re.compile(r"-+\s*")
LAST_WORDS = (
    r"^(?<name>.*?)\s+(?<cik>[0-9]{1,10})\s+(?<filed>[0-9]{4}-?[0-9]{2}-?[0-9]{2})\s+"
    r"(?<document>edgar/data/\S*?(?<accession>[0-9]{10}-[0-9]{2}-[0-9]{6})\S*)\s*$"
)
PRINTED = r"^([0-9]{4})-?([0-9]{2})-?([0-9]{2})$"


def rows(document: EdgarDocument) -> Rows:
    """The lines of an index, in its order. Raises ``QuantLakeError`` naming the line, before the first table."""
    text = document.content.decode("iso-8859-1")
    heading = HEADING.search(text)
    if heading is None:
        raise QuantLakeError(f"{document.where} has no heading `Form Type  Company Name  CIK  Date Filed  File Name`; a form index is expected")
    first = text.count("\n", 0, heading.end()) + 2
    below = text[heading.end() :].removeprefix("\n").split("\n")
    if RULE.fullmatch(below[0]):
        below, first = below[1:], first + 1
    printed = pl.Series("line", below, dtype=pl.String)
    printed = printed.head(len(printed) - _blank(printed))
    records = Records(document.where, "line", first)
    place = heading[0].index("Company Name")
    words = printed.str.slice(place).str.extract_groups(LAST_WORDS).struct.unnest()
    form = printed.str.slice(0, place).str.strip_chars()
    for row in (words["accession"].is_null() | (form == "")).arg_true().head(1):
        raise records.refused(row, "it", printed[row])
    found = words.select("document", "accession", pl.col("name").str.strip_chars(), pl.col("cik").str.zfill(CIK_DIGITS)).with_columns(
        records.date(words["filed"].str.replace(PRINTED, "$1-$2-$3")), form=form,
    )  # fmt: skip
    yield from tables(filing_index.raw, found, document, f"sec/form_index/{document.name}")


def _blank(lines: pl.Series) -> int:
    """How many lines at the end are blank."""
    return next((n for n, line in enumerate(reversed(lines.to_list())) if line.strip()), len(lines))
