"""`quantlake ingest ethereum` in a real process, killed and started again, from a loopback node, through a real broker, into a real lake."""

import json
import subprocess
from collections.abc import Iterator

import polars as pl
import psutil
import pytest

from quantlake.contract import Stream
from quantlake.datasets.onchain import blocks, chain_status, logs, receipts, transactions
from quantlake.landing.land import land
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for
from quantlake_tests.sources.chains import Simulated
from quantlake_tests.sources.rpc_server import RpcServer


@pytest.fixture(scope="module")
def ql() -> Iterator[Commands]:
    with commands() as ql, announced(ql):
        yield ql


@pytest.mark.faults
def test_a_backfill_that_was_killed_misses_nothing_and_a_reorganisation_meanwhile_is_found(ql: Commands) -> None:
    with RpcServer(Simulated().grow(400), path="/v3/s3cr3t-key") as server:
        command = [str(BIN / "quantlake"), "ingest", "ethereum", "--rpc", server.url, "--from-block", "100", "--json"]
        killed = subprocess.Popen(command, env=ql.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        states = ql.home / "run"
        wait_for(lambda: any(json.loads(f.read_text())["blocks"] >= 100 for f in states.glob("ingest-ethereum-*.json")), 90)
        processes = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()
        killed.communicate()
        server.chain.reorganise(70, 75, "b")
        done = ql.run("ingest", "ethereum", "--rpc", server.url, "--from-block", "100", "--to-block", "480", "--json")
        server.chain.reorganise(30, 40, "c")
        ql.run("ingest", "ethereum", "--rpc", server.url, "--from-block", "100", "--to-block", "490", "--reorg-depth", "70")
    assert processes and psutil.wait_procs(processes, 10)[1] == []
    told = json.loads(done.stdout)
    assert (told["rpc"], told["chain_id"], told["lost"]) == ([server.url.removesuffix("/v3/s3cr3t-key")], 1, 0)
    assert "s3cr3t" not in done.stdout + done.stderr + "".join(f.read_text() for f in states.glob("*.json"))
    adapters = Adapters(Settings(home=ql.home))

    def landed(stream: Stream) -> pl.DataFrame:
        land(stream, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake)
        return pl.DataFrame(adapters.lake.read(stream.spec))

    status = landed(chain_status.raw).sort("known_at", "_timestamp", "_offset")
    canonical = {number: own for number, own in status.select("block_number", "block_hash").iter_rows() if number <= 490}
    assert canonical == {number: own for number, own in server.chain.hashes.items() if number <= 490}
    chain = [made for made in server.chain.chain if made.number <= 490]
    for stream, keys in ((blocks.raw, ["hash"]), (transactions.raw, ["hash"]), (receipts.raw, ["transaction_hash"]), (logs.raw, ["block_hash", "log_index"])):
        rows = landed(stream)
        own = rows.filter(pl.col("block_hash").is_in([made.hash for made in chain])).unique(["block_hash", *keys])
        assert len(own) == len(chain) * {"blocks": 1, "logs": 4}.get(stream.name, 2)
        assert rows["_error"].is_null().all()
