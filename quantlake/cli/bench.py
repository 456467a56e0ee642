"""Benchmarks of the whole stack, each over a home of its own that is removed afterwards."""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from quantlake.adapters.broker.tansu import free_port
from quantlake.cli import show
from quantlake.cli.bench_landing import landing
from quantlake.cli.bench_onchain import onchain
from quantlake.cli.embedded import Embedded
from quantlake.cli.sending import send_simulation
from quantlake.contract import FeatureView, QuantLakeError
from quantlake.contract.catalog import Catalog
from quantlake.settings import set_home
from quantlake.wiring import Adapters, catalog, platform

START, TRADES_A_DAY, SYMBOLS, SEED = date(2023, 1, 2), 30, 2, 7
bench = typer.Typer(help="Benchmarks: each prints a ratio to, or the time beyond, a floor measured in the same run.", no_args_is_help=True)
Days = Annotated[int, typer.Option(min=1, help="Simulated days.")]
AsJson = Annotated[bool, typer.Option("--json", help="One object.")]


bench.command()(landing)
bench.command()(onchain)


@bench.command()
def refresh(days: Days = 365, as_json: AsJson = False) -> None:
    """What orchestration adds to `quantlake refresh`: its wall time beyond the same functions in a plain loop, an asset-date."""
    from quantlake.orchestration.build import build
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.landed import landed_outcomes
    from quantlake.orchestration.refresh import refresh as refreshed

    graph = catalog()
    _warm(graph)
    with home() as adapters, Embedded(adapters, graph) as servers:
        _year(adapters, days)
        servers.land()
        started = time.monotonic()
        dates = {s.path: [o.partition for o in landed_outcomes(s, None, adapters)] for s in graph.streams}
        for dataset in graph.datasets:
            wanted = sorted({d for root in graph.roots(dataset) for d in dates[root.path]})
            if dataset.inputs:
                list(build(dataset, wanted, adapters, "bench"))
        floor = time.monotonic() - started
    with home() as adapters, Embedded(adapters, graph) as servers, open_instance(adapters.settings.dagster_home) as instance:
        _year(adapters, days)
        servers.land()
        started = time.monotonic()
        done = refreshed(graph, graph.datasets, adapters, instance)
        wall = time.monotonic() - started
    asset_dates = sum(len(outcomes) for outcomes in done.outcomes.values())
    print_figures({
        "days": days, "asset_dates": asset_dates, "seconds": wall, "plain_loop_seconds": floor, "runs": done.runs,
        "overhead_ms_per_asset_date": (wall - floor) / asset_dates * 1000,
    }, as_json)  # fmt: skip


@bench.command()
def backfill(days: Days = 30, as_json: AsJson = False) -> None:
    """What orchestration adds to a backfill launched through the running web server, beyond the same functions in a plain loop."""
    from quantlake.orchestration.build import build
    from quantlake.orchestration.landed import landed_outcomes

    graph = catalog()
    _warm(graph)
    with home() as adapters, Embedded(adapters, graph) as servers:
        _year(adapters, days)
        started = time.monotonic()
        servers.land()
        for dataset in graph.datasets:
            if dataset.inputs:
                list(build(dataset, [START + timedelta(days=n) for n in range(days)], adapters, "bench"))
            else:
                landed_outcomes(graph.stream(dataset.path), None, adapters)
        floor = time.monotonic() - started
    with _running(graph) as (adapters, api, _):
        api.stop("new_data")
        api.stop("changed_inputs")
        _year(adapters, days)
        started = time.monotonic()
        status = api.backfill(graph, START, START + timedelta(days=days - 1))
        wall = time.monotonic() - started
    print_figures({"days": days, "assets": len(graph.datasets), "status": status, "seconds": wall, "plain_loop_seconds": floor, "overhead_seconds": wall - floor}, as_json)  # fmt: skip


