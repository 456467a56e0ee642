"""Company facts: every number of one company's XBRL filings, as EDGAR's JSON has them.

Here: that document. Not here: what a fact is (datasets/reference/fundamentals.py).
``cik``, ``entityName``, ``facts``: taxonomy -> concept -> ``units``: unit -> a list of facts, each with ``end``, ``val``, ``accn``,
``filed``; maybe ``start``, ``form``, ``fy``, ``fp``, ``frame``. ``source_name`` is ``sec/companyfacts/<cik>``, ``line_number`` the fact's.
The format: https://data.sec.gov/api/xbrl/companyfacts/CIK##########.json,
https://www.sec.gov/search-filings/edgar-application-programming-interfaces.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import fundamentals
from quantlake.sources.importers import Rows
from quantlake.sources.sec.documents import ACCESSION, SHOWN, EdgarDocument, Records, cik, parsed, tables

PLACE = ("taxonomy", "concept", "unit")
YEAR = r"^[0-9]{1,4}$"
Fact = tuple[str, str, str, dict[str, Any]]


def rows(document: EdgarDocument) -> Rows:
    """The facts of one company, in the document's order. Raises ``QuantLakeError`` naming the fact, before the first table."""
    said = parsed(document)
    if not isinstance(said, dict) or "cik" not in said or not isinstance(said.get("facts"), dict):
        raise QuantLakeError(f"{document.where} has no cik and facts; company facts of EDGAR are expected")
    company = cik(said["cik"], document.where)
    facts = list(_facts(said["facts"], document.where))
    records = Records(document.where, "fact")

    def column(name: str, pattern: str = "", *, needed: bool = False) -> pl.Series:
        return records.text(name, [fact.get(name) for *_, fact in facts], pattern, needed=needed)

    places = [records.text(name, [fact[i] for fact in facts]) for i, name in enumerate(PLACE)]
    dates = [records.date(column(name, needed=name != "start")) for name in ("start", "end", "filed")]
    found = pl.DataFrame([
        *places, *dates, records.number(column("val")).alias("value"), column("accn", ACCESSION, needed=True),
        column("fy", YEAR).cast(pl.Int64), *(column(name) for name in ("form", "fp", "frame")),
    ])  # fmt: skip
    yield from tables(fundamentals.raw, found.with_columns(cik=pl.lit(company)), document, f"sec/companyfacts/{company}")


def _facts(taxonomies: dict[str, Any], where: str) -> Iterator[Fact]:
    for taxonomy, concepts in taxonomies.items():
        for concept, described in _entries(concepts, f"{where}: {taxonomy}"):
            place = f"{where}: {taxonomy}/{concept}"
            for unit, listed in _entries(described.get("units") if isinstance(described, dict) else None, place):
                if not isinstance(listed, list):
                    raise QuantLakeError(f"{place}/{unit} is {str(listed)[:SHOWN]!r}, not a list of facts")
                for number, fact in enumerate(listed, 1):
                    if not isinstance(fact, dict):
                        raise QuantLakeError(f"{place}/{unit} fact {number} is {str(fact)[:SHOWN]!r}, not an object")
                    yield taxonomy, concept, unit, fact


def _entries(found: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(found, dict):
        raise QuantLakeError(f"{where} is {str(found)[:SHOWN]!r}, not an object")
    yield from found.items()
