"""Benchmark of decoding: what logs of a simulated chain cost from Parquet to transfers and swaps, against reading the same files.

On two busy cores 0.56 to 0.70 million logs a CPU-second were decoded, where 1.8 to 2.2 million were read: 3.2 times as long. 150,000 logs at
once took 0.8 to 1.0 GB, 1.5 million 1.9 GB.
"""

import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from quantlake import evm
from quantlake.cli import show
from quantlake.contract import QuantLakeError
from quantlake.sources.simulate_chain import Chain

if TYPE_CHECKING:
    from rich.progress import Progress

PART_LOGS = 150_000  # of a file, and held at once: a fifth of a day of the main net
SEED, ROUNDS = 7, 3


def onchain(
    blocks: Annotated[int, typer.Option(min=1, help="Simulated blocks.")] = 10_000,
    logs: Annotated[int, typer.Option(min=1, help="Their logs.")] = 1_500_000,
    rounds: Annotated[int, typer.Option(min=1, help="Each figure is the median of so many.")] = ROUNDS,
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """Decoding logs to transfers and swaps, per CPU-second, with the ratio to reading the same Parquet files."""
    from quantlake.cli.bench import print_figures
    from quantlake.cli.bench_landing import counted

    chain = Chain(blocks, logs, SEED)
    with tempfile.TemporaryDirectory(prefix="quantlake-bench-") as folder, show.progress() as bar:
        files, planted = _written(chain, Path(folder), bar)
        _round(files[:1], chain)  # what the first use of each library costs is nobody's
        with counted() as figures:
            found = [_round(files, chain) for _ in range(rounds)]
    reading, decoding, told = zip(*found, strict=True)
    if wrong := [rows for rows in told if rows != planted]:
        raise QuantLakeError(f"the simulated chain tells of {dict(planted)}, decoded were {dict(wrong[0])}: the decoder lost or made some")
    read, decode = statistics.median(reading), statistics.median(decoding)
    print_figures({
        "blocks": blocks, "logs": logs, "rounds": rounds, "transfers": planted["transfers"], "swaps": planted["swaps"],
        "rows_per_cpu_second": logs / decode, "read_rows_per_cpu_second": logs / read,
        "ratio_to_reading": decode / read, "peak_rss_mb": figures["rss_mb"],
    }, as_json)  # fmt: skip


def _written(chain: Chain, folder: Path, bar: "Progress") -> tuple[list[Path], Counter[str]]:
    """Its logs as files of some blocks each, and what must come out of them."""
    parts = min(chain.blocks, -(-chain.logs // PART_LOGS))
    task, planted, files = bar.add_task("writing", total=parts), Counter[str](), []
    for n in range(parts):
        rows, told = chain.part(chain.blocks * n // parts, chain.blocks * (n + 1) // parts)
        files.append(folder / f"logs-{n}.parquet")
        rows.write_parquet(files[-1])
        planted += told
        bar.advance(task)
    return files, planted


def _round(files: list[Path], chain: Chain) -> tuple[float, float, Counter[str]]:
    """CPU-seconds of reading, those of decoding, and what came out."""
    reading = decoding = 0.0
    found = Counter[str]()
    tokens, pools = chain.tokens.lazy(), chain.pools.lazy()
    for file in files:
        began = time.process_time()
        logs = pl.read_parquet(file)
        read = time.process_time()
        found.update(transfers=evm.transfers(logs.lazy(), tokens).collect().height, swaps=evm.swaps(logs.lazy(), pools).collect().height)
        reading += read - began
        decoding += time.process_time() - read
    return reading, decoding, found