@bench.command()
def freshness(
    arrivals: Annotated[int, typer.Option(min=1, help="Messages, one after the other.")] = 50,
    idle_seconds: Annotated[int, typer.Option(min=1, help="How long the idle stack is watched.")] = 60,
    as_json: AsJson = False,
) -> None:
    """`quantlake dev`: seconds from a message's acknowledgement to the new online feature value; CPU of the idle stack; its stop."""
    graph = catalog()
    with _running(graph) as (adapters, _, process):
        delays = []
        with show.progress() as bar:
            task = bar.add_task("arrivals", total=arrivals)
            for n in range(arrivals):
                delays.append(_arrival(adapters, graph, n))
                bar.advance(task)
                time.sleep(n * 0.37 % 3)  # no step with the sensors' own
        time.sleep(20)
        before = _cpu_seconds(process.pid)
        time.sleep(idle_seconds)
        idle = (_cpu_seconds(process.pid) - before) / idle_seconds
        began = time.monotonic()
        process.terminate()
        process.wait(60)
        stop = time.monotonic() - began
    delays.sort()
    print_figures({
        "arrivals": arrivals, "p50_seconds": statistics.median(delays), "p95_seconds": delays[max(0, -(-len(delays) * 95 // 100) - 1)],
        "max_seconds": delays[-1], "idle_core_share": idle, "stop_seconds": stop,
    }, as_json)  # fmt: skip


@contextmanager
def home() -> Iterator[Adapters]:
    """Adapters over a fresh home (one that PostgreSQL's own user can pass), removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="quantlake-bench-"))
    folder.chmod(0o755)
    settings = set_home(folder / "home")
    adapters = platform()
    try:
        yield adapters
    finally:
        if "vectors" in vars(adapters):
            adapters.vectors.close()  # type: ignore[attr-defined]
        shutil.rmtree(settings.root.parent, ignore_errors=True)


@contextmanager
def _running(graph: Catalog) -> Iterator[tuple[Adapters, "_Api", Any]]:
    """`quantlake dev` over a fresh home, until its web server answers."""
    import subprocess

    port = free_port()
    with home() as adapters:
        log = adapters.settings.root.parent / "dev.log"
        command = [sys.executable, "-m", "quantlake.cli", "dev", "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
        api = _Api(port)
        try:
            _wait(lambda: process.poll() is not None or (b"\nready" in log.read_bytes() and api.assets() == len(graph.datasets)), 120, str(log))
            if process.poll() is not None:
                raise QuantLakeError(f"quantlake dev ended: {log.read_text().strip()}")
            yield adapters, api, process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


class _Api:
    """The web server's GraphQL, as its own pages use it."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found = json.loads(answer.read())
        if "errors" in found:
            raise QuantLakeError(f"the web server refused: {found['errors'][0]['message']}")
        return found["data"]

    def assets(self) -> int:
        try:
            return len(self.ask("{ assetNodes { id } }")["assetNodes"])
        except OSError:
            return 0

    def stop(self, sensor: str) -> None:
        found = self.ask("{ sensorsOrError(repositorySelector: {repositoryName: \"__repository__\", repositoryLocationName: \"quantlake.definitions\"}) { ... on Sensors { results { name sensorState { id } } } } }")  # fmt: skip
        for entry in found["sensorsOrError"]["results"]:
            if entry["name"] == sensor:
                self.ask("mutation S($id: String!) { stopSensor(id: $id) { __typename } }", id=entry["sensorState"]["id"])

    def backfill(self, graph: Catalog, first: date, last: date) -> str:
        """Launch every asset over a range and wait; the backfill's last status."""
        names = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
        params = {"assetSelection": [{"path": d.path.split("/")} for d in graph.datasets], "partitionNames": names}
        launch = "mutation L($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"  # fmt: skip
        launched = self.ask(launch, p=params)["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise QuantLakeError(f"the backfill was refused: {launched}")
        query = "query S($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
        while True:
            status = str(self.ask(query, id=launched["backfillId"])["partitionBackfillOrError"]["status"])
            if status not in ("REQUESTED", "CANCELING", "FAILING"):
                return status
            time.sleep(0.5)


def _warm(graph: Catalog) -> None:
    """A day through everything, uncounted: what the first use of each library costs is nobody's."""
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.refresh import refresh as refreshed

    with home() as adapters, Embedded(adapters, graph), open_instance(adapters.settings.dagster_home) as instance:
        _year(adapters, 1)
        refreshed(graph, graph.datasets, adapters, instance)


def _year(adapters: Adapters, days: int) -> None:
    from quantlake.sources.simulate import simulate

    send_simulation(adapters, simulate(START, days, SYMBOLS, SEED, TRADES_A_DAY))


def _arrival(adapters: Adapters, graph: Catalog, n: int) -> float:
    """Send a trade of a minute of its own, and wait for the features that count it."""
    import polars as pl

    from quantlake.sources.importers import typed
    from quantlake.sources.publish import send

    stream = graph.stream("market/trades")
    view = next(d for d in graph.datasets if isinstance(d, FeatureView) and stream in graph.roots(d))
    at = datetime(2024, 3, 4, tzinfo=UTC) + timedelta(minutes=n)
    row = dict.fromkeys((c.name for c in stream.columns), None) | {
        "symbol": "BENCH", "venue": "simx", "trade_id": str(n), "price": Decimal("10.5"), "size": Decimal(n + 1), "side": "buy", "event_time": at,
        "known_at": datetime.now(UTC), "partition_date": at.date(), "source_name": "bench",
    }  # fmt: skip
    empty = pl.from_arrow(stream.spec.arrow.empty_table())
    assert isinstance(empty, pl.DataFrame)
    rows = pl.DataFrame([row], schema={c.name: empty.schema[c.name] for c in stream.columns})

    def online() -> Any:
        return adapters.features.read_online(view, {"symbol": ["BENCH"], "venue": ["simx"]}).to_pylist()

    before = online()
    send(adapters.broker, adapters.registry, stream, typed(stream, rows))
    began = time.monotonic()
    _wait(lambda: online() != before, 180, "the online store")
    return time.monotonic() - began


def _cpu_seconds(pid: int) -> float:
    """CPU of a process and all that it started, so far."""
    import psutil

    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def _wait(until: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise QuantLakeError(f"nothing after {seconds:.0f} s: {what}")
        time.sleep(0.1)


def print_figures(found: dict[str, Any], as_json: bool) -> None:
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
    if as_json:
        print(json.dumps(rounded))
    else:
        show.table(["", str(os.cpu_count()) + " cores"], rounded.items(), right=[f"{os.cpu_count()} cores"])
