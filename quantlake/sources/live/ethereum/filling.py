"""Ranges of blocks: several windows asked for and read at a time, taken in order.

Here: how far ahead, and that each window follows the one before. Not here: one window (fetching.py), what is done with it (client.py).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from quantlake.sources.live.ethereum.blocks import Found
from quantlake.sources.live.ethereum.chain import Chain, Change, Header, linked
from quantlake.sources.live.ethereum.fetching import Fetcher
from quantlake.sources.live.ethereum.nodes import Nodes

WINDOW_BLOCKS = 8  # asked for in one request, read by one process at a time
WINDOWS_AHEAD = 6  # asked for before the first of them is sent
Take = Callable[[Change, Sequence[Found], bool], Awaitable[None]]


@dataclass(frozen=True)
class Window:
    """Some heights that are asked for."""

    heights: range
    live: bool
    found: asyncio.Task[list[Found]]


class Filler:
    """Fills ranges; ``live`` says whether heights are new, ``take`` is handed the blocks of each window."""

    def __init__(self, nodes: Nodes, fetcher: Fetcher, live: Callable[[range], bool], take: Take) -> None:
        self._nodes, self._fetcher, self._live, self._take = nodes, fetcher, live, take

    async def fill(self, heights: range, chain: Chain) -> None:
        """Ascending; the first block has to follow the chain."""
        ahead: deque[Window] = deque()
        try:
            while heights or ahead:
                while heights and len(ahead) < WINDOWS_AHEAD:
                    ahead.append(self._asked(heights[:WINDOW_BLOCKS]))
                    heights = heights[WINDOW_BLOCKS:]
                await self._next(ahead.popleft(), chain)
        finally:
            for window in ahead:
                window.found.cancel()
            await asyncio.gather(*(window.found for window in ahead), return_exceptions=True)

    def _asked(self, heights: range) -> Window:
        live = self._live(heights)
        return Window(heights, live, asyncio.ensure_future(self._fetcher.blocks(heights, live)))

    async def _next(self, window: Window, chain: Chain) -> None:
        """A window's blocks, asked for again until they follow those before."""
        found = await window.found
        run = headers(found)
        while not (linked(run) and chain.follows(run[0])):
            node = await self._nodes.pick()
            self._nodes.failed(node, f"blocks {run[0].number} to {run[-1].number} do not follow one another, or not the one before them")
            found = await self._fetcher.blocks(window.heights, window.live)
            run = headers(found)
        await self._take(chain.take(run), found, window.live)


def headers(found: Sequence[Found]) -> list[Header]:
    """Of all blocks in some pieces, ascending."""
    return sorted((h for f in found for h in f.headers.values()), key=lambda h: h.number)
