"""A resident client of a chain: what was missed first, then its newest block on and on, and every reorganisation of it.

Here: the order of things, what is sent after what, when to stop. Not here: asking (fetching.py, filling.py), bookkeeping of the chain (chain.py),
what a home has (known.py), nodes that do not agree (rivals.py).

A block's height is told to be the chain's only after its rows were acknowledged. So what ends at any moment leaves blocks that nobody
calls the chain's, and they come again; never the other way round.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.onchain import chain_status, common, dex_pools, logs, tokens
from quantlake.sources.live.ethereum.blocks import Found, Place
from quantlake.sources.live.ethereum.chain import Chain, Change, Header, linked
from quantlake.sources.live.ethereum.contracts import Contracts
from quantlake.sources.live.ethereum.decoder import Decoder
from quantlake.sources.live.ethereum.fetching import Fetcher, LackingError
from quantlake.sources.live.ethereum.filling import WINDOW_BLOCKS, Filler, headers
from quantlake.sources.live.ethereum.known import Known
from quantlake.sources.live.ethereum.nodes import Node, Nodes
from quantlake.sources.live.ethereum.rivals import Rivals
from quantlake.sources.live.ethereum.tables import STREAMS, origin, status
from quantlake.sources.live.limits import Tuning, unless
from quantlake.sources.live.outbox import Outbox, Send
from quantlake.sources.live.stats import ChainStats, Teller

SENT: tuple[Stream, ...] = (*STREAMS, chain_status.raw, tokens.raw, dex_pools.raw)
LIVE_BLOCKS = 16
ATTEMPTS = 3  # then the newest block is asked for again: what is missing may be the chain's no more
FINALIZED_SECONDS = 30.0
KEPT = 3  # depths of heights are remembered: a chain that became shorter may lose as many blocks again
LOOKS, LEAST_SECONDS = 4, 0.1  # at the head, in the time from one block to the next


@dataclass(frozen=True)
class Wanted:
    """Which nodes, and which heights: from the first missing one of ``first`` on, or from where it ended, to ``last`` or without end.

    ``chain_id`` is theirs, if given; ``depth`` is how many blocks a reorganisation may take back, and the age at which blocks are history.
    """

    urls: Sequence[str]
    first: int | None = None
    last: int | None = None
    chain_id: int | None = None
    depth: int = common.FINAL_DEPTH
    processes: int = 0


class DeepError(QuantLakeError):
    """The chain lost more blocks than it may."""


class Client:
    """Hands rows to ``send``, which may block; ``known`` says what a home has of a chain, by its id."""

    def __init__(
        self, wanted: Wanted, known: Callable[[int], Known], send: Send, say: Callable[[str], None], trust: ssl.SSLContext, tuning: Tuning | None = None
    ) -> None:
        self._wanted, self._known, self._tuning = wanted, known, tuning or Tuning()
        self.stats = ChainStats()
        self._teller = Teller(self.stats, say)
        self._outbox = Outbox(send, self._teller, self._tuning)
        self._nodes = Nodes(wanted.urls, wanted.chain_id, trust, self._teller, self.stats, self._tuning)
        self._decoder = Decoder(wanted.processes)
        self._fetcher = Fetcher(self._nodes, self._decoder)
        self._filler = Filler(self._nodes, self._fetcher, self._live, self._send)
        self._rivals = Rivals(self._nodes, self._fetcher)
        self._finalized: int | None = None
        self._finalized_at = -FINALIZED_SECONDS
        self._pause = self._tuning.look_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``, or the last height that is wanted; then until what was read is delivered or given up (``stats.lost``).

        Raises ``QuantLakeError``, after that, where a node is of another chain, or the chain lost more blocks than it may.
        """
        try:
            await unless(stop, self._work())
        finally:
            stop.set()
            await self._outbox.settle()
            await self._nodes.close()
            self._decoder.close()

    def abandon(self) -> None:
        """End without waiting for the broker."""
        self._outbox.abandon()

    async def _work(self) -> None:
        self.stats.chain_id = await self._nodes.open()
        known = await asyncio.to_thread(self._known, self.stats.chain_id)
        self._gone, self._contracts = known.gone, Contracts(self._nodes, known.contracts)
        self._chain = Chain(KEPT * self._wanted.depth, known.tail)
        self.stats.tip = self._chain.tip
        _, head = await self._fetcher.header()
        self.stats.head = head.number
        await self._fill_gaps(known)
        first = self._wanted.first
        if first is not None and (self._chain.tip is None or self._chain.tip < first - 1):
            self._chain = Chain(KEPT * self._wanted.depth)
        await self._follow(head.number if first is None else first)

    async def _rejoin(self, head: Header) -> None:
        """Find a reorganisation of what was the chain's before it was not looked at for long."""
        tip = self._chain.tip
        while tip is not None and tip < head.number:
            _, now = await self._fetcher.header(hex(tip))
            if now.hash == self._chain.hash_at(tip) or await self._adopt([now.hash]):
                return

    async def _fill_gaps(self, known: Known) -> None:
        """What is missing between the first height that is wanted and the newest that is known."""
        if self._wanted.first is None or not known.tail:
            return
        newest = known.tail[-1][0]
        for gap in known.missing(self._wanted.first, min(newest, self._last(newest))):
            await self._fill(gap, Chain(1))

    async def _follow(self, first: int) -> None:
        """From the height after the chain's, or ``first``, on."""
        while True:
            following = first if self._chain.tip is None else self._chain.tip + 1
            if following > self._last(following):
                return
            node, head = await self._fetcher.header()
            self.stats.head = head.number
            history = self._last(head.number - self._wanted.depth)
            if following <= history:
                await self._rejoin(head)
                await self._fill(range(following, history + 1), self._chain)
            elif not await self._look(node, head, following):
                await self._rivals.compare(node, head)
                await asyncio.sleep(self._pause)

    async def _fill(self, heights: range, chain: Chain) -> None:
        with self._decoder.many(len(heights)):
            await self._filler.fill(heights, chain)

    async def _look(self, node: Node, head: Header, following: int) -> bool:
        """Take what is new since the last look; whether there was something, or may be at once."""
        tip = self._chain.tip
        if tip is not None and head.number < max(tip - self._wanted.depth, self._chain.base):
            self._nodes.failed(node, f"it is {tip - head.number} blocks behind")
            return False
        if self._chain.hash_at(head.number) == head.hash or (tip is None and head.number < following):
            return False
        if time.monotonic() - self._finalized_at > FINALIZED_SECONDS:
            self._finalized_at, self._finalized = time.monotonic(), await self._fetcher.finalized(node)
        last = self._last(min(head.number, following + LIVE_BLOCKS - 1))
        return await self._adopt([head.hash] if head.number < following else range(following, last + 1))

    async def _adopt(self, places: Sequence[Place]) -> bool:
        """Make blocks the chain's, with those before them that are not yet. False: they are not one chain now, or a better one is known."""
        try:
            found = await self._fetcher.blocks(places, live=True, attempts=ATTEMPTS)
            run = headers(found)
            if linked(run):
                found += await self._before(run[0])
                run = headers(found)
        except LackingError as error:
            self._teller.error(str(error))
            return False
        except DeepError:
            if await self._rivals.contradict(self._chain):
                return False
            raise
        if not linked(run) or (self._chain.depth_of(run[0].number) and await self._rivals.contradict(self._chain)):
            return False
        await self._send(self._chain.take(run), found, live=True)
        return True

    async def _before(self, oldest: Header) -> list[Found]:
        """The blocks between the chain and one that may not follow it, found by walking back by parents' hashes."""
        missing: deque[Place] = deque()
        while not self._chain.follows(oldest):
            self._within_depth(oldest.number - 1)
            missing.appendleft(oldest.parent)
            _, oldest = await self._fetcher.header(oldest.parent, ATTEMPTS)
        found: list[Found] = []
        while missing:
            window = [missing.popleft() for _ in range(min(WINDOW_BLOCKS, len(missing)))]
            found += await self._fetcher.blocks(window, live=True, attempts=ATTEMPTS)
        return found

    def _within_depth(self, number: int) -> None:
        """Raises ``DeepError`` where another block than the chain's at this height would take back too many."""
        if (depth := self._chain.depth_of(number)) > self._wanted.depth:
            raise DeepError(
                f"the nodes are on a chain that shares no block from {number:,} on with the one that was sent up to {self._chain.tip:,}: {depth} blocks "
                f"or more would be taken back, and {self._wanted.depth} may be. Nothing of it was sent. Look whether the nodes are on the right chain; "
                "if they are, start again with a greater --reorg-depth"
            )

    async def _send(self, change: Change, found: Sequence[Found], live: bool) -> None:
        """The rows of blocks, and when these are acknowledged, that they are the chain's."""
        if change.depth:
            self.stats.reorganisations += 1
            self.stats.deepest = max(self.stats.deepest, change.depth)
            self._teller.say(f"{change.depth} blocks from {change.headers[0].number:,} on are no longer the chain's")
        self._gone = max(self._gone, *change.gone, -1)
        self._rivals.new()
        assert self.stats.chain_id is not None
        told = status(change, origin(self.stats.chain_id, datetime.now(UTC), live), self._finalized if live else None)
        rows = [(stream, pa.concat_tables([f.rows[stream.path] for f in found])) for stream in STREAMS]
        await self._deliver([*rows, (chain_status.raw, told)])
        self._pause = min(self._tuning.look_seconds, max(seconds / LOOKS, LEAST_SECONDS)) if (seconds := _apart(change.headers)) else self._pause
        self.stats.blocks += len(change.headers)
        self.stats.tip = max(change.headers[-1].number, self._chain.tip or 0)
        if live:
            self._contracts.see(dict(rows)[logs.raw])
            await self._deliver(await self._contracts.said(self.stats.chain_id))

    async def _deliver(self, tables: Sequence[tuple[Stream, pa.Table]]) -> None:
        await self._outbox.deliver([(stream, table) for stream, table in tables if table.num_rows])

    def _live(self, heights: range) -> bool:
        """Whether blocks are known when they are received: they are new, or were told not to be there, which they must not precede."""
        return heights[0] <= self._gone or heights[-1] > (self.stats.head or 0) - self._wanted.depth

    def _last(self, number: int) -> int:
        return number if self._wanted.last is None else min(number, self._wanted.last)


def _apart(headers: Sequence[Header]) -> float:
    """Seconds between the last two of some blocks; 0 where there is one alone."""
    return (headers[-1].time - headers[-2].time).total_seconds() if len(headers) > 1 else 0.0
