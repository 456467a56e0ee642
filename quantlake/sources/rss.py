"""RSS items kept as a JSON array: one file is one feed at one moment. Comments and trailing commas are allowed (JSONC).

Here: that format, and who published an item. Not here: fetching feeds, Atom, cleaning of text (datasets/alt/news.py).
An item has ``title``, ``pubDate`` (RFC 822, any offset), ``guid`` or ``link``; ``description``, ``tickers`` and ``symbol``
(comma separated) may be there. The format: https://www.rssboard.org/rss-specification.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.alt import news
from quantlake.sources.importers import Importer, Recognised, Rows, decoded, sha256, typed

PUBLISHERS = {"nasdaq.com": "nasdaq", "seekingalpha.com": "seeking_alpha", "finance.yahoo.com": "yahoo_finance"}
STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
STRING_OR_LAST_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])', re.DOTALL)
SNIFFED_BYTES = 1 << 20
FIELDS: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("source", "guid", "title", "url", "body"), pl.String),
    "tickers": pl.List(pl.String),
    "event_time": pl.Datetime("us", "UTC"),
}


def recognise(path: Path) -> Recognised:
    """By content: a ``.json`` or ``.jsonc`` file that begins an array of objects and names ``pubDate``."""
    if path.suffix.lower() not in (".json", ".jsonc"):
        return None
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    plain = _plain(head.decode("utf-8-sig", errors="replace"))
    return Importer("RSS items", read) if re.match(r"\s*\[\s*\{", plain) and '"pubDate"' in plain else None


def read(path: Path) -> Rows:
    """The items of one feed file, one table typed as ``news.raw``, in file order; an item's number is its ``line_number``.

    ``known_at`` is the time of publication, the only one the file has. Raises ``QuantLakeError`` naming file and line or item.
    """
    content = path.read_bytes()
    feed = path.name.split(".")[0]
    rows = pl.DataFrame([_article(item, f"{path} item {i}") for i, item in enumerate(_items(content, path), 1)], schema=FIELDS)
    rows = rows.with_columns(
        known_at=pl.col("event_time"),
        partition_date=pl.col("event_time").dt.date(),
        feeds=pl.concat_list(pl.lit(feed)),
        source_name=pl.format("rss/{}/{}", "source", pl.lit(feed)),
        source_version=pl.lit(sha256(content)),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    ).with_columns(source_records=pl.len().over("partition_date").cast(pl.Int64))
    yield news.raw, typed(news.raw, rows)


def _items(content: bytes, path: Path) -> list[Any]:
    try:
        items = json.loads(_plain(decoded(content, str(path))))
    except json.JSONDecodeError as error:
        raise QuantLakeError(f"{path} line {error.lineno} is not JSON: {error.msg}; a cut file? Fetch it again") from error
    return list(items)


def _plain(text: str) -> str:
    """JSONC as JSON; line numbers stay."""
    bare = STRING_OR_COMMENT.sub(lambda m: m[0] if m[0].startswith('"') else "\n" * m[0].count("\n"), text)
    return STRING_OR_LAST_COMMA.sub(lambda m: m[0] if m[0].startswith('"') else "", bare)


def _article(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise QuantLakeError(f"{where} is {str(item)[:60]!r}, not an object")
    for name in ("title", "pubDate", "guid", "link", "description", "tickers", "symbol"):
        if not isinstance(item.get(name, ""), str | None):
            raise QuantLakeError(f"{where}: {name} is {str(item[name])[:60]!r}, not text")
    link, guid = item.get("link") or None, item.get("guid") or item.get("link")
    if not guid or not item.get("title"):
        raise QuantLakeError(f"{where} has no {'title' if guid else 'guid and no link'}")
    return {
        "source": _publisher(link, guid, where),
        "guid": guid,
        "title": item["title"],
        "url": link,
        "body": item.get("description") or None,
        "tickers": _tickers(item),
        "event_time": _published(item.get("pubDate"), where),
    }


def _tickers(item: Mapping[str, str | None]) -> list[str]:
    listed = f"{item.get('tickers') or ''},{item.get('symbol') or ''}".split(",")
    return [ticker.strip() for ticker in listed if ticker.strip()]


def _published(text: str | None, where: str) -> datetime:
    try:
        published = parsedate_to_datetime(text or "")
    except ValueError as error:
        raise QuantLakeError(f"{where}: pubDate is {text!r}; RFC 822 is expected: Wed, 26 Aug 2020 21:49:00 +0000") from error
    if published.tzinfo is None:
        raise QuantLakeError(f"{where}: pubDate {text!r} has no offset from UTC")
    return published.astimezone(UTC)


def _publisher(link: str | None, guid: str, where: str) -> str:
    """By the host of link or guid: a known publisher, else the name under its public suffix (``feeds.a-b.co.uk``: ``a_b``)."""
    host = next((h for h in (_host(link or ""), _host(guid)) if h), None)
    if not host:
        raise QuantLakeError(f"{where}: neither link {link!r} nor guid {guid!r} names a host, so its publisher is unknown")
    known = next((name for domain, name in PUBLISHERS.items() if host == domain or host.endswith("." + domain)), None)
    if known:
        return known
    labels = host.split(".")
    under = labels[:-2] if len(labels) > 2 and labels[-2] in ("ac", "co", "com", "net", "org") else labels[:-1]
    return (under or labels)[-1].replace("-", "_")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
