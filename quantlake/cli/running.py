"""Commands that run the graph in this process: refresh, demo."""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from quantlake.cli import show
from quantlake.contract import Dataset, QuantLakeError
from quantlake.contract.catalog import Catalog
from quantlake.contract.suites import GRAVE
from quantlake.settings import load, set_home
from quantlake.wiring import Adapters, catalog, embedded_broker, platform


def refresh(
    select: Annotated[str | None, typer.Option(help="Assets: a path, or Dagster's selection syntax; default all.")] = None,
) -> None:
    """Land what is pending, then build every date that is missing or older than its inputs; exit 1 if a blocking check failed."""
    adapters, graph = platform(), catalog()
    if not refreshed(adapters, graph, selected(graph, select), landing=_broker_runs(adapters)):
        raise typer.Exit(1)


def backfill(
    first: Annotated[str, typer.Option("--from", help="First date, e.g. 2023-01-01.")],
    last: Annotated[str, typer.Option("--to", help="Last date.")],
    select: Annotated[str | None, typer.Option(help="Assets: a path, or Dagster's selection syntax; default all.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build every date again, not only what is missing or stale.")] = False,
) -> None:
    """Build a range of dates: what is missing or older than its inputs, each date judged alone; run it again after a kill."""
    from quantlake.orchestration.instance import open_instance, reap

    adapters, graph = platform(), catalog()
    chosen = selected(graph, select)
    span = _span(first, last, chosen)
    if adapters.embedded:
        with open_instance(adapters.settings.dagster_home) as instance:
            reap(instance, recorded=True)  # a rebuild that was killed is taken up where it stopped
    if not refreshed(adapters, graph, chosen, landing=_broker_runs(adapters), span=span, again=rebuild, requested_by="backfill"):
        raise typer.Exit(1)


def demo(data: Annotated[Path | None, typer.Option(help="Replay recorded files of this folder instead of simulating.")] = None) -> None:
    """Run the main job on the embedded stack: messages on Kafka, the whole graph materialized, every check run."""
    from quantlake.cli.demo import run_demo, wipe

    if data is not None and not data.is_dir():
        raise QuantLakeError(f"{data}: no such folder")
    home = load().root / "demo"
    wipe(home)
    set_home(home)
    if not run_demo(platform(), catalog(), data):
        raise typer.Exit(1)


def selected(graph: Catalog, select: str | None) -> Sequence[Dataset]:
    """The datasets of a selection. Raises ``QuantLakeError`` where it is malformed or empty."""
    if select is None:
        return graph.datasets
    if select in graph.by_path:
        return [graph[select]]
    import dagster as dg

    from quantlake.orchestration.assemble import assemble

    assets = [a for a in assemble(graph, platform).assets or () if isinstance(a, dg.AssetsDefinition)]
    try:
        keys = {"/".join(k.path) for k in dg.AssetSelection.from_string(select).resolve(assets)}
    except Exception as error:
        raise QuantLakeError(f"--select {select!r}: {error}") from error
    if not keys:
        raise QuantLakeError(f"--select {select!r} selects no asset; there are {', '.join(graph.by_path)}")
    return [d for d in graph.datasets if d.path in keys]


def _broker_runs(adapters: Adapters) -> bool:
    """Whether there is a broker to land from; says so where there is none."""
    if adapters.embedded:
        try:
            embedded_broker(adapters.settings)
        except QuantLakeError:
            show.err.print("no broker is running: only what is landed already is built", highlight=False)
            return False
    return True


def _span(first: str, last: str, chosen: Sequence[Dataset]) -> tuple[date, date]:
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise QuantLakeError(f"--from {first!r} --to {last!r}: write both as 2024-03-05") from None
    if start > end:
        raise QuantLakeError(f"--from {start} is after --to {end}")
    earliest, today = min(d.start for d in chosen), datetime.now(UTC).date()
    if end < earliest or start > today:
        raise QuantLakeError(f"{start} to {end} holds no partition: dates are {earliest} to today")
    return start, end


def refreshed(
    adapters: Adapters, graph: Catalog, datasets: Sequence[Dataset], *, landing: bool, span: tuple[date, date] | None = None,
    again: bool = False, requested_by: str = "refresh",
) -> bool:  # fmt: skip
    """Refresh with a progress bar and a table at the end; False if anything failed."""
    from quantlake.orchestration.build import Outcome
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.refresh import refresh as run
    from quantlake.orchestration.staleness import outside

    started = time.monotonic()
    with open_instance(adapters.settings.dagster_home) as instance, show.progress() as bar:
        task = bar.add_task("landing" if landing else "looking", total=None)

        def planned(asset_dates: int) -> None:
            bar.update(task, total=bar.tasks[0].completed + asset_dates, description="building")

        def observed(dataset: Dataset, outcome: Outcome) -> None:
            bar.update(task, advance=1 if bar.tasks[0].total else 0, description=f"{dataset.path} {outcome.partition}")

        done = run(
            graph, datasets, adapters, instance, landing=landing, span=span, again=again, requested_by=requested_by, planned=planned,
            observe=observed,
        )
    if done.resumed:
        began = show.plain(done.resumed)
        show.err.print(f"took up the rebuild of {began}, which was cut short: what it had built was not built again", highlight=False)
    for path, days in outside(graph, adapters).items():
        listed = ", ".join(map(str, days[:5]))
        show.err.print(f"{path} holds rows dated {listed}: no partition has these dates, and nothing is built from them", highlight=False)
    if not done.outcomes and not done.errors:
        show.out.print("nothing to do: every selected asset is as new as its inputs", highlight=False)
        return True
    rows = []
    for dataset in graph.datasets:
        outcomes = done.outcomes.get(dataset.path, [])
        if not outcomes:
            continue
        results = [r for o in outcomes for r in o.results]
        failed = sum(not r.passed and (r.blocking or r.check in GRAVE) for r in results)
        warned = sum(not r.passed for r in results) - failed
        checks = f"{sum(r.passed for r in results)} passed" + (f", {warned} warned" if warned else "") + (f", {failed} FAILED" if failed else "")
        total = sum(o.rows for o in outcomes if o.good)
        rows.append((dataset.path, len(outcomes), f"{total:,}", checks, f"{done.seconds[dataset.path]:.1f}" if dataset.path in done.seconds else ""))
    show.table(["asset", "dates", "rows", "checks", "seconds"], rows, right=["dates", "rows", "seconds"])
    show.out.print(f"{done.runs} runs in {time.monotonic() - started:.1f} s", highlight=False)
    for path, day, why in done.rejected:
        show.out.print(f"rejected: {path} {day}: {why}", highlight=False, markup=False)
    for error in done.errors:
        show.err.print(f"quantlake: {error}", highlight=False, markup=False, soft_wrap=True)
    return not done.rejected and not done.errors
