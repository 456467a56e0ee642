"""News feeds, RSS and Atom, asked on and on.

Here: their configuration. Not here: asking and sending (polling.py), what a feed holds (sources/feeds.py).

Settings: ``[[feeds]]``, each with ``name`` (among its publisher's, as in the column ``feeds``), ``url``, ``poll_seconds`` (60), and
``source`` (the publisher; by default each item's link says); ``user_agent`` ("quantlake").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from quantlake.contract import Document, QuantLakeError, Stream
from quantlake.datasets.alt import news
from quantlake.sources.articles import sent
from quantlake.sources.feeds import articles
from quantlake.sources.live.client import encrypted
from quantlake.sources.live.polling import Desk, PartlyReadError, Plan, Poll, Settings
from quantlake.sources.live.venue import Allowance

ALLOWANCE = Allowance(20, 1.0)  # over all feeds; each server sees but its own
SHOWN = 3


def plan(settings: Settings) -> Plan:
    """What a configuration asks for. Raises ``QuantLakeError`` naming the file and what is wrong in it."""
    settings.only("feeds", "user_agent")
    parts = settings.parts("feeds")
    feeds = [_feed(part) for part in parts]
    if not feeds:
        raise settings.refused("feeds", [], "enough: write [[feeds]], and below it name and url")
    for part, feed in zip(parts, feeds, strict=True):
        if sum(other.url == feed.url or (other.source, other.name) == (feed.source, feed.name) for other in feeds) > 1:
            raise part.refused("name", feed.name, "alone: two feeds have its url, or its name and source")
    polls = [Poll(feed.name, part.number("poll_seconds", 60, 0.1), feed.look) for part, feed in zip(parts, feeds, strict=True)]
    headers = {"User-Agent": settings.text("user_agent", "quantlake")}
    return Plan((news.raw,), polls, headers, ALLOWANCE, {"feeds": [feed.name for feed in feeds]}, apart=True)


def _feed(settings: Settings) -> "Feed":
    settings.only("name", "url", "source", "poll_seconds")
    url = encrypted(settings.text("url"), "https", "http")
    return Feed(settings.text("name"), url, settings.maybe("source"))


@dataclass(frozen=True)
class Feed:
    """A feed, and what it is called."""

    name: str
    url: str
    source: str | None

    async def look(self, desk: Desk) -> None:
        """Ask for it once."""
        await desk.document(self.url, self.read)

    def read(self, content: bytes) -> Iterator[tuple[Stream, pa.Table] | Document]:
        """Its items as known now; then ``PartlyReadError`` for those that are refused, which do not keep the others back."""
        found = articles(content, self.url, self.source)
        refused = [item for item in found if isinstance(item, QuantLakeError)]
        yield from sent([item for item in found if not isinstance(item, QuantLakeError)], self.name, None, datetime.now(UTC))
        if refused:
            more = f" (and {len(refused) - SHOWN:,} more)" if len(refused) > SHOWN else ""
            raise PartlyReadError(f"{'; '.join(map(str, refused[:SHOWN]))}{more}; the other {len(found) - len(refused):,} were read")
