"""Small made SEC documents, as EDGAR writes them."""

import json
from pathlib import Path
from typing import Any

FACT = {"end": "2009-09-26", "val": 6.29, "accn": "0001193125-09-214859", "fy": 2009, "fp": "FY", "form": "10-K", "filed": "2009-10-27"}
FILING = {
    "accessionNumber": "0001193125-26-027207", "filingDate": "2026-01-28", "reportDate": "2025-12-31",
    "acceptanceDateTime": "2026-01-28T21:07:34.000Z", "form": "10-Q", "primaryDocument": "msft-20251231.htm", "items": "",
}  # fmt: skip
HEADING = "Form Type   Company Name                                                  CIK         Date Filed  File Name"
LINE = "8-K         APPLE & CO                                                    320193      20200318    edgar/data/320193/0001140361-20-006155.txt    "


def facts(path: Path, *listed: Any, cik: Any = 320193) -> Path:
    """Company facts of one concept."""
    units = {"EarningsPerShareDiluted": {"label": "EPS", "units": {"USD/shares": list(listed)}}}
    path.write_text(json.dumps({"cik": cik, "entityName": "Apple Inc.", "facts": {"us-gaap": units}}))
    return path


def columns(*filings: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [filing[name] for filing in filings] for name in FILING}


def submitted(path: Path, *filings: dict[str, Any], pages: tuple[str, ...] = ()) -> Path:
    """A company's submissions."""
    files = [{"name": name, "filingCount": 1} for name in pages]
    path.write_text(json.dumps({"cik": "0000789019", "name": "MICROSOFT CORP", "filings": {"recent": columns(*filings), "files": files}}))
    return path


def entry(
    title: str = "8-K - BJ&apos;S &amp; CO (HOLDING) (0000320193) (Filed by)", accession: str = "0001134657-25-000016", form: str = "8-K",
    updated: str = "2025-12-12T17:32:31-05:00", filed: str = "2025-12-12", items: tuple[str, ...] = ("8.01", "9.01"),
) -> str:  # fmt: skip
    listed = "".join(f"\n&lt;br&gt;Item {item}: Other" for item in items)
    return (
        f"<entry>\n<title>{title}</title>\n<summary type=\"html\">\n &lt;b&gt;Filed:&lt;/b&gt; {filed} &lt;b&gt;AccNo:&lt;/b&gt; {accession} "
        f"&lt;b&gt;Size:&lt;/b&gt; 11 KB{listed}\n</summary>\n<updated>{updated}</updated>\n"
        f'<category scheme="https://www.sec.gov/" label="form type" term="{form}"/>\n<id>urn:tag:sec.gov,2008:accession-number={accession}</id>\n</entry>\n'
    )


def page(*entries: str) -> bytes:
    """A page of the feed of current filings."""
    head = (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n<title>Latest Filings</title>\n'
        '<link rel="self" href="/cgi-bin/browse-edgar?action=getcurrent"/>\n<updated>2025-12-12T18:03:31-05:00</updated>\n'
    )
    return f"{head}{''.join(entries)}</feed>\n".encode("iso-8859-1")


def index(*lines: str) -> str:
    return "\n".join(["Description:           Daily Index of EDGAR Dissemination Feed by Form Type", " ", HEADING, "-" * 141, *lines])
