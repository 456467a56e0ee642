"""RSS items kept as a JSON array: one file is one feed at one moment. Comments and trailing commas are allowed (JSONC).

Here: that format. Not here: RSS and Atom themselves (feeds.py), what items become (articles.py).
An item has ``title``, ``pubDate`` (RFC 822, any offset), ``guid`` or ``link``; ``description``, ``tickers`` and ``symbol``
(comma separated) may be there. The format: https://www.rssboard.org/rss-specification.
"""

import json
import re
from pathlib import Path
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.sources.articles import Article, listed, publisher, require_text, rfc822, sent
from quantlake.sources.importers import Importer, Read, Recognised, decoded, sha256

STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
STRING_OR_LAST_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])', re.DOTALL)
SNIFFED_BYTES = 1 << 20
TEXTS = ("title", "pubDate", "guid", "link", "description", "tickers", "symbol")


def recognise(path: Path) -> Recognised:
    """By content: a ``.json`` or ``.jsonc`` file that begins an array of objects and names ``pubDate``."""
    if path.suffix.lower() not in (".json", ".jsonc"):
        return None
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    plain = _plain(head.decode("utf-8-sig", errors="replace"))
    return Importer("RSS items", read) if re.match(r"\s*\[\s*\{", plain) and '"pubDate"' in plain else None


def read(path: Path) -> Read:
    """The items of one feed file as ``articles.sent`` gives them, in file order.

    ``known_at`` is the time of publication, the only one the file has. Raises ``QuantLakeError`` naming file and line or item.
    """
    content = path.read_bytes()
    articles = [_article(item, f"{path} item {i}") for i, item in enumerate(_items(content, path), 1)]
    yield from sent(articles, path.name.split(".")[0], sha256(content))


def _items(content: bytes, path: Path) -> list[Any]:
    try:
        items = json.loads(_plain(decoded(content, str(path))))
    except json.JSONDecodeError as error:
        raise QuantLakeError(f"{path} line {error.lineno} is not JSON: {error.msg}; a cut file? Fetch it again") from error
    except ValueError as error:  # a number of thousands of digits
        raise QuantLakeError(f"{path}: {error}") from None
    except RecursionError:
        raise QuantLakeError(f"{path} is nested too deeply for a feed's items") from None
    return list(items)


def _plain(text: str) -> str:
    """JSONC as JSON; line numbers stay."""
    bare = STRING_OR_COMMENT.sub(lambda m: m[0] if m[0].startswith('"') else "\n" * m[0].count("\n"), text)
    return STRING_OR_LAST_COMMA.sub(lambda m: m[0] if m[0].startswith('"') else "", bare)


def _article(item: Any, where: str) -> Article:
    if not isinstance(item, dict):
        raise QuantLakeError(f"{where} is {str(item)[:60]!r}, not an object")
    text = {name: require_text(item.get(name), where, name) for name in TEXTS}
    link, guid = text["link"] or None, text["guid"] or text["link"]
    if not guid or not text["title"]:
        raise QuantLakeError(f"{where} has no {'title' if guid else 'guid and no link'}")
    return {
        "source": publisher(link, guid, where),
        "guid": guid,
        "title": text["title"],
        "url": link,
        "body": text["description"] or None,
        "tickers": listed(f"{text['tickers']},{text['symbol']}"),
        "published_at": rfc822(text["pubDate"], where, "pubDate"),
    }
