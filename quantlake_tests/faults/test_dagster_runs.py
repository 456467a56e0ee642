"""`dagster asset materialize` killed in its step: the next one lands what is left, and Dagster comes to know of all that landed."""

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from quantlake.landing.audit import audit
from quantlake.orchestration.instance import open_instance, reap
from quantlake.orchestration.record import up_to_date
from quantlake.orchestration.refresh import refresh
from quantlake.wiring import Adapters
from quantlake_tests.e2e.commands import BIN, ROOT
from quantlake_tests.faults.steps import REPORT, STEPS
from quantlake_tests.orchestration.market import GRAPH, arrive, market, trade, trades

DAYS = [date(2024, 3, 4), date(2024, 3, 5), date(2024, 3, 6)]
ROWS = 10
POINTS = [f"{when} {step.name}" for step in STEPS if "dagster" in step.modes for when in ("before", "after")]
COMMITTED = POINTS[POINTS.index("after catalog commit") :]


@pytest.fixture
def adapters(home: Path) -> Iterator[Adapters]:
    """A home whose broker runs and where nobody lands."""
    with market(home / "home") as found:
        yield found


def materialize(adapters: Adapters, module: str, kill: str = "") -> "subprocess.CompletedProcess[str]":
    """The real command."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("QUANTLAKE_", "DAGSTER_"))}
    settings = adapters.settings
    environment = clean | {"QUANTLAKE_HOME": str(settings.root), "DAGSTER_HOME": str(settings.dagster_home), "FAULTS_KILL": kill}
    command = [BIN / "dagster", "asset", "materialize", "-m", module, "--select", "raw/market/trades", "--partition", str(DAYS[0])]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, timeout=240)


def test_a_killed_run_is_taken_up_by_the_next(adapters: Adapters) -> None:
    killed_and_taken_up(adapters, "after catalog commit")  # the rows are there, and nobody was told


@pytest.mark.faults
@pytest.mark.parametrize("kill", ["before data file close", "after table metadata write", "before catalog commit", f"before {REPORT}", f"after {REPORT}"])
def test_a_run_killed_elsewhere_is_taken_up_by_the_next(adapters: Adapters, kill: str) -> None:
    killed_and_taken_up(adapters, kill)


def killed_and_taken_up(adapters: Adapters, kill: str) -> None:
    raw, lake = trades.raw, adapters.lake
    arrive(adapters, *(trade(day, n) for n in range(ROWS) for day in DAYS))
    with open_instance(adapters.settings.dagster_home) as instance:
        killed = materialize(adapters, "quantlake_tests.faults.armed", kill)
        assert killed.returncode == -9, killed.stdout[-3000:] + killed.stderr[-3000:]
        assert sum(lake.counts(raw.spec).values()) == (ROWS * len(DAYS) if kill in COMMITTED else 0)
        assert len(reap(instance)) == 1, "the run says that it goes on"
        arrive(adapters, trade(DAYS[0], ROWS))
        done = materialize(adapters, "quantlake.definitions")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert lake.counts(raw.spec) == {DAYS[0]: ROWS + 1, DAYS[1]: ROWS, DAYS[2]: ROWS}
        assert DAYS[0] in up_to_date(raw, DAYS, adapters, instance)
        told = refresh(GRAPH, [raw], adapters, instance)  # the dates that the dead run had landed, and not this one
        assert not told.errors
        assert up_to_date(raw, DAYS, adapters, instance) == set(DAYS)
    found = audit(raw, lake=lake, broker=adapters.broker)
    assert all(a.clean and not a.pending for a in found) and sum(a.rows for a in found) == ROWS * len(DAYS) + 1
