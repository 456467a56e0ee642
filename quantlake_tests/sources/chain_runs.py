"""A client of a chain within a test: what it sent and said, and what a home has of it then."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.sources.live.client import trusting
from quantlake.sources.live.ethereum.client import SENT, Client, Wanted
from quantlake.sources.live.ethereum.known import NOTHING, Known
from quantlake.sources.live.limits import Tuning
from quantlake_tests.sources.chains import Simulated
from quantlake_tests.sources.rpc_server import RpcServer

FAST = Tuning(first_delay=0.005, longest_delay=0.03, grace_seconds=1.0, look_seconds=0.01)
TRUST = trusting(None)


class Run:
    """A client; what it sent and said, and what a home has of it."""

    def __init__(self, *servers: RpcServer | str, known: Known = NOTHING, **wanted: Any) -> None:
        self.sent: list[tuple[str, pa.Table]] = []
        self.said: list[str] = []
        self.latest: dict[int, str | None] = {}
        self.blocks: set[str | None] = set()
        self.refusals = 0
        urls = [s if isinstance(s, str) else s.url for s in servers]
        self.client = Client(Wanted(urls, **wanted), lambda _: known, self.send, self.said.append, TRUST, FAST)

    def send(self, stream: Stream, rows: pa.Table) -> int:
        if self.refusals:
            self.refusals -= 1
            raise QuantLakeError("the broker is away")
        if stream.name == "chain_status":
            assert set(rows["block_hash"].to_pylist()) <= self.blocks | {None}, "a canonical hash before its block"
            self.latest |= dict(zip(rows["block_number"].to_pylist(), rows["block_hash"].to_pylist(), strict=True))
        if stream.name == "blocks":
            self.blocks |= set(rows["hash"].to_pylist())
        self.sent.append((stream.name, rows))
        return rows.num_rows

    def rows(self, name: str) -> pl.DataFrame:
        empty = next(wire_arrow(s).empty_table() for s in SENT if s.name == name)
        return pl.DataFrame(pl.from_arrow(pa.concat_tables([empty, *(rows for stream, rows in self.sent if stream == name)])))

    @property
    def chain(self) -> dict[int, str]:
        """As the rows of chain_status leave it."""
        return {number: own for number, own in sorted(self.latest.items()) if own}

    @property
    def known(self) -> Known:
        """What a home has that landed all of it."""
        gone = [number for number, own in self.latest.items() if own is None]
        return Known(pl.Series(list(self.chain), dtype=pl.Int64), tuple(self.chain.items())[-129:], max(gone, default=-1))

    def until(self, holds: Callable[[], object], seconds: float = 20) -> "Run":
        async def run() -> None:
            stop = asyncio.Event()
            running = asyncio.ensure_future(self.client.run(stop))
            deadline = time.monotonic() + seconds
            while not holds() and not running.done():
                assert time.monotonic() < deadline, (self.chain, self.said)
                await asyncio.sleep(0.005)
            stop.set()
            await running

        asyncio.run(run())
        return self

    def through(self, server: RpcServer, *steps: Callable[[], object]) -> "Run":
        """Until it has the server's chain after each step."""
        left = list(steps)

        def holds() -> bool:
            if self.chain != {n: own for n, own in server.chain.hashes.items() if n >= min(self.chain, default=0)}:
                return False
            if not left:
                return True
            with server.lock:
                left.pop(0)()
            return False

        return self.until(holds)


@contextmanager
def node(blocks: int = 10, **simulated: Any) -> Iterator[RpcServer]:
    with RpcServer(Simulated(**simulated).grow(blocks)) as server:
        yield server
