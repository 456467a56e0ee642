"""A vendor's file and its correction through the real commands: what follows, what was known before, and a replay killed in its middle."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import Derived, FeatureView
from quantlake.datasets.market import bars_1m
from quantlake.datasets.market.trades import raw, trades
from quantlake.serving.frames import Tables
from quantlake.wiring import catalog
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for
from quantlake_tests.e2e.edited import DAY, FOLLOWING, Edition, editions
from quantlake_tests.e2e.gate import gate
from quantlake_tests.serving.world import platform


class Home:
    """A home that lands nothing by itself, and two editions of a file."""

    def __init__(self, ql: Commands, broker: Kafka) -> None:
        self.ql, self.broker = ql, broker
        self.first, self.second = editions(ql.folder)
        self._lake = Iceberg.embedded(ql.home / "lake", ql.home / "locks")

    def replay(self, *sent: Edition) -> None:
        self.ql.run("replay", *(str(edition.folder) for edition in sent))

    def refresh(self, select: str = "*") -> datetime:
        """What is selected lands and is built; a moment after it."""
        self.ql.run("refresh", "--select", select)
        return datetime.now(UTC)

    def table(self, path: str, then: datetime | None = None) -> pl.DataFrame:
        return Tables(catalog(), platform(self._lake)).table(path, then).filter(pl.col("partition_date") == DAY).collect()

    def versions(self) -> pl.DataFrame:
        return Tables(catalog(), platform(self._lake)).table(trades.path, versions=True).collect()

    def raw_rows(self) -> int:
        return sum(self._lake.counts(raw.spec).values())

    def minutes(self, *options: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What `quantlake sql` says of the bars of a minute: the rollup's, and the derived ones' in the same columns, beside all they have."""
        counted = ", ".join(c.name for c in bars_1m.rollup.columns)
        rest = ", ".join(c.name for c in bars_1m.bars.columns if c not in bars_1m.rollup.columns)
        nothing = ", ".join(f"NULL AS {c.name}" for c in bars_1m.bars.columns if c not in bars_1m.rollup.columns)
        both = (f"SELECT {counted}, {more}, '{layer}' AS layer FROM {layer}_market_bars_1m" for layer, more in (("rollup", nothing), ("derived", rest)))
        rows = self.ql.sql(" UNION ALL ".join(both) + " ORDER BY layer, symbol, bar_start", *options)
        return [row for row in rows if row["layer"] == "rollup"], [row for row in rows if row["layer"] == "derived"]

    def everything(self, then: datetime | None = None) -> dict[str, pl.DataFrame]:
        """Trades and all that follows from them in the lake, by path; as known then."""
        return {path: self.table(path, then) for path in (trades.path, *(d.path for d in FOLLOWING))}

    def answers(self, edition: Edition) -> None:
        """Requires that the latest of every table is what its function makes of this edition alone; when it was known apart."""
        columns = ["line_number", "item_index", *trades.business_columns]
        held = self.table(trades.path).sort("line_number")
        assert held.select(columns).equals(edition.trades.sort("line_number").select(columns))
        for dataset in FOLLOWING:
            assert isinstance(dataset, Derived | FeatureView)
            key = [*dataset.key]
            expected = edition.following[dataset.path].drop("known_at").sort(key)
            assert self.table(dataset.path).drop("known_at").sort(key).equals(expected), dataset.path

    def clean(self) -> bool:
        return self.ql.run("audit").stdout.rstrip().endswith("\nclean")

    def ends(self) -> int:
        """How many messages the broker has acknowledged."""
        return sum(self.broker.ends(raw.topic, dict.fromkeys(range(raw.topic_partitions), 0)).values())

    def killed(self, edition: Edition, takes: int) -> int:
        """A replay through a pipe that takes so many bytes, ended by SIGKILL when it stands still; how many of its messages arrived."""
        before, file = self.ends(), self.ql.home / "run" / "broker.json"
        announced_as = json.loads(file.read_text())
        with gate(int(announced_as["address"].split(":")[1]), takes) as port:
            file.write_text(json.dumps(announced_as | {"address": f"127.0.0.1:{port}"}))
            command = [str(BIN / "quantlake"), "replay", str(edition.folder)]
            process = subprocess.Popen(command, env=self.ql.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wait_for(lambda: process.poll() is not None or self.ends() > before, 60)
                time.sleep(1)
                assert process.poll() is None, "it ended by itself"
            finally:
                process.kill()
                process.wait()
                file.write_text(json.dumps(announced_as))
        return self.ends() - before


@contextmanager
def a_home() -> Iterator[Home]:
    with commands() as ql, announced(ql) as (broker, _):
        yield Home(ql, broker)


def require_equal(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    """All rows and columns, in whatever order."""
    for path, frame in expected.items():
        keys = [c for c in ("symbol", "line_number", "bar_start", "event_time") if c in frame.columns]
        assert found[path].sort(keys).equals(frame.sort(keys)), path


def test_a_correction_takes_over_and_what_was_known_before_stays() -> None:
    with a_home() as home:
        home.replay(home.first)
        between = home.refresh()
        home.answers(home.first)
        old, old_minutes = home.everything(), home.minutes()

        home.replay(home.second)
        home.refresh()
        home.answers(home.second)
        new, new_minutes = home.everything(), home.minutes()
        assert without_layer(new_minutes[0]) == without_layer(new_minutes[1])
        assert new_minutes != old_minutes

        require_equal(home.everything(between), old)
        require_equal(home.everything(datetime.now(UTC)), new)
        assert home.minutes("--as-known-at", between.isoformat()) == old_minutes

        versions, rows = home.versions(), home.raw_rows()
        assert rows == len(home.first.lines) + len(home.second.lines)
        home.replay(home.first, home.second)
        home.refresh('+key:"curated/market/trades"')
        assert home.raw_rows() == 2 * rows
        assert home.versions().equals(versions)
        assert home.clean()


def without_layer(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the rollup's columns."""
    return [{c.name: row[c.name] for c in bars_1m.rollup.columns} for row in rows]


@pytest.mark.faults
def test_half_a_correction_is_not_visible_and_the_rest_makes_it_so() -> None:
    with a_home() as home:
        home.replay(home.first)
        home.refresh()
        old = home.everything()
        arrived = home.killed(home.second, takes=250_000)
        assert 0 < arrived < len(home.second.lines)
        home.refresh()
        assert home.raw_rows() == len(home.first.lines) + arrived
        require_equal(home.everything(), old)
        home.answers(home.first)
        assert home.clean()

        home.replay(home.second)
        home.refresh()
        assert home.raw_rows() == len(home.first.lines) + arrived + len(home.second.lines)
        home.answers(home.second)
        assert home.clean()
