"""Whole blocks from the nodes: asked for again, elsewhere and in another way, until they are whole.

Here: which calls, what follows from each lack, one by one where a node has no lists. Not here: requests (nodes.py), checks (blocks.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import repeat

from quantlake.contract import QuantLakeError
from quantlake.sources.live.ethereum.blocks import (
    BY_HASH,
    BY_NUMBER,
    MALFORMED,
    RECEIPT,
    Found,
    Lack,
    Place,
    Seen,
    calls,
    header,
    is_hash,
)
from quantlake.sources.live.ethereum.chain import Header
from quantlake.sources.live.ethereum.nodes import Node, Nodes, UnavailableError
from quantlake.sources.live.ethereum.rpc import Call, Refusal, Reply

Decode = Callable[[Sequence[Reply], Seen], Awaitable[Found]]


class LackingError(QuantLakeError):
    """Blocks were asked for often enough, and are not whole."""


class Fetcher:
    """Asks nodes for blocks of their chain; ``decode`` makes blocks of replies, wherever it runs."""

    def __init__(self, nodes: Nodes, decode: Decode) -> None:
        self._nodes, self._decode = nodes, decode

    async def header(self, where: str = "latest", attempts: int | None = None) -> tuple[Node, Header]:
        """The header of a height (hex), hash or tag, and the node that gave it. Raises ``LackingError`` after so many attempts."""
        for _ in repeat(None) if attempts is None else repeat(None, attempts):
            node = await self._nodes.pick()
            if (found := await self.header_of(node, where)) is not None:
                return node, found
        raise LackingError(f"no node has block {where}")

    async def finalized(self, node: Node) -> int | None:
        """The height up to which a node calls blocks final; None: it does not say."""
        if not node.finalized:
            return None
        try:
            found = await self._nodes.result(node, Call(BY_NUMBER, ("finalized", False)))
            return header(found).number
        except UnavailableError:
            return None
        except MALFORMED:
            node.finalized = False
            return None

    async def header_of(self, node: Node, where: str) -> Header | None:
        """What a node has for a height (hex), hash or tag; None: it has nothing, or it fails, which is noted."""
        try:
            found = await self._nodes.result(node, Call(BY_HASH if is_hash(where) else BY_NUMBER, (where, False)))
            if isinstance(found, Refusal):
                raise UnavailableError(f"block {where}: {found.words} ({found.code})")
            own = header(found)
            if is_hash(where) and own.hash != where:
                raise UnavailableError(f"block {where}: {own.hash} was answered")
            return own
        except UnavailableError as error:
            self._nodes.failed(node, str(error), error.wait)
        except MALFORMED:
            self._nodes.failed(node, f"it has no block {where}")
        return None

    async def blocks(self, places: Sequence[Place], live: bool, attempts: int | None = None) -> list[Found]:
        """Whole blocks, in pieces; ``live``: known now, and else at their own time.

        Raises ``LackingError`` where some are not whole after so many ``attempts`` (None: without end).
        """
        left, parts, tried = list(places), list[Found](), 0
        while left and (attempts is None or tried < attempts):
            tried += 1
            node = await self._nodes.pick()
            size = node.batch
            try:
                found = await self._found(node, left, live)
                parts += [found] if found.headers else []
                left = [p for p in left if p not in found.headers]
                self._judge(node, found, left, size)
            except UnavailableError as error:
                self._nodes.failed(node, str(error), error.wait)
        if left:
            raise LackingError(f"block {left[0]} is not whole after {tried} attempts")
        return parts

    async def _found(self, node: Node, places: Sequence[Place], live: bool) -> Found:
        """What a node has of blocks; receipts one by one where it has no lists of them."""
        replies = await self._nodes.asked(node, [c for p in places for c in calls(p, node.block_receipts)])
        seen = Seen(node.chain_id or 0, datetime.now(UTC), live)
        found = await self._decode(replies, seen)
        if any(found.lacks[p].kind == "unsupported" for p in found.transactions):
            node.block_receipts = False
        if found.transactions:
            replies += await self._nodes.asked(node, [Call(RECEIPT, (t,)) for some in found.transactions.values() for t in some])
            found = await self._decode(replies, seen)
        return found

    def _judge(self, node: Node, found: Found, left: Sequence[Place], size: int) -> None:
        """What a node's lacks say of it, which was asked ``size`` calls at once. Raises ``UnavailableError``."""
        lacks = {p: found.lacks.get(p, Lack("failed", "it was not answered")) for p in left}
        if not lacks:
            self._nodes.worked(node)
        elif all(lack.kind == "batch" for lack in lacks.values()):
            self._nodes.fewer(node, size)
        else:
            place, lack = next(iter(lacks.items()))
            more = f" (and {len(lacks) - 1} more)" if len(lacks) > 1 else ""
            self._nodes.failed(node, f"block {place}: {lack.words}{more}")
