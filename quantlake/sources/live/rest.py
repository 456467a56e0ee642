"""REST requests of a live client: within the exchange's weights, again after a refusal of the moment.

Here: when a request is sent, and sent again. Not here: which requests, what answers say.
"""

import asyncio
import ssl
import time
from typing import TYPE_CHECKING

from quantlake.contract import QuantLakeError
from quantlake.sources.live.limits import Backoff, Rate, Tuning
from quantlake.sources.live.stats import Teller
from quantlake.sources.live.venue import Rest

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 10.0
TOLD_TO_WAIT = (429, 418)  # too many; banned for having gone on after that
DEFAULT_WAIT = {429: 60.0, 418: 120.0}  # a minute's weights, and Binance's shortest ban
USED_SHARE = 0.9  # of the exchange's own limit, which others behind our address use too


class RefusedError(QuantLakeError):
    """The exchange has no such symbol, in its own words."""


class Requests:
    """A client of one exchange's REST interface, to be closed."""

    def __init__(self, rest: Rest, url: str, trust: ssl.SSLContext, teller: Teller, tuning: Tuning) -> None:
        import httpx

        self.url = url.rstrip("/")
        self._rest, self._teller = rest, teller
        self._weights = Rate(rest.weights)
        self._backoff = Backoff(tuning.first_delay, tuning.longest_delay)
        self._client = httpx.AsyncClient(verify=trust, timeout=TIMEOUT_SECONDS)

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, weight: int) -> tuple[int, str]:
        """Receipt in ns since 1970, and body, of a path with its query; asked again until there is one.

        429 and 418 are waited for as long as ``Retry-After`` says, by all requests. Raises ``RefusedError`` in the exchange's words.
        """
        import httpx

        while True:
            await self._weights.take(weight)
            try:
                response = await self._client.get(self.url + path)
                received, body = time.time_ns(), response.content.decode()
            except (httpx.HTTPError, UnicodeDecodeError) as error:
                await self._again(f"{self.url}{path}: {str(error) or type(error).__name__}")
                continue
            if response.status_code == httpx.codes.OK:
                self._backoff.reset()
                self._heed(response)
                return received, body
            if words := self._rest.refuses(response.status_code, body):
                raise RefusedError(words)
            said = f"{self.url}{path} answered {response.status_code}: {' '.join(body.split())[:200]}"
            if response.status_code in TOLD_TO_WAIT:
                wait = _seconds(response.headers.get("Retry-After"), DEFAULT_WAIT[response.status_code])
                self._weights.hold(wait)
                self._teller.error(f"{said}; asked again in {wait:g} s")
            else:
                await self._again(said)

    async def _again(self, words: str) -> None:
        delay = self._backoff.next()
        self._teller.error(f"{words}; asked again in {delay:.1f} s")
        await asyncio.sleep(delay)

    def _heed(self, response: "httpx.Response") -> None:
        """Wait for the next minute where the exchange's own count is nearly used up."""
        used = response.headers.get(self._rest.used, "")
        if used.isdecimal() and int(used) >= USED_SHARE * self._rest.limit:
            self._weights.hold(60 - time.time() % 60)


def _seconds(header: str | None, default: float) -> float:
    try:
        return max(float(header), 0.0) if header else default
    except ValueError:  # a date, which these exchanges do not send
        return default
