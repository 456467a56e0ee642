"""The steps of a commit, and a kill at one of them: the real functions run, and the process ends itself just before or just after one.

Here: which functions the steps are, and how they are wrapped. Not here: processes (``landers``), which kills there are (``plan``).
"""

import importlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Told = Callable[[str], None]
RANDOM = "random instant"
REPORT = "report to Dagster"
CATALOGUE = ("table metadata write", "catalog row update", "catalog commit")


@dataclass(frozen=True)
class Step:
    """A function that every commit calls. ``modes``: the landers that call it, where it is not all."""

    name: str
    owner: str
    function: str
    modes: tuple[str, ...] = ("batch", "follow", "dagster")


STEPS = (
    Step("data file write", "pyarrow.parquet:ParquetWriter", "write_table"),
    Step("data file footer", "pyarrow.parquet:ParquetWriter", "close"),
    Step("data file close", "quantlake.adapters.lake.appending:Staged", "_close"),
    Step("manifest write", "pyiceberg.manifest:ManifestWriter", "__exit__"),
    Step("manifest list write", "pyiceberg.manifest:ManifestListWriter", "__exit__"),
    Step("table metadata write", "pyiceberg.catalog:MetastoreCatalog", "_write_metadata"),
    Step("catalog row update", "sqlalchemy.orm.session:Session", "execute"),
    Step("catalog commit", "sqlalchemy.orm.session:Session", "commit"),
    Step("old metadata removal", "pyiceberg.catalog:Catalog", "_delete_old_metadata"),
    Step(REPORT, "dagster:DagsterInstance", "report_runless_asset_event", ("batch", "follow")),
    Step(REPORT, "dagster._core.execution.context.compute:OpExecutionContext", "log_event", ("dagster",)),
)


@dataclass(frozen=True)
class Kill:
    """SIGKILL ``before`` or after a step, the ``times``-th time that a lander comes to it; ``RANDOM``: at this part of the time that a
    landing takes. ``backlog``: it finds some to land; else it lands what comes, as it comes."""

    mode: str
    step: str = RANDOM
    before: bool = True
    times: int = 1
    instant: float = 0.0
    backlog: bool = True

    @property
    def name(self) -> str:
        return self.step if self.step == RANDOM else f"{'before' if self.before else 'after'} {self.step}"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # another thread may run on for a moment; this one goes no further


def armed(kill: Kill, tell: Told) -> None:
    """Wrap the functions of this process: ``tell`` hears of each commit begun (b) and done (c), and of each report (r)."""
    count, lock = 0, threading.Lock()

    def due(step: str, before: bool) -> bool:
        nonlocal count
        if kill.step != step or kill.before != before or not _inside.on:
            return False
        with lock:
            count += 1
            return count == kill.times

    for step in STEPS:
        if kill.mode in step.modes:
            _wrap(step, due, tell)
    _wrap(Step("append", "quantlake.adapters.lake.iceberg:Appender", "commit"), due, tell)


class _Inside:
    """Whether the process lands by now, or still makes its adapters ready; whether it commits by now, or still makes the table."""

    on = False
    commit = False


_inside = _Inside()


def landing() -> None:
    _inside.on = True


def _wrap(step: Step, due: Callable[[str, bool], bool], tell: Told) -> None:
    module, _, name = step.owner.partition(":")
    owner = getattr(importlib.import_module(module), name)
    real, plain = getattr(owner, step.function), isinstance(owner.__dict__[step.function], staticmethod)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if step.name in CATALOGUE and not _inside.commit:
            return real(*arguments, **named)
        if step.name == "catalog row update" and not str(arguments[1]).startswith("UPDATE"):
            return real(*arguments, **named)
        if due(step.name, True):
            die()
        if step.name == "append":
            tell("b")
            _inside.commit = True
        found = real(*arguments, **named)
        if step.name == "catalog commit":
            tell("c")
        elif step.name == REPORT:
            tell("r")
        if due(step.name, False):
            die()
        return found

    setattr(owner, step.function, staticmethod(wrapped) if plain else wrapped)
