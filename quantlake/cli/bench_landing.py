"""Benchmark of landing: what a million trades cost from the broker to the table, against the least that any lander must do.

Each figure is taken in a process of its own, which has imported everything and read a little before it is measured; the lander, the
floors and the consumer use the same client with the same settings. The broker's process is not counted.
"""

import gc
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu
from quantlake.adapters.lake.appending import layout
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.cli import show
from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import subject, wire_schema
from quantlake.landing.follow import Follower
from quantlake.landing.land import land
from quantlake.ports import Message
from quantlake.settings import load
from quantlake.wiring import Adapters

if TYPE_CHECKING:
    from rich.progress import Progress

ROUNDS = 5
ROWS_A_DAY, SYMBOLS, FIRST = 250_000, 20, date(2024, 3, 4)
FOLLOW_ROWS_A_SECOND = 20_000
POLL_ROWS, POLL_SECONDS = 50_000, 0.25


class BrokerKind(StrEnum):
    embedded = "embedded"
    kafka = "kafka"


def landing(
    rows: Annotated[int, typer.Option(min=1000, help="Trade messages on the broker.")] = 1_000_000,
    broker: Annotated[BrokerKind, typer.Option(help="embedded: a fresh one; kafka: that of QUANTLAKE_KAFKA_..., on topics of its own.")] = BrokerKind.embedded,
    rounds: Annotated[int, typer.Option(min=1, help="Each figure is the median of so many.")] = ROUNDS,
    follow_seconds: Annotated[int, typer.Option(min=0, help="How long 20,000 rows a second are followed; 0: not at all.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """Landing a backlog of trades, per CPU-second and wall, with the ratio to two floors; the age of rows at visibility when following."""
    from quantlake.cli.bench import home, print_figures

    with home() as adapters, show.progress() as bar:
        folder = adapters.settings.root
        with _bench(folder, broker) as bench:
            size = _produced(bench, rows, bar)
            figures = {"broker": broker.value, **_measured(bench, rows, size, rounds, bar)}
        if follow_seconds:
            with _bench(folder, broker) as bench:
                figures |= _followed(bench, follow_seconds, bar)
    print_figures(figures, as_json)


def _measured(bench: "Bench", rows: int, size: int, rounds: int, bar: "Progress") -> dict[str, Any]:
    task = bar.add_task("measuring", total=3 * rounds)
    lander: list[dict[str, Any]] = []
    consume: list[dict[str, Any]] = []
    floor: list[dict[str, Any]] = []
    for n in range(rounds):
        lake = bench.folder / f"lake-{n}"
        for found, what in ((lander, "lander"), (consume, "consume"), (floor, "floor")):
            found.append(bench.child(what, lake))
            bar.advance(task)
        shutil.rmtree(lake)
    wrong = {f["rows"] for f in (*lander, *consume, *floor)} - {rows}
    if wrong:
        raise QuantLakeError(f"{rows} rows were sent, {wrong} arrived")
    cpu, floor_cpu, consume_cpu = (_median(found, "cpu_seconds") for found in (lander, floor, consume))
    wall = _median(lander, "seconds")
    return {
        "rows": rows, "rounds": rounds, "rows_per_cpu_second": rows / cpu, "mib_per_cpu_second": size / (1 << 20) / cpu,
        "rows_per_second": rows / wall, "mib_per_second": size / (1 << 20) / wall, "floor_rows_per_cpu_second": rows / floor_cpu,
        "consume_rows_per_cpu_second": rows / consume_cpu, "ratio_to_floor": floor_cpu / cpu, "ratio_to_consume_only": consume_cpu / cpu,
        "peak_rss_mb": max(f["rss_mb"] for f in lander), "files": lander[-1]["files"], "commits": lander[-1]["commits"],
    }  # fmt: skip


def _followed(bench: "Bench", seconds: int, bar: "Progress") -> dict[str, Any]:
    """A follower beside a producer of 20,000 rows a second: how old each row is when the table first shows it."""
    place = bench.folder / "lake-follow"
    stream, lake = bench.stream, _lake(place)
    messages = bench.messages(FOLLOW_ROWS_A_SECOND)
    lake.ensure(stream.spec)
    task = bar.add_task("following", total=seconds)
    follower = subprocess.Popen(bench.command("follow", place), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert follower.stdout
    assert follower.stdin
    follower.stdout.readline()
    seen: list[tuple[float, int]] = []  # when a snapshot was first seen, and which
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(lake, stream, seen, stop))
    watcher.start()
    began, ticks = time.monotonic(), 20
    for n in range(seconds * ticks):
        chunk = len(messages) // ticks
        bench.broker.produce(stream.topic, messages[n % ticks * chunk : (n % ticks + 1) * chunk])
        bar.update(task, completed=n // ticks)
        time.sleep(max(0.0, began + (n + 1) / ticks - time.monotonic()))
    took = time.monotonic() - began
    _until(lambda: sum(lake.counts(stream.spec).values()) == seconds * FOLLOW_ROWS_A_SECOND, 60)
    time.sleep(0.5)
    stop.set()
    watcher.join()
    follower.stdin.close()
    told = json.loads(follower.stdout.readline())
    follower.wait(30)
    ages = sorted(_ages(lake, stream, seen))
    return {
        "followed_rows_per_second": len(ages) / took, "visible_p50_seconds": ages[len(ages) // 2], "visible_p99_seconds": ages[len(ages) * 99 // 100],
        "visible_max_seconds": ages[-1], "follow_peak_rss_mb": told["rss_mb"], "follow_commits": len(lake.commits(stream.spec)),
    }  # fmt: skip


def _watch(lake: Iceberg, stream: Stream, seen: list[tuple[float, int]], stop: threading.Event) -> None:
    known: set[int] = set()
    while not stop.wait(0.05):
        for commit in lake.commits(stream.spec):
            if commit.snapshot_id not in known:
                known.add(commit.snapshot_id)
                seen.append((time.time(), commit.snapshot_id))


def _ages(lake: Iceberg, stream: Stream, seen: Sequence[tuple[float, int]]) -> Iterator[float]:
    import pyarrow.parquet as pq

    before: set[str] = set()
    for at, snapshot_id in seen:
        paths = {p.removeprefix("file://") for p in lake.files(stream.spec, snapshot_id=snapshot_id).paths}
        for path in paths - before:
            stamps = pq.read_table(path, columns=["_timestamp"])["_timestamp"].cast(pa.int64()).to_numpy()
            yield from (at - stamps / 1e6).tolist()
        before |= paths


@dataclass(frozen=True)
class Bench:
    """A benchmark's folder and its broker, with two topics of its own whose names begin with ``prefix``: what is measured, and what the
    measured processes read before. An ``address`` of "": the broker of this process's settings."""

    folder: Path
    address: str
    prefix: str

    @cached_property
    def broker(self) -> Kafka:
        if self.address:
            return Kafka({"bootstrap.servers": self.address})
        found = Adapters(load().model_copy(update={"profile": "production"})).broker
        assert isinstance(found, Kafka)
        return found

    @cached_property
    def registry(self) -> SqliteRegistry:
        return SqliteRegistry(self.folder / "registry.db")

    @cached_property
    def stream(self) -> Stream:
        from quantlake.datasets.market import trades

        return replace(trades.raw, topic=f"{self.prefix}.trades.v1")

    @cached_property
    def warm(self) -> Stream:
        return Stream("bench.bench.warm", doc="", owner="", topic=f"{self.prefix}.warm.v1", message_key="symbol", columns=self.stream.columns)

    def messages(self, rows: int) -> list[Message]:
        return [m for part in _days(rows) for m in self.encoded(part)][:rows]

    def encoded(self, rows: pa.Table) -> list[Message]:
        from quantlake.sources.encode import encode

        return encode(self.stream, rows, self.registry.latest(subject(self.stream))[0])

    def command(self, what: str, lake: Path) -> list[str]:
        """A process of its own; a broker's user and password it has from the environment, as we do."""
        script = "from quantlake.cli.bench_landing import main; main()"
        return [sys.executable, "-c", script, what, str(lake), str(self.folder), self.address, self.prefix]

    def child(self, what: str, lake: Path) -> dict[str, Any]:
        done = subprocess.run(self.command(what, lake), capture_output=True, text=True, check=False)
        if done.returncode:
            raise QuantLakeError(f"the benchmark's {what} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@contextmanager
def _bench(folder: Path, broker: BrokerKind) -> Iterator[Bench]:
    """Its topics are there, and removed afterwards."""
    server = Tansu.start(folder / "logs" / "broker.log") if broker is BrokerKind.embedded else None
    bench = Bench(folder, server.address if server else "", f"bench.{uuid.uuid4().hex}")
    topics = bench.stream.topic, bench.warm.topic
    made: list[str] = []
    try:
        bench.registry.register(subject(bench.stream), wire_schema(bench.stream))
        for topic in topics:
            made += [topic] if bench.broker.create_topic(topic, bench.stream.topic_partitions) else []
        bench.broker.produce(bench.warm.topic, bench.messages(1000))
        yield bench
    finally:
        if server:
            server.stop()
        else:
            for topic in made:
                bench.broker.delete_topic(topic)


def _produced(bench: Bench, rows: int, bar: "Progress") -> int:
    """Put the trades on the broker, in order of time; the bytes of their keys and values."""
    sent = size = 0
    task = bar.add_task("producing", total=rows)
    for part in _days(rows):
        messages = bench.encoded(part)[: rows - sent]
        bench.broker.produce(bench.stream.topic, messages)
        sent += len(messages)
        size += sum(len(m.key or b"") + len(m.value or b"") for m in messages)
        bar.update(task, completed=sent)
    return size


def _days(rows: int) -> Iterator[pa.Table]:
    """At least so many simulated trades, a day each."""
    from quantlake.datasets.market import trades
    from quantlake.sources.importers import typed
    from quantlake.sources.simulate_trades import Market

    days = [FIRST + timedelta(days=n) for n in range(-(-rows // ROWS_A_DAY) * 7 // 5 + 5)]
    market, left = Market(days, SYMBOLS, 7, min(ROWS_A_DAY, rows) // SYMBOLS + 1), rows
    for day in days:
        found = market.trades(day)
        if found is not None and left > 0:
            left -= found.height
            yield typed(trades.raw, found)


def _lake(folder: Path) -> Iceberg:
    return Iceberg.embedded(folder, folder.parent / "locks")


def _median(found: Sequence[dict[str, Any]], name: str) -> float:
    return float(statistics.median(f[name] for f in found))


def _until(done: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise QuantLakeError(f"the rows sent were not visible after {seconds:.0f} s")
        time.sleep(0.2)


# what the measured processes do


def _land(bench: Bench, place: Path) -> dict[str, Any]:
    stream, broker, registry, lake = bench.stream, bench.broker, bench.registry, _lake(place)
    land(bench.warm, broker=broker, registry=registry, lake=lake)
    lake.ensure(stream.spec)
    with counted() as figures:
        landed = land(stream, broker=broker, registry=registry, lake=lake)
        files = lake.files(stream.spec)  # as a reader finds it
    return figures | {"rows": landed.rows + landed.dead_letters, "files": len(files.paths), "commits": len(lake.commits(stream.spec))}


def _consume(broker: Kafka, topic: str, *, everything: bool) -> int:
    """Read a topic to its ends with the bare client, touching each value, or all that a lander must know of a record."""
    from confluent_kafka import Message as Record
    from confluent_kafka import TopicPartition

    touched: list[Any] = [Record.value]
    if everything:
        touched += [Record.key, Record.partition, Record.offset, Record.timestamp]
    consumer = broker.consumer()
    open_ends = set(broker.partitions(topic))
    consumer.assign([TopicPartition(topic, p, 0) for p in open_ends])
    rows = 0
    while open_ends:
        gc.disable()  # as the lander does
        records = consumer.consume(POLL_ROWS, POLL_SECONDS)
        if any(map(Record.error, records)):
            open_ends -= {r.partition() for r in records if r.error()}
            records = [r for r in records if not r.error()]
        for touch in touched:
            list(map(touch, records))
        rows += len(records)
        del records
        gc.enable()
    consumer.close()
    return rows


def _floor(bench: Bench, place: Path, *, write: bool) -> dict[str, Any]:
    import pyarrow.parquet as pq

    stream = bench.stream
    files = []
    if write:  # the lander's rows, as decoded, in its order and row groups
        for path in _lake(place).files(stream.spec).paths:
            file = pq.ParquetFile(path.removeprefix("file://"))
            files.append([file.read_row_group(n).cast(stream.spec.arrow) for n in range(file.num_row_groups)])
    _consume(bench.broker, bench.warm.topic, everything=True)
    with counted() as figures:
        rows = _consume(bench.broker, stream.topic, everything=write)
        for n, groups in enumerate(files):
            dictionaries, encodings = layout(groups[0])
            options: dict[str, Any] = {"compression": "zstd", "use_dictionary": dictionaries, "column_encoding": encodings, "store_schema": False}
            with pq.ParquetWriter(place / f"floor-{n}.parquet", stream.spec.arrow, **options) as writer:
                for group in groups:
                    writer.write_table(group, row_group_size=group.num_rows)
    return figures | {"rows": rows}


def _follow(bench: Bench, place: Path) -> dict[str, Any]:
    """Follow until standard input ends."""
    follower = Follower([bench.stream], broker=bench.broker, registry=bench.registry, lake=_lake(place))
    with counted() as figures:
        follower.start()
        print("ready", flush=True)
        sys.stdin.read()
        follower.stop()
    return figures


@contextmanager
def counted() -> Iterator[dict[str, Any]]:
    """CPU of this process and its children, wall time, and the peak of resident memory, once it is over."""
    gc.collect()
    figures: dict[str, Any] = {}
    cpu, began = sum(os.times()[:4]), time.perf_counter()
    yield figures
    figures["seconds"], figures["cpu_seconds"] = time.perf_counter() - began, sum(os.times()[:4]) - cpu
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had before this program was started
        own = int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    else:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    figures["rss_mb"] = own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """One measured process: what it does, the lake's folder, and the benchmark: its folder, its broker's address, its topics' prefix."""
    what, place, folder, address, prefix = sys.argv[1:]
    runs: dict[str, Callable[[Bench, Path], dict[str, Any]]] = {
        "lander": _land, "follow": _follow, "consume": partial(_floor, write=False), "floor": partial(_floor, write=True),
    }  # fmt: skip
    print(json.dumps(runs[what](Bench(Path(folder), address, prefix), Path(place))), flush=True)
