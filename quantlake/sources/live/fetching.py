"""Documents asked for again and again: within an allowance, only where they changed, again after a refusal of the moment.

Here: requests over HTTP and what the server says of them. Not here: when a document is asked for (polling.py), what it holds.
Conditional requests: https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from quantlake.contract import QuantLakeError
from quantlake.sources.importers import sha256
from quantlake.sources.live.client import encrypted
from quantlake.sources.live.limits import Backoff, Rate, Tuning
from quantlake.sources.live.stats import AskedStats, Teller

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 8  # then the one who asked decides: other documents may be there
NOT_MODIFIED, TOO_MANY, SERVERS_FAULT = 304, 429, 500
LONGEST_WAIT = 3600.0  # that a server may ask for
TOO_MANY_SECONDS = 60.0  # where it does not say
MOVED, GONE = (301, 308), 410


class GoneError(QuantLakeError):
    """The server says that a document will not come back."""


@dataclass(frozen=True)
class Document:
    """What a server answered; ``validators`` are the headers of the next request for it."""

    url: str
    content: bytes
    digest: str
    validators: Mapping[str, str]


class Fetcher:
    """A client of some servers, to be closed. An address's document is new until it was ``kept``; one that has moved for good is asked for
    where it is now. ``apart``: the servers are strangers, and what one wants to be left alone for holds for that document alone."""

    def __init__(
        self, headers: Mapping[str, str], rate: Rate, trust: ssl.SSLContext, teller: Teller, stats: AskedStats, tuning: Tuning,
        apart: bool = False,
    ) -> None:  # fmt: skip
        import httpx

        self._rate, self._teller, self._stats, self._tuning = rate, teller, stats, tuning
        self._kept: dict[str, Document] = {}
        self._moved: dict[str, str] = {}
        self._apart = apart
        self._client = httpx.AsyncClient(
            verify=trust, timeout=TIMEOUT_SECONDS, headers=dict(headers), follow_redirects=True,
            event_hooks={"request": [_require_encrypted]},
        )  # fmt: skip

    async def close(self) -> None:
        await self._client.aclose()

    def keep(self, document: Document) -> None:
        """It is dealt with: the same one is not given again."""
        self._kept[document.url] = Document(document.url, b"", document.digest, document.validators)

    async def get(self, url: str) -> Document | None:
        """The document at an address, None where it is the one that was kept; asked again, ``ATTEMPTS`` times, while the server fails.

        429, and 503 with a ``Retry-After``, hold all requests. Raises ``QuantLakeError`` for any other status, and after the last attempt;
        ``GoneError`` for 410.
        """
        backoff = Backoff(self._tuning.first_delay, self._tuning.longest_delay)
        kept = self._kept.get(url)
        for _ in range(ATTEMPTS - 1):
            answer, why, wait = await self._ask(url, kept)
            if answer is not None:
                return self._read(answer, url, kept)
            wait = backoff.next() if wait is None else wait
            self._teller.error(f"{why}; asked again in {wait:.1f} s")
            await asyncio.sleep(wait)
        answer, why, _ = await self._ask(url, kept)
        if answer is None:
            raise QuantLakeError(f"{why}, {ATTEMPTS} times")
        return self._read(answer, url, kept)

    async def _ask(self, url: str, kept: Document | None) -> "tuple[httpx.Response | None, str, float | None]":
        """An answer; or why there is none, and how long the server wants to be left alone."""
        import httpx

        await self._rate.take()
        self._stats.requests += 1
        try:
            answer = await self._client.get(self._moved.get(url, url), headers=dict(kept.validators) if kept else {})
        except httpx.HTTPError as error:
            return None, f"{url}: {str(error) or type(error).__name__}", None
        if answer.status_code != TOO_MANY and answer.status_code < SERVERS_FAULT:
            self._note_move(url, answer)
            return answer, "", None
        wait = retry_after(answer.headers.get("Retry-After"))
        if wait is None and answer.status_code == TOO_MANY:
            wait = TOO_MANY_SECONDS
        if wait is not None and not self._apart:
            self._rate.hold(wait)
        return None, f"{url} answered {answer.status_code}", wait

    def _note_move(self, url: str, answer: "httpx.Response") -> None:
        if answer.history and answer.is_success and all(step.status_code in MOVED for step in answer.history):
            self._moved[url] = str(answer.url)
            self._teller.say(f"{url} has moved for good; {answer.url} is asked from now on")

    def _read(self, answer: "httpx.Response", url: str, kept: Document | None) -> Document | None:
        if answer.status_code == NOT_MODIFIED and kept:
            self._stats.unchanged += 1
            return None
        if answer.status_code == GONE:
            raise GoneError(f"{url} is gone: its server answered {GONE}")
        if not answer.is_success:
            raise QuantLakeError(f"{url} answered {answer.status_code}: {' '.join(answer.text.split())[:200]}")
        digest = sha256(answer.content)
        if kept and kept.digest == digest:
            self._stats.unchanged += 1
            return None
        return Document(url, answer.content, digest, _validators(answer))


def _validators(answer: "httpx.Response") -> dict[str, str]:
    named = {"If-None-Match": answer.headers.get("ETag"), "If-Modified-Since": answer.headers.get("Last-Modified")}
    return {name: value for name, value in named.items() if value}


async def _require_encrypted(request: "httpx.Request") -> None:
    encrypted(str(request.url), "https", "http")  # also where a redirect leads


def retry_after(header: str | None) -> float | None:
    """``Retry-After``: seconds, or a date (https://www.rfc-editor.org/rfc/rfc9110#name-retry-after)."""
    try:
        wait = float(header) if header else None
    except ValueError:
        try:
            wait = parsedate_to_datetime(header or "").timestamp() - time.time()
        except ValueError:
            return None
    return None if wait is None else min(max(wait, 0.0), LONGEST_WAIT)
