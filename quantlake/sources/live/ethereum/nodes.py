"""The nodes of one chain: which is asked, and for how long one that fails is left alone.

Here: requests over HTTP, failover, waiting, what a node cannot do, no secrets in what is said. Not here: what is asked (fetching.py).
A node's address may hold a key, in its path, its query or before its host: only scheme, host and port are ever shown.
"""

import asyncio
import itertools
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from quantlake.contract import QuantLakeError
from quantlake.sources.live.client import encrypted
from quantlake.sources.live.ethereum.rpc import Call, Refusal, Reply, request
from quantlake.sources.live.fetching import TOO_MANY, retry_after
from quantlake.sources.live.limits import Backoff, Tuning
from quantlake.sources.live.stats import AskedStats, Teller

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS, CONNECT_SECONDS = 30.0, 5.0
BATCH_CALLS = 100  # in one request, until a node refuses so many
CONTENT_TOO_LARGE = 413
SECRET_CHARACTERS = 6  # a shorter part of an address is no key, but `v3` or `rpc`


class UnavailableError(QuantLakeError):
    """A node does not answer; ``wait``: seconds that it wants to be left alone, where it says so."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class TooManyCallsError(QuantLakeError):
    """A node refuses so many calls in one request."""


@dataclass(eq=False)
class Node:
    """An address and what is known of who answers there."""

    url: str = field(repr=False)
    shown: str
    backoff: Backoff = field(repr=False)
    batch: int = BATCH_CALLS
    block_receipts: bool = True  # has eth_getBlockReceipts
    finalized: bool = True  # knows the tag
    chain_id: int | None = None
    free_at: float = 0.0

    def plain(self, words: str) -> str:
        """Words of it or about it, without what may be a key."""
        for secret in _secrets(self.url):
            words = words.replace(secret, "...")
        return words


def shown(url: str) -> str:
    """What may be said of an address. Raises ``QuantLakeError``, without the address, where it is none, or not encrypted."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise QuantLakeError("an address of --rpc cannot be read; write https://host[:port]/path") from None
    if not host:
        raise QuantLakeError("an address of --rpc has no host; write https://host[:port]/path")
    place = f"[{host}]" if ":" in host else host
    return encrypted(f"{parts.scheme}://{place}" + (f":{port}" if port else ""), "https", "http")


def _usable(url: str) -> str:
    import httpx

    try:
        return str(httpx.URL(url))
    except httpx.InvalidURL:
        raise QuantLakeError(f"{shown(url)}: the rest of its address is none; write https://host[:port]/path") from None


class Nodes:
    """The nodes, of which one is asked until it fails, the first one first; to be closed. Raises ``QuantLakeError`` where an address cannot be used."""

    def __init__(
        self, urls: Sequence[str], chain_id: int | None, trust: ssl.SSLContext, teller: Teller, stats: AskedStats, tuning: Tuning
    ) -> None:  # fmt: skip
        import httpx

        self._nodes = [Node(_usable(url), shown(url), Backoff(tuning.first_delay, tuning.longest_delay)) for url in urls]
        self._teller, self._stats = teller, stats
        self.chain_id = chain_id
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every address, whole, at INFO
        self._client = httpx.AsyncClient(
            verify=trust, timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS), headers={"Content-Type": "application/json"},
        )  # fmt: skip
        self._ids = itertools.count(1, BATCH_CALLS)

    async def close(self) -> None:
        await self._client.aclose()

    async def open(self) -> int:
        """The chain's id, as soon as a node says it. Raises ``QuantLakeError`` where one that answers is of another chain."""
        await asyncio.gather(*(self._known(node) for node in self._nodes))
        chosen = await self.pick()
        assert chosen.chain_id is not None
        return chosen.chain_id

    async def pick(self) -> Node:
        """The one to ask: the first that is not to be left alone; waits until there is one. Raises ``QuantLakeError`` where one is of another chain."""
        while True:
            node = min(self._nodes, key=lambda n: max(n.free_at - time.monotonic(), 0.0))
            if (wait := node.free_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if node.chain_id is not None or await self._known(node):
                return node

    def others(self, node: Node) -> list[Node]:
        """Those of the chain that are not left alone, without one."""
        now = time.monotonic()
        return [n for n in self._nodes if n is not node and n.chain_id is not None and n.free_at <= now]

    def failed(self, node: Node, why: str, wait: float | None = None) -> None:
        """Leave it alone for a while, longer each time, or as long as it wants; and ask the others first from now on."""
        self._nodes.sort(key=lambda n: n is node)
        now = time.monotonic()
        if wait is not None or node.free_at <= now:  # requests that were under way together count once
            node.free_at = now + (node.backoff.next() if wait is None else wait)
        self._teller.error(f"{node.shown}: {node.plain(why)}; left alone for {node.free_at - now:.1f} s")

    def worked(self, node: Node) -> None:
        node.backoff.reset()

    async def asked(self, node: Node, calls: Sequence[Call]) -> list[Reply]:
        """The replies to calls, in as few requests as the node takes. Raises ``UnavailableError``."""
        size = node.batch
        try:
            return list(await asyncio.gather(*(self._post(node, calls[n : n + size]) for n in range(0, len(calls), size))))
        except TooManyCallsError:
            self.fewer(node, min(size, len(calls)))
            return await self.asked(node, calls)

    def fewer(self, node: Node, refused: int) -> None:
        """So many calls in one request are more than it takes. Raises ``UnavailableError`` where that was one."""
        if refused <= 1:
            raise UnavailableError("refuses a request of one call as too large")
        node.batch = min(node.batch, refused // 2)

    async def result(self, node: Node, call: Call) -> Any:
        """One call's result, or ``Refusal``. Raises ``UnavailableError``."""
        return (await self._post(node, [call])).answers()[0]

    async def _known(self, node: Node) -> bool:
        """Ask it for its chain."""
        try:
            found = await self.result(node, Call("eth_chainId"))
        except UnavailableError as error:
            self.failed(node, str(error), error.wait)
            return False
        try:
            said = int(found, 16)
        except (TypeError, ValueError):
            self.failed(node, f"eth_chainId gives {found.words if isinstance(found, Refusal) else repr(found)[:60]}")
            return False
        if self.chain_id not in (None, said):
            raise QuantLakeError(f"{node.shown} is a node of chain {said}, not of chain {self.chain_id}: leave it out, or name its chain with --chain-id")
        node.chain_id = self.chain_id = said
        return True

    async def _post(self, node: Node, calls: Sequence[Call]) -> Reply:
        import httpx

        first_id = next(self._ids)
        self._stats.requests += 1
        try:
            answer = await self._client.post(node.url, content=request(calls, first_id))
        except httpx.HTTPError as error:
            raise UnavailableError(str(error) or type(error).__name__) from None
        if answer.status_code == CONTENT_TOO_LARGE:
            raise TooManyCallsError
        if answer.status_code == TOO_MANY or answer.is_server_error or not (answer.is_success or _says_json(answer)):
            raise UnavailableError(f"answered {answer.status_code}", retry_after(answer.headers.get("Retry-After")))
        return Reply(tuple(calls), first_id, answer.content)


def _says_json(answer: "httpx.Response") -> bool:
    """Some nodes say an error of JSON-RPC with a status of HTTP."""
    return answer.content.lstrip()[:1] in (b"{", b"[")


def _secrets(url: str) -> list[str]:
    """What of an address may be a key."""
    parts = urlsplit(url)
    said = [parts.username, parts.password, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return sorted((unquote(one) for one in said if one and len(one) >= SECRET_CHARACTERS), key=len, reverse=True)
