"""Standard error, while damaged messages make polars panic: none of it there, and every line of others in its order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantlake_tests.landing.fuzzing import Fuzzed, hostile
from quantlake_tests.ports.children import ROOT

PANICS = """
import os, sys, threading
from quantlake.contract.wire import wire_schema
from quantlake.landing.avro import AvroReader
from quantlake.landing import quiet
from quantlake.landing.quiet import without_panics
from quantlake.sources.encode import encode
from quantlake_tests.landing.ticks import rows, ticks
reader, value = AvroReader(ticks, wire_schema(ticks), 1), encode(ticks, rows(0, 1), 1)[0].value
def panic():
    assert reader.rows([value[:-2]], len(value) - 2) is None
def elsewhere(write):
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
"""
AMONG = PANICS + """
quiet.LONGEST = 1
print("before", file=sys.stderr)
with without_panics():
    print("one", file=sys.stderr)
    panic()
    elsewhere(lambda: os.write(2, b"two\\nthree\\n"))
    panic()
    panic()
    elsewhere(lambda: print("thread 'x' is no panic", file=sys.stderr))
    panic()
    os.write(2, b"no end of line")
os.write(2, b", it came later\\n")
panic()
with without_panics():
    os.write(2, b"again\\n")
panic()
print("after", file=sys.stderr)
"""
MANY = PANICS + """
over, written = threading.Event(), {"a": 0, "b": 0}
def write(name):
    n = 0
    while not over.wait(0.002):
        os.write(2, f"{name} {n}\\n".encode())
        written[name] = n = n + 1
    os.write(2, f"{name} end {n}\\n".encode())
def look():
    looks = 0
    while looks < 200 or min(written.values()) < 5:  # on a busy machine a writer comes to little meanwhile
        assert reader.rows([value], len(value)) is not None
        looks += 1
writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
readers = [threading.Thread(target=look) for _ in range(2)]
for t in [*writers, *readers]: t.start()
for t in readers: t.join()
over.set()
for t in writers: t.join()
"""
LANDER = """
import sys; from dataclasses import replace; from pathlib import Path
from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.landing.land import land
from quantlake_tests.landing.hostile import fuzzed
address, home, topic = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
found = land(replace(fuzzed, topic=topic), broker=Kafka({"bootstrap.servers": address}), registry=SqliteRegistry(home / "registry.db"),
             lake=Iceberg.embedded(home / "lake", home / "locks"))
print(found.rows + found.dead_letters)
"""


def ran(script: str, *arguments: str | Path, backtrace: str = "") -> subprocess.CompletedProcess[str]:
    """Python's output of a script; ``backtrace``: what RUST_BACKTRACE is, which changes how a panic looks."""
    clean = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    environment = clean | ({"RUST_BACKTRACE": backtrace} if backtrace else {})
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("backtrace", ["", "1", "full"])
def test_lines_among_panics_are_kept(backtrace: str) -> None:
    lines = ["before", "one", "two", "three", "thread 'x' is no panic", "no end of line, it came later", "again", "after"]
    assert ran(AMONG, backtrace=backtrace).stderr.splitlines() == lines


def test_lines_of_threads_are_all_there_and_in_order() -> None:
    lines = ran(MANY).stderr.splitlines()
    for name in "ab":
        own = [line.split()[1:] for line in lines if line.startswith(name)]
        assert own == [*([str(n)] for n in range(len(own) - 1)), ["end", str(len(own) - 1)]] and len(own) > 3
    assert {line[0] for line in lines} == {"a", "b"}


def test_a_lander_says_nothing_of_damaged_messages(fuzzing: Fuzzed, home: Path) -> None:
    fuzzing.send(hostile(8).records(300))
    done = ran(LANDER, fuzzing.broker.address, home, fuzzing.stream.topic)
    assert (done.stdout, done.stderr) == ("300\n", "")
    fuzzing.require_all()
