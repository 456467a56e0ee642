"""A home with its servers and its Dagster instance, refreshed in this process or in one that is killed, and what it then holds."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow.compute as pc

from quantlake.cli.embedded import Embedded, register_contracts
from quantlake.contract import FeatureView, Stream
from quantlake.contract.fingerprint import Fingerprint, fingerprints
from quantlake.landing.audit import audit
from quantlake.orchestration.build import store_of
from quantlake.orchestration.instance import open_instance, reap
from quantlake.orchestration.launcher import ONE_THREAD, PRELOAD
from quantlake.orchestration.refresh import refresh
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.properties.arrivals import GRAPH, SYMBOLS, VENUES, Kill

PORTS = ("broker", "registry", "lake", "olap", "vectors", "features")
_processes = multiprocessing.get_context("forkserver")  # a child has the heavy modules, and starts in half a second
_processes.set_forkserver_preload(list(PRELOAD))


@dataclass
class Stack:
    """A home whose servers run."""

    adapters: Adapters
    instance: dg.DagsterInstance

    def refresh(self) -> None:
        """As `quantlake refresh`, here, after what `quantlake dev` does at its start: failing the runs of dead processes."""
        reap(self.instance)
        done = refresh(GRAPH, GRAPH.datasets, self.adapters, self.instance)
        assert not done.errors and not done.rejected, (done.errors, done.rejected)

    def refresh_killed(self, kill: Kill) -> bool:
        """As ``refresh``, in a process of its own that is killed; False where it ended before."""
        reap(self.instance)
        process = _processes.Process(target=_refresh_and_die, args=(self.adapters.settings.root, kill))
        before = {name: os.environ.get(name) for name in ONE_THREAD}
        os.environ.update(ONE_THREAD)  # the first one starts the server that forks, which may have no threads
        process.start()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        process.join(300)
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        return process.exitcode != 0

    def content(self) -> dict[str, dict[date, Fingerprint]]:
        """The fingerprint of every partition of every asset, as `quantlake fingerprint` hashes it."""
        found = {}
        for dataset in GRAPH.datasets:
            rows = store_of(dataset, self.adapters).read(dataset.spec)
            if isinstance(dataset, Stream):
                rows = rows.filter(pc.is_null(rows["_error_class"]))
            found[dataset.path] = fingerprints(rows, dataset.fingerprint_columns)
        return found

    def online(self) -> dict[str, list[dict[str, Any]]]:
        """What the online store answers for every entity that there could be, by feature view."""
        asked = pl.DataFrame({"symbol": SYMBOLS}).join(pl.DataFrame({"venue": VENUES}), how="cross").to_dict(as_series=False)
        views = [d for d in GRAPH.datasets if isinstance(d, FeatureView)]
        return {view.path: self.adapters.features.read_online(view, asked).to_pylist() for view in views}

    def newest_offline(self) -> dict[str, list[dict[str, Any]]]:
        """What ``online`` should be: of each entity the newest row of the offline table, nulls where it has none."""
        found = {}
        for view in (d for d in GRAPH.datasets if isinstance(d, FeatureView)):
            rows = pl.DataFrame(self.adapters.lake.read(view.spec)).sort("event_time", "known_at").unique(view.entities, keep="last")
            asked = pl.DataFrame({"symbol": SYMBOLS}).join(pl.DataFrame({"venue": VENUES}), how="cross")
            names = [c.name for c in view.columns if c.name in view.entities or c in view.features]
            found[view.path] = asked.join(rows, on=view.entities, how="left", maintain_order="left").select(names).to_dicts()
        return found

    def unclean(self) -> list[Any]:
        """What the audit finds amiss: gaps, repeats, or messages that have not landed."""
        parts = [p for s in GRAPH.streams for p in audit(s, lake=self.adapters.lake, broker=self.adapters.broker)]
        return [p for p in parts if not p.clean or p.pending or p.status != "live"]

    def idle_commits(self) -> list[tuple[str, set[date], set[date]]]:
        """Commits whose dates are not exactly those whose content they changed: table, dates listed, dates changed."""
        lake: Any = self.adapters.lake
        found = []
        for dataset in (d for d in GRAPH.datasets if store_of(d, self.adapters) is lake and lake.exists(d.spec)):
            operations = {
                s.snapshot_id: s.summary.operation.value
                for s in lake.catalog.load_table((dataset.layer, f"{dataset.family}_{dataset.name}")).metadata.snapshots
            }
            before: dict[date, Fingerprint] = {}
            for commit in lake.commits(dataset.spec):
                if operations[commit.snapshot_id] != "append":
                    continue  # the first half of an overwrite, whose second is an append
                after = fingerprints(lake.read(dataset.spec, snapshot_id=commit.snapshot_id), dataset.stored_columns)
                changed = {d for d in before.keys() | after.keys() if before.get(d) != after.get(d)}
                if changed != commit.dates:
                    found.append((dataset.path, set(commit.dates), changed))
                before = after
        return found


@contextmanager
def stack(home: Path) -> Iterator[Stack]:
    """A fresh home, its servers up."""
    adapters = Adapters(Settings(home=home))
    with Embedded(adapters, GRAPH) as servers, _stores(adapters), open_instance(adapters.settings.dagster_home) as instance:
        servers.open_stores()
        yield Stack(adapters, instance)


@contextmanager
def rebuilt(of: Stack, home: Path) -> Iterator[Stack]:
    """A fresh home refreshed once from all that the other's broker holds."""
    adapters = Adapters(Settings(home=home))
    adapters.__dict__["broker"] = of.adapters.broker
    register_contracts(GRAPH, adapters.broker, adapters.registry, adapters.lake)  # in the same order, so the schema ids are the same
    with _stores(adapters), open_instance(adapters.settings.dagster_home) as instance:
        fresh = Stack(adapters, instance)
        fresh.refresh()
        yield fresh


@contextmanager
def _stores(adapters: Adapters) -> Iterator[None]:
    try:
        yield
    finally:
        adapters.vectors.close()  # type: ignore[attr-defined]


def _refresh_and_die(home: Path, kill: Kill) -> None:
    """The killed process: a refresh over adapters that count the calls of their ports."""
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "200"  # as the commands have it: what was not written yet is lost with the process
    adapters, fuse = Adapters(Settings(home=home)), _Fuse(kill)
    adapters.__dict__.update({name: _Counted(getattr(adapters, name), fuse) for name in PORTS})
    with open_instance(adapters.settings.dagster_home) as instance:
        done = refresh(GRAPH, GRAPH.datasets, adapters, instance)
    assert not done.errors and not done.rejected, (done.errors, done.rejected)


class _Fuse:
    """Kills this process once so many calls have been counted."""

    def __init__(self, kill: Kill) -> None:
        self._kill, self._left = kill, kill.call

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0 and self._kill.milliseconds:
            threading.Timer(self._kill.milliseconds / 1000, _die).start()
        elif self._left == 0:
            _die()


class _Counted:
    """A port whose calls burn the fuse."""

    def __init__(self, port: Any, fuse: _Fuse) -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def counted(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            return found(*arguments, **named)

        return counted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
