"""Commands that run servers: up, dev, env; and contract register."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import typer

from quantlake.adapters.broker.tansu import require_free_port
from quantlake.cli import show
from quantlake.cli.embedded import Embedded, register_contracts
from quantlake.contract import QuantLakeError, Stream
from quantlake.wiring import Adapters, catalog, platform

LANDING_SECONDS = 2.0


def register() -> None:
    """Create the topics and register the subjects of every contract; nothing else ever creates a topic."""
    adapters = platform()
    rows = register_contracts(catalog(), adapters.broker, adapters.registry)
    show.table(["stream", "topic", "", "schema id"], ((s.path, s.topic, "created" if new else "was there", i) for s, new, i in rows))


def up(port: Annotated[int, typer.Option(min=0, max=65535, help="The broker's port; 0: a free one.")] = 0) -> None:
    """Run the embedded servers in the foreground, and land what arrives; a clean stop lands what is pending first."""
    _serve(port)


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The Dagster UI's port.")] = 3000,
    broker_port: Annotated[int, typer.Option(min=0, max=65535, help="The broker's port; 0: a free one.")] = 0,
) -> None:
    """Run the embedded servers, the Dagster UI and the daemon, all on 127.0.0.1."""
    require_free_port(port)
    _serve(broker_port, lambda adapters: _dagster(adapters, port), f"Dagster UI at http://127.0.0.1:{port}")


def env() -> None:
    """Print the export lines that make plain dagster commands use this home: eval "$(quantlake env)"."""
    from quantlake.orchestration.instance import prepare

    settings = platform().settings
    values: dict[str, object] = {"QUANTLAKE_HOME": settings.root, "QUANTLAKE_PROFILE": settings.profile, "DAGSTER_HOME": prepare(settings.dagster_home)}
    if settings.datasets:
        values["QUANTLAKE_DATASETS"] = settings.datasets
    for name, value in values.items():
        print(f"export {name}={shlex.quote(str(value))}")


def _serve(port: int, beside: Callable[[Adapters], Any] | None = None, note: str = "") -> None:
    from quantlake.orchestration.assets import report_landing
    from quantlake.orchestration.instance import open_instance

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    adapters = platform()
    with open_instance(adapters.settings.dagster_home) as instance:

        def report(stream: Stream, dates: frozenset[date]) -> None:
            report_landing(instance, adapters, stream, sorted(dates))

        with Embedded(adapters, catalog(), port=port, report=report) as servers:
            servers.open_stores()
            child = beside(adapters) if beside else None
            try:
                print(f"broker at {servers.broker.address}, home {adapters.settings.root}", flush=True)
                if note:
                    print(note, flush=True)
                print("ready", flush=True)
                while not stop.wait(LANDING_SECONDS):
                    if not servers.alive:
                        raise QuantLakeError(f"the broker ended by itself; its output is in {adapters.settings.root / 'logs' / 'broker.log'}")
                    if child is not None and child.poll() is not None:
                        raise QuantLakeError(f"`dagster dev` ended by itself with status {child.returncode}")
                    try:
                        landed = servers.land()
                        if landed.rows or landed.dead_letters:
                            print(f"landed {landed.rows} rows, {landed.dead_letters} dead letters", flush=True)
                    except QuantLakeError as error:
                        print(f"landing: {error}", file=sys.stderr, flush=True)
                print("stopping: landing what is pending", flush=True)
            finally:
                if child is not None:
                    _end_tree(child.pid)


def _dagster(adapters: Adapters, port: int) -> "subprocess.Popen[bytes]":
    home = adapters.settings.dagster_home
    environment = os.environ | {"DAGSTER_HOME": str(home), "QUANTLAKE_HOME": str(adapters.settings.root)}
    command = [sys.executable, "-m", "dagster", "dev", "-m", "quantlake.definitions", "-h", "127.0.0.1", "-p", str(port)]

    # started where SIGINT is ignored, `dagster dev` ignores SIGTERM too; ours are handled, so its start as the defaults
    log = (adapters.settings.root / "logs" / "dagster.log").open("ab")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


def _end_tree(pid: int) -> None:
    """End a process and all it started: recorded first, since `dagster dev` may leave its children behind."""
    import psutil

    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for ending, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 2)):
        for process in family:
            try:
                process.send_signal(ending)
            except psutil.NoSuchProcess:
                continue
        _, family = psutil.wait_procs(family, timeout=seconds)
