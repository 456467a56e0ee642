"""Commands that put messages on Kafka: produce, simulate, replay."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from quantlake.cli import show
from quantlake.contract import QuantLakeError
from quantlake.wiring import Adapters, catalog, platform

if TYPE_CHECKING:
    from quantlake.sources.simulate import Simulation


def produce(
    stream: Annotated[str, typer.Argument(help="family/name, e.g. market/trades")],
    file: Annotated[Path, typer.Argument(help="JSON Lines: the message's fields; decimals as strings, times in ISO 8601.")],
) -> None:
    """Send a few messages from a file: for manual corrections and for planting. known_at defaults to now."""
    from quantlake.sources import jsonl
    from quantlake.sources.publish import send

    found = catalog().stream(stream)
    rows = jsonl.read(file, found, datetime.now(UTC))
    adapters = platform()
    sent = send(adapters.broker, adapters.registry, found, rows)
    show.out.print(f"sent {sent} messages to {found.topic}", highlight=False)


def simulate(
    start: Annotated[str, typer.Option(help="First day, e.g. 2024-03-04.")],
    days: Annotated[int, typer.Option(min=1, help="Calendar days.")] = 3,
    symbols: Annotated[int, typer.Option(min=1, help="Instruments: three fifths equities, the rest crypto.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same messages.")] = 7,
    trades_per_day: Annotated[int, typer.Option(min=1, help="On average, of each symbol.")] = 2_000,
) -> None:
    """Send seeded simulated trades and news, with planted duplicates, late rows, an undecodable message and a zero-size trade."""
    from quantlake.sources import simulate as simulator

    try:
        first = date.fromisoformat(start)
    except ValueError:
        raise QuantLakeError(f"--start {start!r} is no date; write it as 2024-03-04") from None
    adapters = platform()
    _ = adapters.broker  # no broker: say so before simulating
    simulation = simulator.simulate(first, days, symbols, seed, trades_per_day)
    sent = send_simulation(adapters, simulation)
    show.out.print(f"sent {sent:,} messages, {simulation.dead_letters} of them undecodable", highlight=False)


def replay(paths: Annotated[list[Path], typer.Argument(help="Recorded files or folders of them.")]) -> None:
    """Send recorded files: market, reference, alternative and on-chain data in the formats of many sources; the format is found from path and content."""
    replay_paths(platform(), paths)


def send_simulation(adapters: Adapters, simulation: "Simulation") -> int:
    from quantlake.sources.publish import send

    sent = 0
    with show.progress() as bar:
        task = bar.add_task("sending", total=sum(b.rows.num_rows for b in simulation.batches))
        for batch in simulation.batches:
            sent += send(adapters.broker, adapters.registry, batch.stream, batch.rows, cut=batch.cut)
            bar.advance(task, batch.rows.num_rows)
    return sent


def replay_paths(adapters: Adapters, paths: list[Path]) -> int:
    """Replay files and folders, name what has no format; returns the records sent."""
    from quantlake.sources import replay as replayer
    from quantlake.sources.publish import send

    planned = replayer.plan(paths, adapters.authors.hashed)
    _ = adapters.broker
    with show.progress() as bar:
        task = bar.add_task("replaying", total=len(planned.files))

        def told(path: Path, records: int, whole: bool) -> None:
            bar.update(task, description=f"replaying {escape(path.name)}: {records:,} records", advance=int(whole))
            if whole:
                bar.console.print(f"{path}: {records:,} records", highlight=False, soft_wrap=True)

        sent = replayer.replay(
            planned, lambda stream, rows: send(adapters.broker, adapters.registry, stream, rows), adapters.objects.put, told
        )
    for stream, records in sent.items():
        show.out.print(f"{stream.topic}: {records:,} records", highlight=False)
    if planned.no_format:
        rows = ((kind, len(files), files[0]) for kind, files in planned.no_format.items())
        show.table(["no format for", "files", "such as"], rows, right=["files"])
    return sum(sent.values())

