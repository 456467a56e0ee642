"""What a home has of a chain: the heights that were sent, and which block was the chain's at the newest of them.

Here: reading that from ``raw/onchain/chain_status``, where this client's own rows say it. Not here: landing them before (the command line).
A height of that table has its block in the others: it is sent after them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

from quantlake.contract import Stream
from quantlake.datasets.onchain import chain_status, dex_pools, tokens
from quantlake.ports import Lake
from quantlake.sources.live.ethereum.tables import SOURCE


@dataclass(frozen=True)
class Known:
    """``heights``: ascending, each once; ``tail``: the newest blocks of the chain by height; ``gone``: the greatest height that lost its own;
    ``contracts``: the tokens and pools that said what they are."""

    heights: pl.Series
    tail: tuple[tuple[int, str], ...] = ()
    gone: int = -1
    contracts: frozenset[str] = frozenset()

    def missing(self, first: int, last: int) -> Iterator[range]:
        """The heights of a range that are not there, as ranges, ascending."""
        inside = self.heights.filter(self.heights.is_between(first, last))
        edges = pl.concat([pl.Series([first - 1], dtype=pl.Int64), inside, pl.Series([last + 1], dtype=pl.Int64)])
        gaps = pl.DataFrame({"low": edges[:-1] + 1, "high": edges[1:]}).filter(pl.col("low") < pl.col("high"))
        yield from (range(low, high) for low, high in gaps.iter_rows())


NOTHING = Known(pl.Series([], dtype=pl.Int64))


def known(lake: Lake, chain_id: int, newest: int) -> Known:
    """What this client sent of a chain, as far as it is landed; its tail is within the ``newest`` heights."""
    place = ["block_number"]
    own = lake.scan(chain_status.raw.spec).filter(pl.col("chain_id") == chain_id, pl.col("source") == SOURCE)
    heights = own.filter(pl.col("block_hash").is_not_null()).select(place).unique().sort(place).collect()[place[0]]
    contracts = frozenset(a for stream, name in ((tokens.raw, "address"), (dex_pools.raw, "pool")) for a in _said(lake, stream, name, chain_id))
    if heights.is_empty():
        return replace(NOTHING, contracts=contracts)
    recent = own.filter(pl.col("block_number") > heights[-1] - newest).sort("known_at", "_timestamp", "_partition", "_offset")
    last = recent.group_by(place, maintain_order=True).agg(pl.col("block_hash").last()).sort(place).collect()
    tail = last.drop_nulls("block_hash")
    gone = last.filter(pl.col("block_hash").is_null())["block_number"]
    return Known(heights, _unbroken(tail.select(*place, "block_hash").rows()), gone[-1] if len(gone) else -1, contracts)


def _said(lake: Lake, stream: Stream, name: str, chain_id: int) -> pl.Series:
    return lake.scan(stream.spec).filter(pl.col("chain_id") == chain_id).select(pl.col(name).unique()).collect()[name]


def _unbroken(tail: list[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Its newest heights down to the first gap."""
    first = len(tail) - 1
    while first > 0 and tail[first - 1][0] == tail[first][0] - 1:
        first -= 1
    return tuple(tail[first:])
