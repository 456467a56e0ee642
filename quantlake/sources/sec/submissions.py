"""Submissions: the filings that name one company, as EDGAR's JSON lists them.

Here: a company's document, whose ``filings.recent`` is a list a column, and the bare columns of its older pages. Not here: what a filing
is (datasets/reference/filings.py). An older page does not say whose it is but in its name: ``CIK0001318605-submissions-001.json``.
``acceptanceDateTime`` is UTC as its ``Z`` says. ``source_name`` is ``sec/submissions/<document's name>``, ``line_number`` the filing's.
The format: https://data.sec.gov/submissions/CIK##########.json,
https://www.sec.gov/search-filings/edgar-application-programming-interfaces.
"""

import re
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import filings
from quantlake.sources.importers import Rows
from quantlake.sources.sec.documents import ACCESSION, SHOWN, EdgarDocument, Records, cik, parsed, tables

COLUMNS = ("accessionNumber", "filingDate", "reportDate", "acceptanceDateTime", "form", "primaryDocument", "items")
NEEDED = ("accessionNumber", "filingDate", "form")
PAGE = re.compile(r"CIK(?P<cik>[0-9]{10})-submissions-[0-9]+")


def rows(document: EdgarDocument) -> Rows:
    """The filings of one document, in its order. Raises ``QuantLakeError`` naming the filing, before the first table."""
    yield from _rows(document, _whole(document))


def pages(document: EdgarDocument) -> list[str]:
    """The names of the older pages of a company's document. Raises ``QuantLakeError`` where they cannot be found in it."""
    listed = _filings(_whole(document)).get("files", [])
    found = [str(page.get("name")) for page in listed if isinstance(page, dict)] if isinstance(listed, list) else []
    if not isinstance(listed, list) or len(found) < len(listed) or not all(PAGE.fullmatch(name.removesuffix(".json")) for name in found):
        raise QuantLakeError(f"{document.where}: filings.files names no page in {str(listed)[:SHOWN]!r}")
    return found


def _rows(document: EdgarDocument, said: dict[str, Any]) -> Rows:
    columns, company, entity = _columns(document, said)
    records = Records(document.where, "filing")
    texts = {name: records.text(name, columns[name], ACCESSION if name == "accessionNumber" else "", needed=name in NEEDED) for name in COLUMNS}
    found = pl.DataFrame({
        "accession": texts["accessionNumber"],
        "form": texts["form"],
        "filed": records.date(texts["filingDate"]),
        "accepted_at": records.time(texts["acceptanceDateTime"]),
        "report_date": records.date(texts["reportDate"]),
        "primary_document": texts["primaryDocument"],
        "items": texts["items"],
    }).with_columns(cik=pl.lit(company), name=pl.lit(entity, pl.String))
    yield from tables(filings.raw, found, document, f"sec/submissions/{document.name}")


def _whole(document: EdgarDocument) -> dict[str, Any]:
    said = parsed(document)
    if not isinstance(said, dict):
        raise QuantLakeError(f"{document.where} is {str(said)[:SHOWN]!r}; submissions of EDGAR are expected")
    return said


def _filings(said: dict[str, Any]) -> dict[str, Any]:
    found = said.get("filings")
    return found if isinstance(found, dict) else {}


def _columns(document: EdgarDocument, said: dict[str, Any]) -> tuple[dict[str, list[Any]], str, str | None]:
    """The columns, whose filings they are, and by what name."""
    recent = _filings(said).get("recent") if "filings" in said else said
    if not isinstance(recent, dict):
        raise QuantLakeError(f"{document.where}: filings.recent is {str(recent)[:SHOWN]!r}, not an object of columns")
    for name in COLUMNS:
        if not isinstance(recent.get(name), list):
            raise QuantLakeError(f"{document.where}: the column {name} is {str(recent.get(name))[:SHOWN]!r}, not a list")
    lengths = {name: len(values) for name, values in recent.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        raise QuantLakeError(f"{document.where}: its columns have different lengths: {lengths}; fetch it again")
    named = PAGE.fullmatch(document.name)
    if "cik" not in said and not named:
        raise QuantLakeError(f"{document.where} does not say whose filings it has; name it as EDGAR does: CIK0001318605-submissions-001.json")
    entity = said.get("name")
    if not isinstance(entity, str | None):
        raise QuantLakeError(f"{document.where}: name is {str(entity)[:SHOWN]!r}, not text")
    return recent, cik(said["cik"], document.where) if "cik" in said else str(named and named["cik"]), entity
