"""Current filings: EDGAR's Atom feed of what was accepted last, a page at a time.

Here: a page. Not here: paging (live/edgar.py), what a filing is (datasets/reference/filings.py).
An entry is one party of one filing: ``title`` = ``4 - GAP Coinvestments V, LLC (0001793941) (Reporting)``, ``id`` ends in the accession
number, ``updated`` is its acceptance with an offset, ``category`` its form; the summary has the filing date and the items. Pages
are ISO-8859-1. ``source_name`` is ``sec/current/<page's name>``, ``line_number`` the entry's.
The feed: https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent&output=atom, https://www.rfc-editor.org/rfc/rfc4287.
"""

import io

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import filings
from quantlake.sources.importers import Rows
from quantlake.sources.sec.documents import ACCESSION, CIK_DIGITS, EdgarDocument, Records, tables

TITLE = rf"^.+? - (?<name>.*) \((?<cik>[0-9]{{{CIK_DIGITS}}})\) \((?<role>[^()]+)\)$"
FILED = r"<b>Filed:</b>\s*([0-9-]+)"
ITEM = r">\s*Item ([^\s:]+):"
ACCESSION_ID = r"^urn:tag:sec\.gov,2008:accession-number=([0-9-]+)$"


def rows(document: EdgarDocument) -> Rows:
    """The entries of a page, in its order. An entry whose title names no party has none.

    Raises ``QuantLakeError`` where it is not a whole Atom feed, or naming the entry, before the first table.
    """
    entries = _entries(document)
    records = Records(document.where, "entry")

    def column(name: str) -> pl.Series:
        # feedparser's own ``get`` puts ``published`` for an ``updated`` that is not there
        return records.text(name, [dict.get(entry, name) for entry in entries])

    summary = column("summary")
    party = column("title").str.extract_groups(TITLE).struct.unnest()
    ids = column("id")
    accession = pl.select(pl.coalesce(ids.str.extract(ACCESSION_ID), ids)).to_series()
    filed = pl.select(pl.coalesce(summary.str.extract(FILED), summary)).to_series()
    items = summary.str.extract_all(ITEM).list.eval(pl.element().str.extract(ITEM)).list.join(",")
    found = pl.DataFrame({
        "accession": records.text("id", accession.to_list(), ACCESSION, needed=True),
        "form": records.text("category", [_form(entry) for entry in entries], needed=True),
        "filed": records.date(records.text("summary", filed.to_list(), needed=True)),
        "accepted_at": records.time(records.text("updated", column("updated").to_list(), needed=True)),
        "items": pl.select(pl.when(items != "").then(items)).to_series(),
    }).with_columns(party["cik"], party["name"], party["role"].str.to_lowercase())
    yield from tables(filings.raw, found, document, f"sec/current/{document.name}")


def _entries(document: EdgarDocument) -> list[dict[str, object]]:
    import feedparser  # type: ignore[import-untyped]

    try:
        feed = feedparser.parse(io.BytesIO(document.content), sanitize_html=False, resolve_relative_uris=False)
        broken = feed.get("bozo_exception") or (None if feed.get("version", "").startswith("atom") else "another kind of document")
    except Exception as error:  # whatever its parsers and codecs raise over hostile bytes
        broken = error
    if broken:
        raise QuantLakeError(f"{document.where} is not a whole Atom feed ({' '.join(str(broken).split())}); fetch it again")
    return list(feed.entries)


def _form(entry: dict[str, object]) -> object:
    tags = entry.get("tags")
    return tags[0].get("term") if isinstance(tags, list) and tags else None
