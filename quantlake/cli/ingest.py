"""The command that receives what exchanges send and asks for what others publish, on and on: a live line, a file that says how it
stands, a clean end."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.live import Live
from rich.text import Text

from quantlake.cli import show
from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.onchain.common import FINAL_DEPTH
from quantlake.wiring import Adapters, catalog, embedded_broker, platform

if TYPE_CHECKING:
    import pyarrow as pa

    from quantlake.ports import Broker
    from quantlake.sources.live.ethereum.known import Known
    from quantlake.sources.live.stats import Stats

STREAM = "market/exchange_messages"
LOOK_SECONDS = 0.5
SAID_SECONDS = 5.0  # where no terminal shows a live line
FILE_SECONDS = 1.0
RATE_SECONDS = 10.0


class Resident(Protocol):
    """What runs until it is stopped, and counts."""

    @property
    def stats(self) -> "Stats": ...

    async def run(self, stop: asyncio.Event) -> None: ...

    def abandon(self) -> None: ...


def ingest(
    source: Annotated[str, typer.Argument(help="binance, coinbase or kraken; edgar or feeds with --config; ethereum with --rpc.")],
    symbols: Annotated[str, typer.Option(help="BTC-USD,ETH-USD: base and quote, whatever the exchange's own spelling.")] = "",
    channels: Annotated[str, typer.Option(help="Of trades,ticker,book; default all.")] = "trades,ticker,book",
    url: Annotated[str | None, typer.Option(help="The websocket's address, wss://host[:port]; default the exchange's public one.")] = None,
    rest_url: Annotated[str | None, typer.Option(help="The REST interface's, https://host[:port] (binance: book snapshots).")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of a source that is asked (edgar, feeds): what of it, how often, as whom.")] = None,
    rpc: Annotated[list[str] | None, typer.Option(help="A chain's node, https://host[:port]/path; may be repeated: the first that works is asked.")] = None,
    from_block: Annotated[int | None, typer.Option(min=0, help="Of a chain: fill what is missing from this height on; default: go on where it ended.")] = None,
    to_block: Annotated[int | None, typer.Option(min=0, help="Of a chain: end at this height; default: follow the newest block.")] = None,
    chain_id: Annotated[int | None, typer.Option(min=1, help="Refuse nodes of another chain than this (EIP-155); default: the nodes' own.")] = None,
    reorg_depth: Annotated[int, typer.Option(min=1, help="How many blocks a chain may take back; so old, a block is history.")] = FINAL_DEPTH,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of the authorities to trust instead of the system's.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=0.1, help="End after so many seconds; default: go on until Ctrl-C or SIGTERM.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="At the end, one object instead of a line.")] = False,
) -> None:
    """Receive an exchange's public messages, or what a source publishes, and send each to Kafka as it came; at the end deliver the rest.

    A connection that ends or falls silent is opened again; a gap in a book asks for a new snapshot; a document is asked for again after its
    time, and what is new in it sent; a chain is followed block by block, whatever it takes back. Exit 1 if anything could not be delivered.
    """
    if source == "ethereum":
        if symbols or url or rest_url or config is not None:
            raise QuantLakeError("--symbols, --url, --rest-url and --config are not for chains: quantlake ingest ethereum --rpc https://host/path")
        _chain(rpc or [], (from_block, to_block), chain_id, reorg_depth, ca_file, seconds, as_json)
        return
    if rpc or from_block is not None or to_block is not None or chain_id is not None:
        raise QuantLakeError("--rpc, --from-block, --to-block and --chain-id are for chains: quantlake ingest ethereum --rpc https://host/path")
    from quantlake.sources.live import polling
    from quantlake.sources.live import venue as live
    from quantlake.sources.live.client import Client, trusting

    if source in polling.SOURCES:
        if config is None:
            raise QuantLakeError(f"what to ask {source} for stands in a file: quantlake ingest {source} --config FILE")
        if symbols or url or rest_url:
            raise QuantLakeError(f"--symbols, --url and --rest-url are for exchanges; what to ask {source} for, and where, stands in {config}")
        plan = polling.plan(source, config)
        send, trust = sending(platform(), plan.streams), trusting(ca_file)
        _resident(source, lambda say: polling.Poller(plan, send, platform().objects.put, say, trust), plan.told, seconds, as_json)
        return
    if config is not None:
        raise QuantLakeError(f"--config is for {', '.join(polling.SOURCES)}; of an exchange write --symbols and --channels")
    if source not in live.NAMES:
        raise QuantLakeError(f"no live feed of {source!r}; there are {', '.join((*live.NAMES, *polling.SOURCES, 'ethereum'))}")
    found = live.venue(source)
    wanted = live.wanted(found, symbols, live.channels(channels))
    stream = catalog().stream(STREAM)
    sends = sending(platform(), (stream,))
    told = {"symbols": sorted({w.symbol for group in wanted for w in group}), "channels": channels}
    _resident(
        source, lambda say: Client(found, wanted, lambda rows: sends(stream, rows), say, url=url, rest_url=rest_url, ca_file=ca_file),
        told, seconds, as_json,
    )  # fmt: skip


def _chain(
    urls: Sequence[str], heights: tuple[int | None, int | None], chain_id: int | None, depth: int, ca_file: Path | None, seconds: float | None, as_json: bool
) -> None:
    """Follow a chain. Its nodes' addresses may hold keys: they are told by host alone."""
    from quantlake.sources.live.client import trusting
    from quantlake.sources.live.ethereum.client import SENT, Client, Wanted
    from quantlake.sources.live.ethereum.nodes import shown

    first, last = heights
    if not urls:
        raise QuantLakeError("which node to ask is missing: quantlake ingest ethereum --rpc https://host[:port]/path")
    if last is not None and (first is None or first > last):
        raise QuantLakeError(f"--to-block {last} needs a --from-block that is no greater")
    told = {"rpc": [shown(url) for url in urls], "from_block": first, "to_block": last}
    wanted = Wanted(urls, first, last, chain_id, depth, processes=os.cpu_count() or 1)
    send, trust = sending(platform(), SENT), trusting(ca_file)
    _resident("ethereum", lambda say: Client(wanted, lambda chain: _known(chain, depth), send, say, trust), told, seconds, as_json)


