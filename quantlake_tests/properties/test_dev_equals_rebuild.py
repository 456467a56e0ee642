"""`quantlake dev` whose processes are killed at random moments while messages arrive: what it ends with equals a home built at once.

``QUANTLAKE_SEED`` draws other arrivals and moments. A killed supervisor leaves its broker, which the next start drains; so the
fresh home is built from the same rows, sent again.
"""

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from quantlake.adapters.broker.tansu import free_port
from quantlake.cli.supervise import MARK
from quantlake.orchestration.instance import open_instance
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.conftest import temporary_folder
from quantlake_tests.e2e.commands import Commands, commands, wait_for
from quantlake_tests.properties.arrivals import (
    DAYS,
    NEWS,
    SYMBOLS,
    TIMES,
    VENUES,
    Arrival,
    Correction,
    News,
    Repeat,
    Topics,
    Trade,
    Undecodable,
)
from quantlake_tests.properties.stack import Stack, stack

SEED = int(os.environ.get("QUANTLAKE_SEED", "1"))
LIVES = (("worker", "daemon"), ("worker",), ("dagster dev", "worker"))  # what is killed in each; then the supervisor, but for the last
FOUND_BY = {
    "daemon": ("dagster._daemon",), "dagster dev": ("dagster", "dev"),
    "worker": ("quantlake.orchestration.launcher",),  # and the child of another such
}  # fmt: skip


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_home_whose_processes_are_killed_equals_one_built_at_once() -> None:
    rng, port = random.Random(SEED), free_port()
    with commands() as ql:
        adapters = Adapters(Settings(home=ql.home))
        topics = Topics(adapters)
        for life, victims in enumerate(LIVES):
            with ql.serving("dev", "--port", str(port)) as server:
                adapters.__dict__.pop("broker", None)  # each life has its own
                for victim in victims:
                    for arrival in arrivals(rng):
                        topics.play(arrival)
                    kill(victim, ql.home, rng)
                for arrival in arrivals(rng):
                    topics.play(arrival)
                if life < len(LIVES) - 1:
                    time.sleep(rng.uniform(0, 10))
                    server.kill()
                    server.wait()
                else:
                    wait_for(lambda: settled(ql), 240)
                    assert "NOT clean" not in ql.run("audit").stdout
        with open_instance(ql.home / "dagster") as instance, temporary_folder() as other, stack(other) as fresh:
            continuous = Stack(adapters, instance)
            topics.send_again(fresh.adapters)
            fresh.refresh()
            try:
                assert continuous.content() == fresh.content()
                assert not continuous.idle_commits()
                assert continuous.online() == fresh.online()
            finally:
                adapters.vectors.close()  # type: ignore[attr-defined]


def arrivals(rng: random.Random) -> list[Arrival]:
    """A few of the alphabet; none that withdraws a row."""
    at = datetime.combine(rng.choice(DAYS), rng.choice(TIMES), UTC)
    return [
        Trade(rng.choice(SYMBOLS), rng.choice(VENUES), at, rng.randint(1, 9), 1),
        Trade(rng.choice(SYMBOLS), rng.choice(VENUES), at + timedelta(seconds=rng.choice((0, 70))), rng.randint(1, 9), 2),
        rng.choice((Correction(rng.randint(0, 20), 3, 5, 0), Repeat(rng.randint(0, 20)), News(at, "Rates fall"))),
        rng.choice((Undecodable(NEWS.topic, b"no"), News(at, "Rates rise"))),
    ]


def kill(victim: str, home: Path, rng: random.Random) -> None:
    """SIGKILL, some time after such a process is there."""
    wait_for(lambda: _processes(victim, home), 90)
    time.sleep(rng.uniform(0, 3))
    for process in _processes(victim, home):  # a worker may have ended: then nothing is killed
        process.kill()


def settled(ql: Commands) -> bool:
    """Whether all has landed and is built."""
    assets = json.loads(ql.run("status", "--json").stdout)["assets"]
    return all(a["missing"] == a["stale"] == 0 and not a["lag"] for a in assets)


def _processes(name: str, home: Path) -> list[psutil.Process]:
    try:
        mark = json.loads((home / "run" / "dagster.json").read_text())["mark"]
    except OSError:
        return []
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            parent = process.parent()
            mine = all(w in words for w in FOUND_BY[name]) and process.environ().get(MARK) == mark
            if mine and (name != "worker" or (parent and FOUND_BY["worker"][0] in parent.cmdline())):
                found.append(process)
        except psutil.Error:
            continue  # it has ended
    return found
