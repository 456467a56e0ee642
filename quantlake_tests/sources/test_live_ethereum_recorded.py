"""Recorded blocks played by a loopback node: what is sent of them is what ethereum-etl read of the same answers."""

import json
from pathlib import Path
from typing import Any

from quantlake.sources.live.ethereum.bloom import bloom
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.chain_runs import Run
from quantlake_tests.sources.chains import Simulated
from quantlake_tests.sources.rpc_server import RpcError, RpcServer


class Recorded(RpcServer):
    """Answers by files that are named after method and parameters; it knows nothing else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Simulated())
        self._folder = folder

    def result(self, method: str, params: list[Any]) -> Any:
        said = [json.dumps(p).strip('"') for p in params]
        path = self._folder / f"web3_response.{'_'.join([method, *said])}.json"
        if method == "eth_chainId":
            return "0x1"
        if not path.exists():
            raise RpcError(-32601, f"the method {method} does not exist/is not available")
        return json.loads(path.read_text())["result"]


def expected(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"expected_{kind}.json").read_text().splitlines()]


def test_recorded_blocks_with_their_receipts_one_by_one() -> None:
    folder = recorded("onchain/ethereum_etl_rpc/test_stream/blocks_1755634_1755635")
    with Recorded(folder) as server:
        run = Run(server, first=1755634, last=1755635).until(lambda: False)
    assert [row["hash"] for row in expected(folder, "blocks")] == run.rows("blocks")["hash"].to_list() == list(run.chain.values())
    same = {
        "transactions": ("hash", "nonce", "transaction_index", "from_address", "to_address", "gas", "input"),
        "logs": ("log_index", "transaction_hash", "transaction_index", "address", "data", "topics"),
        "blocks": ("parent_hash", "miner", "size", "extra_data", "gas_limit", "gas_used", "transaction_count"),
    }
    for kind, columns in same.items():
        wanted = [{c: row[c] for c in columns} for row in expected(folder, kind)]
        assert run.rows(kind).select(columns).to_dicts() == wanted and wanted
    for kind, columns in (("transactions", ("value", "gas_price")), ("blocks", ("difficulty", "total_difficulty"))):
        assert run.rows(kind).select(columns).rows() == [tuple(str(row[c]) for c in columns) for row in expected(folder, kind)]
    assert (run.rows("transactions")["known_at"] == run.rows("transactions")["block_timestamp"]).all()


def test_the_bloom_filter_of_a_recorded_block_is_that_of_its_logs() -> None:
    folder = recorded("onchain/eth_block_17173049")
    block = json.loads((folder / "blocks.jsonl").read_text().splitlines()[0])
    logs = [json.loads(line) for line in (folder / "logs.jsonl").read_text().splitlines()]
    assert bloom(logs) == block["logs_bloom"]