def _known(chain_id: int, depth: int) -> "Known":
    """What the home has of a chain, with all that was sent of it: what Kafka still has is landed first."""
    from quantlake.datasets.onchain import chain_status
    from quantlake.landing.land import land
    from quantlake.orchestration.assets import report_landing
    from quantlake.orchestration.instance import open_instance
    from quantlake.sources.live.ethereum.client import KEPT
    from quantlake.sources.live.ethereum.known import known

    adapters = platform()
    with open_instance(adapters.settings.dagster_home) as instance:
        report = report_landing(instance, adapters, (chain_status.raw,))
        land(chain_status.raw, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake, report=report)
    return known(adapters.lake, chain_id, KEPT * depth)


def _resident(
    name: str, opened: Callable[[Callable[[str], None]], Resident], settings: Mapping[str, Any], seconds: float | None, as_json: bool
) -> None:
    """A client from start to end, on screen and in its state file. Raises ``QuantLakeError`` where something was not delivered."""
    told: dict[str, Any] = {"venue": name, **settings, "pid": os.getpid()}
    with _screen() as screen:
        client = opened(screen.say)
        with announced(platform().settings.run, name) as announce:
            asyncio.run(_run(client, screen, lambda: announce(told | client.stats.shown()), seconds))
        stats = client.stats
        screen.update(stats, last=not as_json)
    if as_json:
        print(json.dumps(told | stats.shown()))
    if stats.lost:
        why = f": {stats.trouble}" if stats.trouble else ""
        raise QuantLakeError(f"{stats.lost:,} of {stats.messages:,} messages were received and not acknowledged by the broker{why}")


async def _run(client: Resident, screen: "Screen", announce: Callable[[], None], seconds: float | None) -> None:
    """The client, until a signal or the time; a second signal does not wait for the broker."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            client.abandon()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    if seconds:
        loop.call_later(seconds, stop.set)

    async def look() -> None:
        written = -FILE_SECONDS
        while True:
            if time.monotonic() - written >= FILE_SECONDS:
                written = time.monotonic()
                announce()
            screen.update(client.stats)
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.ensure_future(look())
    try:
        await client.run(stop)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def sending(adapters: Adapters, streams: Sequence[Stream]) -> "Callable[[Stream, pa.Table], int]":
    """What sends rows of the streams. Raises ``QuantLakeError`` now, before anything is received, where a topic or subject is not there."""
    from quantlake.contract.wire import subject
    from quantlake.sources.publish import send

    for stream in streams:
        adapters.broker.partitions(stream.topic)
        adapters.registry.latest(subject(stream))

    def broker() -> "Broker":
        """The broker of now: an embedded one that was started again has another address."""
        if adapters.embedded and getattr(adapters.broker, "address", "") != embedded_broker(adapters.settings):
            vars(adapters).pop("broker", None)
        return adapters.broker

    return lambda stream, rows: send(broker(), adapters.registry, stream, rows)


@contextmanager
def announced(folder: Path, venue: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Writes how it stands into ``ingest-<venue>-<pid>.json``, which is gone at the end; what killed ones left is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("ingest-*.json"):
        pid = left.stem.rpartition("-")[2]
        if pid.isdecimal() and not _lives(int(pid)):
            left.unlink(missing_ok=True)
    path = folder / f"ingest-{venue}-{os.getpid()}.json"
    staged = path.with_suffix(".staged")

    def write(told: dict[str, Any]) -> None:
        staged.write_text(json.dumps(told | {"written_at": show.plain(datetime.now(UTC))}))
        staged.replace(path)

    try:
        yield write
    finally:
        path.unlink(missing_ok=True)
        staged.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


class Screen:
    """One line that changes on a terminal, else a line now and then; all on standard error, but the last one."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._counts: deque[tuple[float, int]] = deque()
        self._said = time.monotonic()

    def update(self, stats: "Stats", *, last: bool = False) -> None:
        now = time.monotonic()
        self._counts.append((now, stats.messages))
        while now - self._counts[0][0] > RATE_SECONDS:
            self._counts.popleft()
        since, before = self._counts[0]
        rate = (stats.messages - before) / (now - since) if now > since else 0.0
        broker = f"; NOT DELIVERED: {stats.trouble}" if stats.trouble else ""
        text = (
            f"{stats.messages:,} messages, {stats.acknowledged:,} acknowledged; {rate:,.0f} messages/s; lag {stats.lag_seconds:.1f} s; "
            f"{stats.state}{broker}"
        )
        if last:
            print(text, flush=True)
        elif self._live:
            self._live.update(Text(text))
        elif now - self._said >= SAID_SECONDS:
            self._said = now
            self.say(text)

    def say(self, what: str) -> None:
        """Something that stays."""
        if self._live:
            self._live.console.print(what, highlight=False, markup=False, soft_wrap=True)
        else:
            print(what, file=sys.stderr, flush=True)


@contextmanager
def _screen() -> Iterator[Screen]:
    if not show.err.is_terminal:
        yield Screen(None)
        return
    with contextlib.ExitStack() as stack:
        yield Screen(stack.enter_context(Live(console=show.err, refresh_per_second=4, transient=True)))
