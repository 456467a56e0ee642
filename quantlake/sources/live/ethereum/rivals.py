"""Nodes that do not agree: which of two branches is believed, and who is left for another.

Here: that judgement, by asking all that are there. Not here: failures of one node (nodes.py), what a branch changes (chain.py).
"""

import time

from quantlake.sources.live.ethereum.chain import Chain, Header
from quantlake.sources.live.ethereum.fetching import Fetcher
from quantlake.sources.live.ethereum.nodes import Node, Nodes

STALE_SECONDS = 30.0


class Rivals:
    """The nodes beside the one that is asked."""

    def __init__(self, nodes: Nodes, fetcher: Fetcher) -> None:
        self._nodes, self._fetcher = nodes, fetcher
        self._new_at = time.monotonic()

    def new(self) -> None:
        """There was a new block now."""
        self._new_at = time.monotonic()

    async def contradict(self, chain: Chain) -> bool:
        """Whether another node has the chain's own tip still, and more blocks than the one that is asked: that one is left alone then."""
        node, tip = await self._nodes.pick(), chain.tip or 0
        there = await self._fetcher.header_of(node, "latest")
        for other in self._nodes.others(node):
            head, own = await self._fetcher.header_of(other, "latest"), await self._fetcher.header_of(other, hex(tip))
            if there and head and own and head.number > there.number and own.hash == chain.hash_at(tip):
                self._nodes.failed(node, f"it is on another branch, {there.number:,} high, than {other.shown} at {head.number:,}")
                return True
        return False

    async def compare(self, node: Node, head: Header) -> None:
        """Where nothing new came for long, leave a node alone that has fewer blocks than another."""
        if time.monotonic() - self._new_at < STALE_SECONDS:
            return
        self.new()
        for other in self._nodes.others(node):
            newest = await self._fetcher.header_of(other, "latest")
            if newest and newest.number > head.number:
                self._nodes.failed(node, f"it has had no new block after {head.number:,} for {STALE_SECONDS:g} s, and {other.shown} has {newest.number:,}")
                return
