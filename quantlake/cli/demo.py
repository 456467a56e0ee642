"""The demo: the main job from Kafka to every kind of asset, checked against what was planted."""

import shutil
import time
from datetime import date
from pathlib import Path

from quantlake.adapters.locks import file_lock
from quantlake.cli import show
from quantlake.cli.embedded import Embedded
from quantlake.cli.running import refreshed
from quantlake.cli.sending import replay_paths, send_simulation
from quantlake.contract import QuantLakeError
from quantlake.contract.catalog import Catalog
from quantlake.landing.audit import audit
from quantlake.orchestration.status import visible_counts
from quantlake.serving.query import QueryService
from quantlake.sources.simulate import Simulation, simulate
from quantlake.wiring import Adapters

START, DAYS, SYMBOLS, SEED = date(2024, 3, 4), 3, 5, 7
CHARTED = 8
MARKER = ".quantlake-demo"


def run_demo(adapters: Adapters, graph: Catalog, data: Path | None) -> bool:
    """Servers, messages, refresh, verification, table and chart; True only if all is as it should be."""
    started = time.monotonic()
    simulation = None
    with Embedded(adapters, graph):
        if data is None:
            simulation = simulate(START, DAYS, SYMBOLS, SEED)
            sent = send_simulation(adapters, simulation)
            show.out.print(f"sent {sent:,} simulated messages of {DAYS} days and {SYMBOLS} symbols", highlight=False)
        else:
            replay_paths(adapters, [data])
        good = refreshed(adapters, graph, graph.datasets, landing=True)
    faults = _faults(adapters, graph, simulation)
    for fault in faults:
        show.err.print(f"quantlake: {fault}", highlight=False)
    _chart(adapters, graph)
    good = good and not faults
    show.out.print(f"{'all is as it should be' if good else 'NOT as it should be'}, in {time.monotonic() - started:.0f} s", highlight=False)
    _next_steps(adapters)
    return good


def wipe(home: Path) -> None:
    """Empty the demo's home. Raises ``QuantLakeError`` unless the demo made it and nothing runs in it."""
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).is_file():
            raise QuantLakeError(f"{home} is not empty and was not made by the demo; move it away, or set QUANTLAKE_HOME elsewhere")
        with file_lock(home / "run" / "lock", what=f"the home {home}", wait_seconds=0):
            shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER).write_text("Made by `quantlake demo`, which wipes this folder at its next run.\n")


def _faults(adapters: Adapters, graph: Catalog, simulation: Simulation | None) -> list[str]:
    """What differs from what was sent: the audit always, every planted thing where it was simulated."""
    faults = []
    for stream in graph.streams:
        for row in audit(stream, lake=adapters.lake, broker=None):
            if not row.clean or row.status != "closed":
                faults.append(f"audit of {row.topic} partition {row.partition}: {row.status}, {row.gaps} gaps, {row.duplicates} duplicates")
    if simulation is None:
        return faults
    for path in {path for path, _ in simulation.expected}:
        expected = {day: n for (p, day), n in simulation.expected.items() if p == path and n}
        found = visible_counts(graph[path], adapters)
        faults += [f"{path}: rows by date are {_days(found)}, expected {_days(expected)}"] if found != expected else []
    for name, query, count in (
        ("dead letters", "SELECT count(*) FROM deadletters", simulation.dead_letters),
        ("flagged trades", "SELECT count(*) FROM curated_market_trades WHERE list_contains(flags, 'zero_size')", sum(simulation.flagged.values())),
    ):
        answer = QueryService(graph, adapters).run(query).read_all().column(0)[0].as_py()
        faults += [f"{name}: {answer}, expected {count}"] if answer != count else []
    sent = {batch.stream for batch in simulation.batches}
    for dataset in graph.datasets:
        if dataset.inputs and graph.roots(dataset) <= sent and not visible_counts(dataset, adapters):
            faults.append(f"{dataset.path} has no rows")
    return faults


def _days(counts: dict[date, int]) -> str:
    return ", ".join(f"{day}: {n}" for day, n in sorted(counts.items()))


def _chart(adapters: Adapters, graph: Catalog) -> None:
    """The closes of the symbols with most bars, each a line of blocks."""
    query = """
        WITH bucketed AS (
            SELECT symbol, close, trade_count, ntile(48) OVER (PARTITION BY symbol ORDER BY bar_start) AS bucket, bar_start
            FROM derived_market_bars_1m WHERE close IS NOT NULL
        )
        SELECT symbol, bucket, arg_max(close, bar_start)::DOUBLE AS close FROM bucketed GROUP BY ALL ORDER BY symbol, bucket
    """
    rows = QueryService(graph, adapters).run(query).read_all().to_pylist()
    closes: dict[str, list[float]] = {}
    for row in rows:
        closes.setdefault(row["symbol"], []).append(row["close"])
    for symbol in sorted(sorted(closes, key=lambda s: -len(closes[s]))[:CHARTED]):
        drawn = closes[symbol]
        show.out.print(f"{symbol:>9} {show.spark(drawn)} {drawn[0]:,.6g} → {drawn[-1]:,.6g}", highlight=False)


def _next_steps(adapters: Adapters) -> None:
    home = adapters.settings.root
    show.out.print(
        f"\nTry next:\n"
        f"  export QUANTLAKE_HOME={home}\n"
        f"  .venv/bin/quantlake sql \"select symbol, partition_date, count(*) from curated_market_trades group by all\"\n"
        f"  .venv/bin/quantlake audit\n"
        f"  .venv/bin/quantlake status\n"
        f"  .venv/bin/quantlake dev            # the Dagster UI on http://127.0.0.1:3000",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
