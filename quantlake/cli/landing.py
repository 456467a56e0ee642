"""The command that lands: once, or on and on with a live line; and what can be done about a log that broke."""

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from quantlake.cli import show
from quantlake.cli.asking import streams_of
from quantlake.contract import QuantLakeError, Stream
from quantlake.landing.follow import COMMIT_ROWS, COMMIT_SECONDS, Follower, land_until
from quantlake.landing.land import Landed, Report, land
from quantlake.landing.mend import accept_loss, reset
from quantlake.ports import Broker
from quantlake.wiring import Adapters, catalog, embedded_broker, platform

if TYPE_CHECKING:
    pass

LOOK_SECONDS = 0.5
RATE_SECONDS = 10.0
QUIET_SECONDS = 10.0  # where no terminal shows a live line, a line so often while rows arrive


def land_(
    topic: Annotated[list[str] | None, typer.Option(help="Of this topic; may be repeated. Default all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C or SIGTERM; what was read by then is committed.")] = False,
    every: Annotated[float | None, typer.Option(min=0.1, help="With --follow: seconds between commits of what came; default 2.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="With --follow: commit sooner at so many rows; default 500,000.")] = None,
    accept: Annotated[
        bool, typer.Option("--accept-loss", help="Give up what the logs of --topic lost, and land on; the audit keeps it on record for ever.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--reset", help="Land all that the broker holds of --topic again, as a new log; no row is removed, so raw has it twice.")
    ] = False,
) -> None:
    """Land what is pending on Kafka in the raw tables, each offset exactly once; safe beside Dagster's runs and other landers."""
    from quantlake.orchestration.assets import report_landing
    from quantlake.orchestration.instance import open_instance

    if (accept or again) and not topic:
        raise QuantLakeError("name the topic whose loss is accepted, or which begins again: --topic")
    if accept and again:
        raise QuantLakeError("--accept-loss goes on behind what was lost, --reset begins again: choose one")
    if not follow and (every or rows):
        raise QuantLakeError("--every and --rows say when --follow commits; without it, all that is pending is landed at once")
    streams, adapters = streams_of(catalog(), topic or ()), platform()
    if accept or again:
        for stream in streams:
            if again and sys.stdin.isatty():
                typer.confirm(f"land all that the broker holds of {stream.topic} again, beside what is landed of it?", abort=True)
            told = (accept_loss if accept else reset)(stream, broker=adapters.broker, lake=adapters.lake)
            for what in told or ["nothing was lost" if accept else "nothing of it is landed, so there is nothing to begin again"]:
                show.out.print(f"{stream.topic}: {what}", highlight=False, markup=False, soft_wrap=True)
    _ = adapters.broker  # no broker: say so before anything is opened
    with open_instance(adapters.settings.dagster_home) as instance:
        report = report_landing(instance, adapters, streams)
        if not follow:
            _once(streams, adapters, report)
            return
        stop = asked_to_stop()
        with line() as shown:
            shown.say(f"following {', '.join(s.topic for s in streams)}; Ctrl-C ends it, and commits what was read")
            follower = following(streams, adapters, report, every or COMMIT_SECONDS, rows or COMMIT_ROWS, shown)
            land_until(follower, stop, lambda: shown.update(follower), LOOK_SECONDS)
            shown.update(follower, last=True)
        if any(seen.trouble for seen in follower.seen.values()):
            raise typer.Exit(1)


def _once(streams: Sequence[Stream], adapters: Adapters, report: Report) -> None:
    landed: list[tuple[Stream, Landed]] = []
    with show.progress() as bar:
        for stream in streams:
            task = bar.add_task(stream.topic, total=None)
            found = land(
                stream, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake, report=report,
                progress=lambda n, task=task: bar.advance(task, n),  # type: ignore[misc]
            )  # fmt: skip
            landed.append((stream, found))
            bar.remove_task(task)
    shown = [
        (s.topic, f"{f.rows:,}", f"{f.dead_letters:,}", ", ".join(map(str, sorted(f.dates)[:3])) + (" ..." if len(f.dates) > 3 else ""))
        for s, f in landed
    ]
    show.table(["topic", "rows", "dead letters", "dates touched"], shown, right=["rows", "dead letters"])
    for stream, found in landed:
        if found.outside:
            show.err.print(f"{stream.topic}: no partition has the dates {', '.join(map(str, sorted(found.outside)[:5]))}", highlight=False)


def following(
    streams: Sequence[Stream], adapters: Adapters, report: Report, every: float, rows: int, shown: "Line"
) -> Follower:
    """A follower over a profile's servers, whose troubles are told above the live line."""

    def reopened() -> Broker:
        if adapters.embedded and getattr(adapters.broker, "address", "") != embedded_broker(adapters.settings):
            vars(adapters).pop("broker", None)
        return adapters.broker

    return Follower(
        streams, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake, report=report,
        tell=lambda stream, what: shown.say(f"{stream.topic}: {what}" if stream.topic not in what else what), commit_seconds=every, commit_rows=rows,
        reopen=reopened,
    )  # fmt: skip


def asked_to_stop() -> threading.Event:
    """Set by SIGTERM and Ctrl-C; a second one ends at once."""
    stop = threading.Event()

    def asked(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    return stop


class Line:
    """Rate, lag and last commit of a follower: one line that changes on a terminal, else a line now and then."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._counts: deque[tuple[float, int]] = deque()
        self._told: tuple[float, int] = (0.0, 0)

    def update(self, follower: Follower, *, last: bool = False) -> None:
        now = time.monotonic()
        total = sum((s.landed for s in follower.seen.values()), Landed())
        count = total.rows + total.dead_letters
        self._counts.append((now, count))
        while now - self._counts[0][0] > RATE_SECONDS:
            self._counts.popleft()
        since, before = self._counts[0]
        rate = (count - before) / (now - since) if now > since else 0.0
        commits = [s.committed_at for s in follower.seen.values() if s.committed_at]
        ago = f"{(datetime.now(UTC) - max(commits)).total_seconds():.1f} s ago" if commits else "none yet"
        behind = sum(s.behind for s in follower.seen.values())
        broken = [topic for topic, s in follower.seen.items() if s.trouble]
        text = f"landed {total.rows:,} rows, {total.dead_letters:,} dead letters; {rate:,.0f} rows/s; lag {behind:,} records; last commit {ago}"
        text += f"; in trouble: {', '.join(broken)}" if broken else ""
        if self._live:
            self._live.update(Text(text))
        elif last or (count != self._told[1] and now - self._told[0] >= QUIET_SECONDS):
            self._told = (now, count)
            print(text, flush=True)

    def say(self, what: str) -> None:
        """Something that stays."""
        if self._live:
            self._live.console.print(what, highlight=False, markup=False)
        else:
            print(what, file=sys.stderr, flush=True)


@contextmanager
def line() -> Iterator[Line]:
    """A live line where the output is a terminal."""
    if not show.out.is_terminal:
        yield Line(None)
        return
    with Live(console=show.out, refresh_per_second=4, transient=False) as live:
        yield Line(live)
