"""What contracts say of themselves when they are first seen: tokens that were transferred, pools that swapped.

Here: which of them are new, what they are asked, rows of their answers. Not here: reading an answer (``quantlake/evm/abi.py``), which logs are
transfers or swaps (``quantlake/evm/events.py``).

A contract is asked as of the newest block. One that refuses a function has none of what it would say.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.datasets.onchain import dex_pools, tokens
from quantlake.evm import abi
from quantlake.evm.events import ERC20, V2_SWAP, V3_SWAP
from quantlake.sources.ethereum.rows import TIME, Origin, stamped
from quantlake.sources.live.ethereum.nodes import Nodes, UnavailableError
from quantlake.sources.live.ethereum.rpc import UNSUPPORTED, Call, Refusal

TOKEN = (abi.SYMBOL, abi.NAME, abi.DECIMALS, abi.TOTAL_SUPPLY)
POOL = (TOKEN0, TOKEN1, FACTORY, FEE) = ("0x0dfe1681", "0xd21220a7", "0xc45a0155", "0xddca3f43")
# https://github.com/Uniswap/v3-core/blob/main/contracts/interfaces/pool/IUniswapV3PoolImmutables.sol; v2 pools have the first three
MOST_FEE = 1_000_000  # millionths: a larger one is no fee
AT_ONCE = 20  # contracts; more that are new wait for the next block
ADDRESS = re.compile("0x0{24}[0-9a-f]{40}")
HEX = re.compile("0x([0-9a-f]{2})*")
NO_BLOCK = {"block_number": pl.lit(None, pl.Int64), "block_hash": pl.lit(None, pl.String), "block_timestamp": pl.lit(None, TIME)}
TOKENS = pl.Schema({
    "address": pl.String(), "symbol": pl.String(), "name": pl.String(), "decimals": pl.Int64(), "total_supply": pl.String(), "bad_text": pl.Boolean(),
    "first_seen": pl.Date(),
})  # fmt: skip
POOLS = pl.Schema({"pool": pl.String(), "token0": pl.String(), "token1": pl.String(), "factory": pl.String(), "fee": pl.Int64(), "first_seen": pl.Date()})


@dataclass(frozen=True)
class Contract:
    """One that was seen on a date, and the functions that it is asked for."""

    address: str
    functions: Sequence[str]
    first_seen: date

    def row(self, answers: Sequence[str]) -> tuple[Any, ...] | None:
        """What it says, as ``TOKENS`` or ``POOLS``; None: it is no pool."""
        return _token(self, answers) if self.functions == TOKEN else _pool(self, answers)


class Contracts:
    """Asks each contract once; ``known`` are addresses that need not be asked."""

    def __init__(self, nodes: Nodes, known: Collection[str]) -> None:
        self._nodes = nodes
        self._seen = set(known)
        self._new: list[Contract] = []

    def see(self, logs: pa.Table) -> None:
        """Note what is new in rows of ``raw/onchain/logs``."""
        told = pl.DataFrame(pl.from_arrow(logs)).select("address", "event_time", event=pl.col("topics").list.first(), topics=pl.col("topics").list.len())
        transfers = told.filter(pl.col("event") == ERC20.topic, pl.col("topics") == ERC20.topics)
        swaps = told.filter(pl.col("event").is_in([V2_SWAP.topic, V3_SWAP.topic]))
        for found, functions in ((transfers, TOKEN), (swaps, POOL)):
            for address, seen in found.unique("address", keep="first", maintain_order=True).select("address", "event_time").iter_rows():
                if address not in self._seen:
                    self._seen.add(address)
                    self._new.append(Contract(address, functions, seen.date()))

    async def said(self, chain_id: int) -> list[tuple[Stream, pa.Table]]:
        """Rows of some that were not asked yet; where a node fails they are asked with the next block, and not at all of one that has no such
        call."""
        asked, self._new = self._new[:AT_ONCE], self._new[AT_ONCE:]
        if not asked:
            return []
        node = await self._nodes.pick()
        try:
            calls = [Call("eth_call", ({"to": c.address, "data": function}, "latest")) for c in asked for function in c.functions]
            answers = [answer for reply in await self._nodes.asked(node, calls) for answer in reply.answers()]
            refused = [a for a in answers if isinstance(a, Refusal)]
            if busy := next((a for a in refused if a.kind in ("busy", "batch")), None):
                raise UnavailableError(f"eth_call: {busy.words} ({busy.code})")
            if any(a.code in UNSUPPORTED for a in refused):
                return []
        except UnavailableError as error:
            self._nodes.failed(node, str(error), error.wait)
            self._new = asked + self._new
            return []
        each = iter([_hex(answer) for answer in answers])
        rows = [(c, c.row([next(each) for _ in c.functions])) for c in asked]
        origin = Origin("ethereum", f"json_rpc/{chain_id}", None, datetime.now(UTC), chain_id, live=True)
        return [
            (stream, stamped(stream, _frame((row for c, row in rows if c.functions == functions), schema), origin))
            for stream, functions, schema in ((tokens.raw, TOKEN, TOKENS), (dex_pools.raw, POOL, POOLS))
        ]


def _frame(rows: Iterable[tuple[Any, ...] | None], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame([row for row in rows if row], schema=schema, orient="row").with_columns(**NO_BLOCK)


def _hex(answer: Any) -> str:
    """An answer's data; none of what is refused or no hex."""
    return answer.lower() if isinstance(answer, str) and HEX.fullmatch(answer.lower()) else "0x"


def _token(contract: Contract, answers: Sequence[str]) -> tuple[Any, ...]:
    said = dict(zip(TOKEN, answers, strict=True))
    symbol, name, supply = abi.text(said[abi.SYMBOL]), abi.text(said[abi.NAME]), abi.number(said[abi.TOTAL_SUPPLY])
    total = None if supply is None else str(supply)
    return contract.address, symbol.text, name.text, abi.decimals(said[abi.DECIMALS]), total, symbol.bad or name.bad, contract.first_seen


def _pool(contract: Contract, answers: Sequence[str]) -> tuple[Any, ...] | None:
    """None where it does not say two tokens."""
    token0, token1, factory = ("0x" + a[-40:] if ADDRESS.fullmatch(a) else None for a in answers[:3])
    fee = abi.number(answers[3])
    if token0 is None or token1 is None:
        return None
    return contract.address, token0, token1, factory, fee if fee is not None and fee < MOST_FEE else None, contract.first_seen
