"""Tokens and pools that are first seen at the head of a chain: asked once what they are, whatever they answer."""

from typing import Any

import pytest

from quantlake.evm import abi
from quantlake.evm.events import V2_SWAP
from quantlake.sources.live.ethereum.bloom import bloom
from quantlake.sources.live.ethereum.contracts import FACTORY, FEE, TOKEN0, TOKEN1
from quantlake_tests.sources.chain_runs import Run
from quantlake_tests.sources.chains import Simulated, address
from quantlake_tests.sources.rpc_server import Answer, RpcServer

GOOD, OLD = address("token", 0), address("token", 1)


def encoded(text: bytes) -> str:
    return "0x" + f"{32:064x}{len(text):064x}" + text.hex().ljust(64, "0")


def word(of: str) -> str:
    return "0x" + of[2:].rjust(64, "0")


def answering(pool: str = "") -> RpcServer:
    chain = Simulated().grow(5)
    if pool:
        for made in chain.chain:
            log = made.receipts[1]["logs"][0]
            log |= {"address": pool, "topics": [V2_SWAP.topic, *log["topics"][1:]], "data": "0x" + "0" * 256}
            made.block["logsBloom"] = bloom(log for r in made.receipts for log in r["logs"])
    server = RpcServer(chain)
    server.without.clear()
    server.contracts = {
        (GOOD, abi.SYMBOL): encoded(b"GO\0D"), (GOOD, abi.NAME): encoded(b"Go\xffod"), (GOOD, abi.DECIMALS): word("0x6"),
        (GOOD, abi.TOTAL_SUPPLY): word(hex(2**255)), (OLD, abi.SYMBOL): "0x" + b"OLD".hex().ljust(64, "0"), (OLD, abi.NAME): "0x",
        (address("pool"), TOKEN0): word(GOOD), (address("pool"), TOKEN1): word(OLD), (address("pool"), FACTORY): word(address("factory")),
        (address("pool"), FEE): word(hex(3000)), (address("nothing"), TOKEN0): word(GOOD),
    }  # fmt: skip
    return server


def test_a_token_says_what_it_is_once_and_what_it_refuses_is_null() -> None:
    with answering() as server:
        run = Run(server).through(server, lambda: server.chain.grow(1), lambda: server.chain.grow(2))
        assert server.count("eth_call") == 8
    rows = {row["address"]: row for row in run.rows("tokens").to_dicts()}
    good, old = rows[GOOD], rows[OLD]
    assert (good["symbol"], good["name"], good["decimals"], good["total_supply"], good["bad_text"]) == ("GOD", "Go\ufffdod", 6, str(2**255), True)
    assert (old["symbol"], old["name"], old["decimals"], old["total_supply"], old["bad_text"]) == ("OLD", None, None, None, False)
    assert good["first_seen"] == server.chain.time(104).date() and good["block_hash"] is None and good["known_at_source"] == "receive"
    assert len(run.rows("tokens")) == 2


def test_a_pool_says_its_tokens_and_what_is_none_is_left_out() -> None:
    for name, found in (("pool", [(address("pool"), GOOD, OLD, address("factory"), 3000, None)]), ("nothing", [])):
        with answering(address(name)) as server:
            run = Run(server).through(server, lambda server=server: server.chain.grow(1))
        assert run.rows("dex_pools").select("pool", "token0", "token1", "factory", "fee", "protocol").rows() == found


@pytest.mark.parametrize("without", [True, False])
def test_a_node_that_does_not_answer_calls_is_followed_all_the_same(without: bool) -> None:
    with answering() as server:
        if without:
            server.without.add("eth_call")
        busy: Any = {"jsonrpc": "2.0", "id": None, "error": {"code": -32005, "message": "limit"}}
        server.fail(0 if without else 1, Answer(200, busy), "eth_call")
        run = Run(server).through(server, lambda: server.chain.grow(1), lambda: server.chain.grow(1))
    assert len(run.rows("tokens")) == (0 if without else 2)
    assert set(run.chain) == {104, 105, 106}
