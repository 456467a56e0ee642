"""The simulated chain, and the benchmark of decoding it."""

import json

import polars as pl
from typer.testing import CliRunner

from quantlake import evm
from quantlake.cli.bench import bench
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.onchain import logs
from quantlake.sources.simulate_chain import FIRST_BLOCK, Chain


def test_a_simulated_chain_tells_of_what_it_says_and_is_the_same_again() -> None:
    chain = Chain(30, 3_000, 7)
    (first, planted), (again, _), (rest, more) = chain.part(0, 10), chain.part(0, 10), chain.part(10, 30)
    assert first.equals(again)
    assert (first.height, rest.height) == (1_000, 2_000)
    assert set(wire_arrow(logs.raw).names) <= set(first.columns)
    assert (first["block_number"].min(), rest["block_number"].max()) == (FIRST_BLOCK, FIRST_BLOCK + 29)
    index = pl.col("log_index")
    whole = pl.concat([first, rest]).group_by("block_hash").agg(contiguous=index.n_unique() == index.max() + 1, blocks=pl.col("block_number").n_unique())
    assert whole["contiguous"].all()
    assert whole["blocks"].max() == 1
    for rows, told in ((first, planted), (rest, more)):
        transfers, swaps = evm.transfers(rows.lazy(), chain.tokens.lazy()).collect(), evm.swaps(rows.lazy(), chain.pools.lazy()).collect()
        assert {"transfers": transfers.height, "swaps": swaps.height} == told
        assert evm.undecoded(rows.lazy()).collect().is_empty()
        known = transfers["flags"].list.len() == 0
        assert 0 < known.sum() < known.len()
        assert 0 < swaps["token0"].null_count() < swaps.height
        assert transfers.filter(pl.col("item_index") > 0).height > 0


def test_the_benchmark_prints_its_figures() -> None:
    done = CliRunner().invoke(bench, ["onchain", "--blocks", "4", "--logs", "400", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["blocks"], found["logs"]) == (4, 400)
    assert found["transfers"] > 150
    assert min(found[name] for name in ("rows_per_cpu_second", "read_rows_per_cpu_second", "ratio_to_reading", "peak_rss_mb")) > 0
