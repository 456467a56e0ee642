"""A chain followed from a loopback node: what is sent is the chain, and what it was before each reorganisation is told in order."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.sources.live.client import trusting
from quantlake.sources.live.ethereum.client import SENT, Client, DeepError, Wanted
from quantlake.sources.live.ethereum.known import NOTHING, Known
from quantlake.sources.live.limits import Tuning
from quantlake_tests.sources.chains import Simulated
from quantlake_tests.sources.rpc_server import Answer, RpcServer

FAST = Tuning(first_delay=0.02, longest_delay=0.1, grace_seconds=1.0, look_seconds=0.02)
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
        return Known(pl.Series(list(self.chain), dtype=pl.Int64), tuple(self.chain.items())[-129:])

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


def told(run: Run, since: int) -> list[tuple[int, str | None]]:
    """What chain_status says after so many rows."""
    return run.rows("chain_status")[since:].select("block_number", "block_hash").rows()


def test_the_head_is_followed_and_every_row_is_sent_once_before_its_block_is_the_chains() -> None:
    with node() as server:
        run = Run(server).through(server, lambda: server.chain.grow(1), lambda: server.chain.grow(20))
        chain = [made for made in server.chain.chain if made.number >= 109]
    assert run.chain == {made.number: made.hash for made in chain}
    assert run.rows("blocks")["hash"].to_list() == [made.hash for made in chain]
    assert run.rows("transactions")["hash"].to_list() == [t["hash"] for made in chain for t in made.block["transactions"]]
    assert run.rows("receipts")["transaction_hash"].to_list() == [r["transactionHash"] for made in chain for r in made.receipts]
    assert run.rows("logs")["log_index"].to_list() == [0, 1, 2, 3] * len(chain)
    assert run.rows("transactions")["value"][1] == str(2**255 + 1)
    first = run.rows("blocks").row(0, named=True)
    assert (first["source"], first["venue"], first["known_at_source"], first["chain_id"]) == ("ethereum", "ethereum", "receive", 1)
    assert first["known_at"] == first["receive_time"] > first["event_time"] == first["block_timestamp"]
    assert run.rows("chain_status")["known_at"].is_sorted()
    assert (run.client.stats.blocks, run.client.stats.lost, run.client.stats.reorganisations) == (len(chain), 0, 0)


@pytest.mark.parametrize(("depth", "blocks"), [(1, 1), (1, 2), (2, 3), (3, 1), (64, 65), (64, 2)])
def test_a_reorganisation_tells_each_new_block_and_each_height_that_has_none(depth: int, blocks: int) -> None:
    with node(80) as server:
        run = Run(server, first=100)
        before = []

        def reorganise() -> None:
            before.append(len(run.rows("chain_status")))
            server.chain.reorganise(depth, blocks, "b")

        run.through(server, reorganise)
        fork = server.chain.first + 80 - depth
        new = [(n, own) for n, own in server.chain.hashes.items() if n >= fork]
    assert told(run, before[0]) == [*new, *((n, None) for n in range(fork + blocks, fork + depth))]
    assert (run.client.stats.reorganisations, run.client.stats.deepest) == (1, depth)
    assert run.rows("chain_status")[before[0] :]["known_at_source"].unique().to_list() == ["receive"]


def test_a_reorganisation_of_65_blocks_stops_with_what_to_do() -> None:
    with node(80) as server:
        run = Run(server, first=100)
        with pytest.raises(DeepError, match="shares no block from 115 on .* up to 179: 65 blocks or more .* greater --reorg-depth"):
            run.through(server, lambda: server.chain.reorganise(65, 66, "b"), lambda: None)
        sent = len(run.rows("chain_status"))
        wider = Run(server, first=100, depth=70, known=run.known).through(server)
    assert sent == 80 and wider.client.stats.deepest == 65


def test_a_chain_that_returns_to_its_first_branch_is_told_so() -> None:
    with node(10) as server:
        first = server.chain.copy()

        def back() -> None:
            server.chain = first.grow(2)

        run = Run(server, first=100).through(server, lambda: server.chain.reorganise(3, 4, "b"), back)
    seen = [own for n, own in told(run, 0) if n == 108]
    assert len(seen) == 3 and seen[0] == seen[2] != seen[1]
    assert run.chain == first.hashes


def test_a_reorganisation_across_midnight_is_of_the_date_on_which_it_was_seen() -> None:
    midnight = 1_699_999_200 + 86_400 - 1_699_999_200 % 86_400
    with node(10, start=midnight - 12 * 106) as server:
        run = Run(server, first=100).through(server, lambda: server.chain.reorganise(6, 7, "b"))
        assert {server.chain.time(n).date() for n in (105, 106)} == set(run.rows("blocks")["partition_date"].unique().to_list())
    rows = run.rows("chain_status")
    assert (rows["partition_date"] == rows["observed_at"].dt.date()).all()
    assert run.chain == server.chain.hashes
