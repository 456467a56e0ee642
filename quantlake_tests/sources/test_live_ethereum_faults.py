"""Nodes that answer late, out of order, in part, wrongly or not at all: no block is sent that is not whole, and none is left out."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.cli.ingest import ingest
from quantlake.contract import QuantLakeError
from quantlake.contract.wire import wire_arrow
from quantlake.sources.live.ethereum import nodes, rivals
from quantlake.sources.live.ethereum.blocks import NotWholeError, Seen, calls, check, decoded
from quantlake.sources.live.ethereum.client import SENT
from quantlake.sources.live.ethereum.nodes import shown
from quantlake.sources.live.ethereum.rpc import Call, Refusal, Reply
from quantlake_tests.sources.chain_runs import Run, node
from quantlake_tests.sources.chains import Simulated
from quantlake_tests.sources.rpc_server import Answer, RpcError, RpcServer

LIMIT = {"jsonrpc": "2.0", "id": None, "error": {"code": -32005, "message": "daily request count exceeded, request rate limited"}}
BEHIND = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "header not found"}}


def whole(run: Run, server: RpcServer) -> bool:
    """Whether each block of the chain was sent, once, with all that is its own."""
    made = server.chain.chain
    return (
        run.chain == server.chain.hashes
        and sorted(run.rows("blocks")["hash"]) == sorted(m.hash for m in made)
        and sorted(run.rows("receipts")["transaction_hash"]) == sorted(r["transactionHash"] for m in made for r in m.receipts)
        and len(run.rows("logs")) == sum(len(r["logs"]) for m in made for r in m.receipts)
        and len(run.rows("transactions")) == sum(len(m.block["transactions"]) for m in made)
    )


def test_failures_of_the_moment_are_asked_again() -> None:
    answers = [
        Answer(429, b"slow down", {"Retry-After": "0"}), Answer(429, b"{}"), Answer(503), Answer(500, b"<html>"), Answer(200, b"<html>"),
        Answer(200, b"[{"), Answer(200, LIMIT), Answer(200, BEHIND), Answer(400, BEHIND), Answer(200, []), Answer(200, b"null"), Answer(403, b"no"),
        Answer(302, b"", {"Location": "/"}),
    ]  # fmt: skip
    with node(12) as server:
        for method in ("eth_chainId", "eth_getBlockByNumber", "eth_getBlockReceipts"):
            for answer in answers:
                server.fail(1, answer, method)
        run = Run(server, first=100).through(server)
        assert whole(run, server)
    assert run.client.stats.errors >= 3 * len(answers) and run.client.stats.lost == 0


def test_a_node_that_wants_to_be_left_alone_is_and_another_asked() -> None:
    with node(12) as busy, RpcServer(busy.chain) as other:
        busy.fail(99, Answer(429, b"", {"Retry-After": "600"}))
        run = Run(busy, other, first=100).through(other)
        assert whole(run, other)
    assert busy.count("eth_getBlockByNumber") == 1
    assert any(f"{busy.url.rstrip('/')}: answered 429; left alone for 600.0 s" in said for said in run.said)


def test_a_node_that_answers_too_late_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "TIMEOUT_SECONDS", 0.5)
    with node(12) as server:
        server.fail(2, Answer(200, b"[]", wait=1.0), "eth_getBlockReceipts")
        run = Run(server, first=100).through(server)
        assert whole(run, server)
    assert any("Timeout" in said for said in run.said)


def test_a_node_that_is_not_there_is_left_out() -> None:
    with node(5) as gone:
        pass
    with node(12) as server:
        run = Run(gone, server, first=100).through(server)
        assert whole(run, server)


def test_receipts_are_asked_for_one_by_one_where_a_node_has_no_lists_of_them() -> None:
    with node(12) as server:
        server.without.add("eth_getBlockReceipts")
        run = Run(server, first=100).through(server)
        assert whole(run, server)
        assert server.count("eth_getBlockReceipts") <= 12 and server.count("eth_getTransactionReceipt") == 24


@pytest.mark.parametrize("method", ["eth_getBlockReceipts", "eth_getTransactionReceipt"])
@pytest.mark.parametrize("missing", ["null", "short", "error"])
def test_a_block_whose_receipts_are_missing_waits_for_them(method: str, missing: str) -> None:
    left = {"times": 4}

    class Late(RpcServer):
        def result(self, asked: str, params: list[Any]) -> Any:
            found = super().result(asked, params)
            if asked != method or not left["times"]:
                return found
            left["times"] -= 1
            if missing == "error":
                raise RpcError(-32000, "receipts are being indexed")
            return found[:-1] if missing == "short" and isinstance(found, list) else None

    with Late(Simulated().grow(12)) as server:
        if method == "eth_getTransactionReceipt":
            server.without.add("eth_getBlockReceipts")
        run = Run(server, first=100).through(server)
        assert whole(run, server) and not left["times"]


def test_answers_in_any_order_in_part_and_to_other_calls_are_told_apart() -> None:
    turn = {"n": 0}

    def twist(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        turn["n"] += 1
        strange = answers[0] | {"id": 10**9}
        if turn["n"] % 3 == 1:
            return [strange, *reversed(answers[1:])]
        if turn["n"] % 3 == 2:
            return [a | {"id": a["id"] + 10**6} for a in answers]
        return [*reversed(answers), strange, answers[-1] | {"result": None}]

    with node(40) as server:
        server.twist = twist
        run = Run(server, first=100).through(server)
        assert sorted(run.rows("blocks")["hash"]) == sorted(server.chain.hashes.values())
    assert any("no answer to this call" in said for said in run.said)


@pytest.mark.parametrize(("most", "how"), [(1, "error"), (3, "413"), (3, "size")])
def test_a_node_that_takes_fewer_calls_at_once_is_asked_fewer(most: int, how: str) -> None:
    said = {"code": -32600, "message": "batch too large"} if how == "error" else {"code": -32003, "message": "response too large"}
    with node(12) as server:
        refused = Answer(413) if how == "413" else Answer(200, {"jsonrpc": "2.0", "id": None, "error": said})
        server.faults.append(lambda calls: refused if len(calls) > most else None)
        run = Run(server, first=100).through(server)
        assert whole(run, server)
        assert server.sizes[-1] <= most


def test_what_no_longer_fits_into_a_response_is_asked_in_smaller_ones() -> None:
    said = {"code": -32003, "message": "response too large"}
    with node(12) as server:
        server.twist = lambda answers: [a if n < 5 else {"id": a["id"], "error": said} for n, a in enumerate(answers)]
        run = Run(server, first=100).through(server)
        assert whole(run, server)
        assert server.sizes[-1] <= 6


@pytest.mark.parametrize(("urls", "found"), [
    ([7, 1], "is a node of chain 7, not of chain 1"), ([1, 7], "is a node of chain 7, not of chain 1"),
])  # fmt: skip
def test_a_node_of_another_chain_is_refused_by_name(urls: list[int], found: str) -> None:
    with RpcServer(Simulated().grow(5), chain_id=urls[0]) as one, RpcServer(Simulated().grow(5), chain_id=urls[1]) as two:
        run = Run(one, two, chain_id=1)
        with pytest.raises(QuantLakeError, match=found):
            run.until(lambda: False)
    assert not run.sent


def test_another_chain_is_a_setting_of_its_nodes() -> None:
    with RpcServer(Simulated().grow(5), chain_id=8453) as server:
        run = Run(server, first=100).through(server)
    assert run.rows("logs").select("chain_id", "venue").unique().row(0) == (8453, "base")


def test_a_node_on_a_shorter_branch_does_not_take_back_what_the_longer_has() -> None:
    with node(12) as first, RpcServer(first.chain.copy()) as second:
        run = Run(first, second, first=100).through(first)
        sent = len(run.rows("chain_status"))
        first.chain.reorganise(5, 2, "b")
        second.chain.grow(3)
        again = Run(first, second, known=run.known)
        again.until(lambda: again.chain.keys() >= {112, 113, 114})
        first.chain.reorganise(2, 9, "c")  # now it is the longer one
        longest = Run(first, second, known=run.known)
        longest.until(lambda: longest.chain.get(first.chain.head) == first.chain.chain[-1].hash)
    assert sent == 12
    assert again.client.stats.reorganisations == 0 and longest.client.stats.deepest == 5
    assert any("it is on another branch, 108 high, than" in said for said in again.said)


def test_a_node_on_a_branch_of_long_ago_does_not_end_the_client_where_another_has_the_longer_one() -> None:
    with node(80) as right, RpcServer(right.chain.copy()) as lost:
        before = Run(right, first=100).through(right)
        lost.chain.reorganise(75, 76, "b")
        right.chain.grow(3)
        run = Run(lost, right, known=before.known)
        run.until(lambda: run.chain.keys() >= {180, 181, 182})
    assert run.client.stats.reorganisations == 0


def test_a_node_that_has_no_new_block_for_long_is_left_for_one_that_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "STALE_SECONDS", 0.1)
    with node(12) as first, RpcServer(first.chain.copy()) as second:
        run = Run(first, second, first=100)
        second.chain.reorganise(2, 4, "b")
        run.until(lambda: run.chain == second.chain.hashes)
    assert any("it has had no new block after 111 for 0.1 s" in said for said in run.said)


def test_a_broken_link_in_a_range_is_asked_for_elsewhere() -> None:
    with node(100) as wrong, RpcServer(wrong.chain.copy()) as right:
        other = Simulated(first=100).grow(20, "x").chain
        wrong.chain.chain = [*other, *wrong.chain.chain[20:]]
        run = Run(wrong, right, first=110, last=130)
        wrong.chain.chain[15] = right.chain.chain[15]
        run.until(lambda: 130 in run.chain)
    assert all(run.chain[n] == right.chain.hashes[n] for n in range(120, 131))
    assert any("do not follow one another" in said for said in run.said)


def test_rows_that_the_broker_does_not_take_are_sent_until_it_does() -> None:
    with node(12) as server:
        run = Run(server, first=100)
        run.refusals = 4
        run.through(server)
        assert whole(run, server)
    assert (run.client.stats.retries, run.client.stats.lost) == (4, 0)


def test_no_part_of_an_address_that_may_be_a_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with node(12) as server:
        server.fail(3, Answer(200, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "no access for s3cr3t-path, s3cr3t-query"}}))
        server.fail(2, Answer(401, b"s3cr3t-path"))
        secret = server.url.replace("http://", "http://user:s3cr3t-word@") + "v3/s3cr3t-path?key=s3cr3t-query"
        run = Run(secret, first=100).through(server)
        gone = Run(secret.replace(str(server.url.rsplit(":", 1)[1].strip("/")), "1"))
        gone.until(lambda: gone.said)
    told = "\n".join([*run.said, *gone.said, caplog.text, repr(run.client.stats.shown()), *(repr(table) for _, table in run.sent)])
    assert "no access for ..., ..." in told and "s3cr3t" not in told


@pytest.mark.parametrize(("url", "found"), [
    ("http://node.example/s3cr3t-path", "http://node.example is not encrypted"), ("wss://node.example/s3cr3t-path", "is no address"),
    ("https:///s3cr3t-path", "has no host"), ("https://node.example:s3cr3t-path/", "cannot be read"), ("s3cr3t-path", "has no host"),
])  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_without_its_keys(url: str, found: str) -> None:
    with pytest.raises(QuantLakeError, match=found) as error:
        shown(url)
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize(("change", "found"), [
    (lambda b, r: r.pop(), "2 transactions and 1 receipts"),
    (lambda b, r: r.reverse(), "receipt 0 says that it is number 1"),
    (lambda b, r: r[1].update(blockHash="0x00"), "receipt 1 is of block 0x00"),
    (lambda b, r: r[0].update(transactionHash="0x00"), "of a transaction of another block: 0x00"),
    (lambda b, r: b["transactions"][1].update(blockHash="0x00"), "transaction 1 is of block 0x00"),
    (lambda b, r: r[0]["logs"].pop(), "log 1 says that it is number 2"),
    (lambda b, r: r[0]["logs"][0].update(removed=True), "a log of it is said to be removed"),
    (lambda b, r: b.update(number="0x1"), "another height was answered: 1"),
])  # fmt: skip
def test_a_block_that_is_not_whole_is_refused(change: Any, found: str) -> None:
    made = Simulated().grow(1).chain[0]
    check(made.block, made.receipts, 100)
    change(made.block, made.receipts)
    with pytest.raises(NotWholeError, match=found):
        check(made.block, made.receipts, 100)


def test_a_block_that_is_to_come_is_not_whole_and_keeps_no_other_back() -> None:
    found = json.loads(json.dumps(ANSWERS))
    found[2]["timestamp"] = "0xffffffff"
    read = decoded([_reply(found)], Seen(1, datetime.now(UTC), live=True))
    assert read.headers.keys() == {100}
    assert read.lacks[101].words == "it is of 2106-02-07, which is to come"


def test_logs_that_are_not_those_of_the_bloom_filter_are_refused() -> None:
    made = Simulated().grow(1).chain[0]
    made.receipts[0]["logs"][0]["address"] = "0x" + "12" * 20
    with pytest.raises(NotWholeError, match="bloom"):
        check(made.block, made.receipts, 100)


@pytest.mark.parametrize(("code", "words", "whole", "kind"), [
    (-32601, "the method eth_getBlockReceipts does not exist/is not available", False, "unsupported"), (-32000, "Method not found", False, "unsupported"),
    (-32005, "limit", False, "busy"), (429, "Your app has exceeded its compute units per second capacity", False, "busy"),
    (-32000, "header not found", False, "failed"), (-32600, "batch too large", True, "batch"), (-32600, "batch too large", False, "failed"),
    (-32700, "parse error", True, "failed"), (-32003, "response too large", False, "batch"),
])  # fmt: skip
def test_a_refusal_says_what_to_do_about_it(code: int, words: str, whole: bool, kind: str) -> None:
    assert Refusal(code, words, whole).kind == kind


@pytest.mark.parametrize(("body", "answers"), [
    (b'[{"id": 8, "result": 1}, {"id": "7", "result": 2}]', [2, 1]), (b'[{"id": 7, "result": null}, {"id": 7, "result": 1}, {"id": 8.0, "result": 3}]', [None, "no answer"]),
    (b"[1, null, [], {}]", ["no answer"] * 2), (b'{"error": "broken"}', ["neither"] * 2), (b"\xff", ["no JSON"] * 2), (b"[" * 100_000, ["no JSON"] * 2),
    (b'[{"id": 7, "error": {"code": "x", "message": 3}}, {"id": 8, "result": 0}]', ["3", 0]),
])  # fmt: skip
def test_answers_are_read_by_id(body: bytes, answers: list[Any]) -> None:
    found = Reply((Call("a"), Call("b")), 7, body).answers()
    assert [f.words.startswith(a) if isinstance(f, Refusal) else f == a for f, a in zip(found, answers, strict=True)] == [True, True]


@pytest.mark.parametrize(("options", "found"), [
    ({}, "which node to ask is missing"), ({"rpc": ["http://node.example/s3cr3t"]}, "http://node.example is not encrypted"),
    ({"rpc": ["https://node.example"], "to_block": 5}, "--to-block 5 needs a --from-block"),
    ({"rpc": ["https://node.example"], "to_block": 5, "from_block": 6}, "--to-block 5 needs a --from-block"),
    ({"rpc": ["https://node.example"], "symbols": "BTC-USD"}, "are not for chains"),
])  # fmt: skip
def test_options_that_are_missing_or_of_another_source_are_named(options: dict[str, Any], found: str) -> None:
    with pytest.raises(QuantLakeError, match=found) as error:
        ingest("ethereum", **options)
    assert "s3cr3t" not in str(error.value)
    with pytest.raises(QuantLakeError, match="are for chains"):
        ingest("kraken", from_block=5)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place within a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


MADE = Simulated(transactions=2, logs=1).grow(2).chain
ANSWERS = [answer for made in MADE for answer in (made.block, made.receipts)]
PLACES = places(ANSWERS)[1:]
JUNK = [None, 0, -1, 2**300, "", "0x", "0x" + "f" * 70, "0x" + "f" * 5000, "0x" + "0" * 64, "\ud800", "zz", [], {}, [None], {"hash": 1}, True, 1.5]


def _reply(answers: list[Any]) -> Reply:
    asked = tuple(call for made in MADE for call in calls(made.number, receipts=True))
    return Reply(asked, 0, json.dumps([{"id": n, "result": one} for n, one in enumerate(answers)]).encode())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(JUNK))
def test_whatever_a_node_answers_is_a_whole_block_or_a_lack(place: tuple[Any, ...], junk: Any) -> None:
    found = json.loads(json.dumps(ANSWERS))
    within = found
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = junk
    read = decoded([_reply(found)], Seen(1, datetime.now(UTC), live=True))
    assert read.headers.keys() | read.lacks.keys() == {100, 101} and not read.headers.keys() & read.lacks.keys()
    assert {h.hash for h in read.headers.values()} <= {made.hash for made in MADE}
    assert all(table.schema == wire_arrow(stream) for stream in SENT[:4] for path, table in read.rows.items() if path == stream.path)
