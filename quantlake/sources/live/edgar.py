"""EDGAR, asked on and on: what was accepted last, and the submissions and facts of some companies.

Here: its addresses, how the feed is paged, its configuration. Not here: asking and sending (polling.py), documents (sources/sec).
The SEC wants a name and a contact as User-Agent and at most ten requests a second:
https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data.

Settings: ``user_agent`` ("Company name contact@company.com"); ``ciks`` (a list), ``current`` (whether the feed of all current filings is
asked for, default true); ``current_seconds`` (30), ``current_pages`` (20 of 100 entries: how far back a start looks),
``company_seconds`` (600); ``url`` and ``data_url`` for another server than the SEC's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import filings, fundamentals
from quantlake.sources.importers import Rows
from quantlake.sources.live.client import encrypted
from quantlake.sources.live.polling import Desk, Plan, Poll, Settings
from quantlake.sources.live.venue import Allowance
from quantlake.sources.sec import companyfacts, current, submissions
from quantlake.sources.sec.documents import EdgarDocument, cik

URL, DATA_URL = "https://www.sec.gov", "https://data.sec.gov"
ALLOWANCE = Allowance(10, 1.0)
PAGE_ENTRIES = 100
STEP = 80  # the feed moves while it is paged, mostly down; what an entry withdrawn moves up is within the overlap
KNOWN = ("user_agent", "ciks", "current", "current_seconds", "current_pages", "company_seconds", "url", "data_url")


def plan(settings: Settings) -> Plan:
    """What a configuration asks for. Raises ``QuantLakeError`` naming the file and what is wrong in it."""
    settings.only(*KNOWN)
    agent = settings.text("user_agent")
    if "@" not in agent:
        raise settings.refused("user_agent", agent, "a name and a contact, which the SEC asks for: Company name contact@company.com")
    ciks = [_cik(settings, found) for found in settings.listed("ciks")]
    url, data_url = (encrypted(settings.text(name, default), "https", "http").rstrip("/") for name, default in (("url", URL), ("data_url", DATA_URL)))
    seconds = settings.number("company_seconds", 600, 1)
    polls = [poll for one in ciks for poll in Company(one, data_url).polls(seconds)]
    if settings.flag("current", True):
        feed = Current(url, int(settings.number("current_pages", 20, 1)))
        polls.insert(0, Poll("current filings", settings.number("current_seconds", 30, 0.1), feed.look))
    if not polls:
        raise settings.refused("current", False, "enough without ciks: nothing is asked for")
    headers = {"User-Agent": agent, "Accept-Encoding": "gzip, deflate"}
    return Plan((filings.raw, fundamentals.raw), polls, headers, ALLOWANCE, {"ciks": ciks})


def _cik(settings: Settings, found: object) -> str:
    try:
        return cik(str(found), "")
    except QuantLakeError:
        raise settings.refused("ciks", found, "a Central Index Key: 320193") from None


@dataclass
class Current:
    """The feed of current filings. ``whole``: the last look went down to what was known before it."""

    url: str
    pages: int
    whole: bool = False

    async def look(self, desk: Desk) -> None:
        """Page after page, down to one that says nothing new; all pages at the start, and after a look that was cut short."""
        known, self.whole = self.whole, False
        for page in range(self.pages):
            where = f"{self.url}/cgi-bin/browse-edgar?action=getcurrent&type=&owner=include&start={page * STEP}&count={PAGE_ENTRIES}&output=atom"
            found = await desk.document(where, _reader(current.rows, where, "live"), "current filings")
            if (known and (found is None or not found[1])) or (found and found[0] < PAGE_ENTRIES):
                break
        self.whole = True


@dataclass
class Company:
    """The documents of one company; ``left`` are older pages of its submissions that were not read yet."""

    cik: str
    url: str
    left: list[str] = field(default_factory=list)

    def polls(self, seconds: float) -> list[Poll]:
        return [Poll(f"submissions of {self.cik}", seconds, self.submissions), Poll(f"facts of {self.cik}", seconds, self.facts)]

    async def submissions(self, desk: Desk) -> None:
        """The newest filings, then the older pages that they name."""

        def newest(document: EdgarDocument) -> Rows:
            self.left = submissions.pages(document)
            return submissions.rows(document)

        await self._read(desk, f"submissions/CIK{self.cik}.json", newest)
        while self.left:
            await self._read(desk, f"submissions/{self.left[-1]}", submissions.rows)
            self.left.pop()

    async def facts(self, desk: Desk) -> None:
        await self._read(desk, f"api/xbrl/companyfacts/CIK{self.cik}.json", companyfacts.rows)

    async def _read(self, desk: Desk, path: str, rows: Callable[[EdgarDocument], Rows]) -> None:
        where = f"{self.url}/{path}"
        await desk.document(where, _reader(rows, where, path.rpartition("/")[2].removesuffix(".json")))


def _reader(rows: Callable[[EdgarDocument], Rows], where: str, name: str) -> Callable[[bytes], Rows]:
    return lambda content: rows(EdgarDocument(content, where, name))
