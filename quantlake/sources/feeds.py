"""RSS and Atom documents: one file is one feed at one moment, gzipped or not.

Here: both formats, as feedparser reads them. Not here: items kept as JSON (rss.py), what items become (articles.py), fetching (live).
The formats: https://www.rssboard.org/rss-specification, https://www.rfc-editor.org/rfc/rfc4287. Tickers are the texts of elements named
``tickers`` (Nasdaq) and ``symbol`` (Seeking Alpha), whatever their namespace.
"""

import io
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from quantlake.contract import QuantLakeError
from quantlake.sources.articles import Article, listed, publisher, require_offset, require_text, rfc822, sent
from quantlake.sources.importers import Importer, Read, Recognised, content, sha256

SUFFIXES = (".xml", ".rss", ".atom")
SNIFFED_BYTES = 1 << 16
ROOT = re.compile(rb"<\s*(?:[\w.-]+:)?(rss|feed|RDF)[\s>]")
HTML = re.compile(rb"<\s*(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
FILINGS = b"browse-edgar"  # in the head of EDGAR's own Atom feeds
NOT_A_FEED = "HTML page"


def recognise(path: Path) -> Recognised:
    """By name and content: ``.xml``, ``.rss`` or ``.atom``, maybe ``.gz``, whose root is that of a feed; EDGAR's filings are none of news."""
    if Path(path.name.lower().removesuffix(".gz")).suffix not in SUFFIXES:
        return None
    head = content(path, SNIFFED_BYTES)
    if HTML.search(head[:1024]):
        return NOT_A_FEED
    return Importer("RSS or Atom feed", read) if ROOT.search(head) and FILINGS not in head else None


def read(path: Path) -> Read:
    """The items of one feed file as ``articles.sent`` gives them, in file order.

    ``known_at`` is when an item says it was updated, else published. Raises ``QuantLakeError`` naming file and item, or line.
    """
    whole = content(path)
    yield from sent([_landed(found) for found in articles(whole, str(path))], path.name.split(".")[0], sha256(whole))


def articles(document: bytes, where: str, source: str | None = None) -> list[Article | QuantLakeError]:
    """The items of a feed in its order, each or why it is refused: without title, time or identity.

    ``source`` is the publisher where it is known, else an item's link or guid says. Raises ``QuantLakeError``: no feed, a broken or cut one.
    """
    import feedparser  # type: ignore[import-untyped]

    # as received: what is shown to people is cleaned in curated, what is a document stays what it was; bytes alone it takes for a path
    found = feedparser.parse(io.BytesIO(document), sanitize_html=False, resolve_relative_uris=False)
    if not found.get("version"):
        raise QuantLakeError(f"{where} is neither RSS nor Atom: it begins {document[:60]!r}; fetch it again")
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - no file is opened by it, and expat bounds what entities expand to
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise QuantLakeError(f"{where} is not whole XML: {error}; a cut file? Fetch it again") from error
    if found.bozo and not isinstance(found.bozo_exception, feedparser.CharacterEncodingOverride):
        raise QuantLakeError(f"{where} is a broken feed: {found.bozo_exception}; fetch it again")
    elements = [e for e in root.iter() if _name(e) in ("item", "entry")]
    if len(elements) != len(found.entries):
        raise QuantLakeError(f"{where} has {len(elements)} items, of which {len(found.entries)} are understood; it is no plain RSS or Atom")
    return [
        _read(entry, _tickers(element), source, f"{where} item {i}")
        for i, (entry, element) in enumerate(zip(found.entries, elements, strict=True), 1)
    ]


def _landed(found: Article | QuantLakeError) -> Article:
    if isinstance(found, QuantLakeError):
        raise found
    return found


def _read(entry: Any, tickers: list[str], source: str | None, where: str) -> Article | QuantLakeError:
    try:
        return _article(entry, tickers, source, where)
    except QuantLakeError as refused:
        return refused


def _article(entry: Any, tickers: list[str], source: str | None, where: str) -> Article:
    text = {name: require_text(entry.get(name), where, name) for name in ("id", "link", "title")}
    link, guid = text["link"] or None, text["id"] or text["link"]
    if not guid or not text["title"]:
        raise QuantLakeError(f"{where} has no {'title' if guid else 'guid and no link'}")
    published, updated = (_time(entry, name, where) for name in ("published", "updated"))
    first = published or updated
    if first is None:
        raise QuantLakeError(f"{where} says neither when it was published nor when it was updated")
    return {
        "source": source or publisher(link, guid, where),
        "guid": guid,
        "title": text["title"],
        "url": link,
        "body": _body(entry) or None,
        "tickers": tickers,
        "published_at": first,
        "known_at": max(first, updated or first),
    }


def _body(entry: Any) -> str:
    whole = next((part["value"] for part in entry.get("content", ()) if part.get("value")), "")
    return str(whole or entry.get("summary") or "")


def _time(entry: Any, name: str, where: str) -> datetime | None:
    """RSS has RFC 822, Atom RFC 3339."""
    text = dict(entry).get(name) or ""  # ``get`` would give the one for the other, with a warning
    try:
        return require_offset(datetime.fromisoformat(text), text, where, name) if text else None
    except (ValueError, OverflowError):
        return rfc822(text, where, name)


def _tickers(item: ElementTree.Element) -> list[str]:
    """All of them: of an element that is repeated feedparser keeps the last."""
    return [ticker for e in item.iter() if _name(e) in ("tickers", "symbol") for ticker in listed(e.text or "")]


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
