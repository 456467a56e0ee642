"""Documents of the SEC's EDGAR: company facts, submissions, current filings, form indexes, company tickers.

Here: recognising a file and reading it. Each document's shape is its module's; what they share, documents.py's. Files may be gzip.
"""

import re
from collections.abc import Callable
from pathlib import Path

from quantlake.sources.importers import Importer, Recognised, Rows, content
from quantlake.sources.sec import companyfacts, current, form_index, submissions, tickers
from quantlake.sources.sec.documents import SUFFIX, EdgarDocument, opened

HEAD_BYTES = 1 << 16
HTML = re.compile(rb"\s*(<!DOCTYPE html|<html)", re.IGNORECASE)
KINDS: tuple[tuple[str, re.Pattern[bytes], Callable[[EdgarDocument], Rows]], ...] = (
    ("SEC company facts", re.compile(rb'\s*\{(?=.*?"cik"\s*:)(?=.*?"facts"\s*:\s*\{)', re.DOTALL), companyfacts.rows),
    ("SEC submissions", re.compile(rb'\s*\{.*?"accessionNumber"\s*:\s*\[', re.DOTALL), submissions.rows),
    ("SEC current filings", re.compile(rb"\s*<.*?<feed\b.*?action=getcurrent", re.DOTALL), current.rows),
    ("SEC company tickers", re.compile(rb'\s*\{\s*"[0-9]+"\s*:\s*\{[^{}]*"cik_str"\s*:'), tickers.rows),
    ("SEC form index", re.compile(rb".*?^Form Type +Company Name +CIK +Date Filed +File Name", re.DOTALL | re.MULTILINE), form_index.rows),
)
"""How each kind's head looks, and who reads it."""


def recognise(path: Path) -> Recognised:
    """By content. A page of HTML, as EDGAR answers when it is not available, is a kind without an importer."""
    if not SUFFIX.search(path.name):
        return None
    head = content(path, HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    if HTML.match(head):
        return "HTML page"
    return next((Importer(name, _reading(rows)) for name, looks, rows in KINDS if looks.match(head)), None)


def _reading(rows: Callable[[EdgarDocument], Rows]) -> Callable[[Path], Rows]:
    return lambda path: rows(opened(path))
