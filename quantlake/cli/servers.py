"""Commands that run servers: up, dev, env; and contract register."""

import shlex
import signal
import sys
import threading
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from quantlake.cli import show
from quantlake.cli.embedded import Embedded, register_contracts
from quantlake.contract import QuantLakeError, Stream
from quantlake.wiring import Adapters, catalog, platform

if TYPE_CHECKING:
    from quantlake.cli.supervise import DagsterDev

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
    """Run the embedded servers, the Dagster UI and the daemon, all on 127.0.0.1: what arrives is landed and built by itself."""
    _serve(broker_port, port)


def env() -> None:
    """Print the export lines that make plain dagster commands use this home: eval "$(quantlake env)"."""
    from quantlake.orchestration.instance import prepare

    settings = platform().settings
    values: dict[str, object] = {"QUANTLAKE_HOME": settings.root, "QUANTLAKE_PROFILE": settings.profile, "DAGSTER_HOME": prepare(settings.dagster_home)}
    if settings.datasets:
        values["QUANTLAKE_DATASETS"] = settings.datasets
    for name, value in values.items():
        print(f"export {name}={shlex.quote(str(value))}")


def _serve(port: int, dagster_port: int | None = None) -> None:
    from quantlake.cli.supervise import DagsterDev
    from quantlake.orchestration.assets import report_landing
    from quantlake.orchestration.instance import open_instance

    stop = threading.Event()

    def asked(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # a second time: at once
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    adapters = platform()
    with open_instance(adapters.settings.dagster_home) as instance:

        def report(stream: Stream, dates: frozenset[date]) -> None:
            report_landing(instance, adapters, stream, sorted(dates))

        with Embedded(adapters, catalog(), port=port, report=report) as servers:
            servers.open_stores()
            child = DagsterDev(adapters, dagster_port) if dagster_port else None
            try:
                if child:
                    child.start()
                print(f"broker at {servers.broker.address}, home {adapters.settings.root}", flush=True)
                if child:
                    print(f"Dagster starts, its output goes to {child.log_file}", flush=True)
                print("ready", flush=True)
                _keep(servers, child, stop, adapters)
                print("stopping: landing what is pending (a second Ctrl-C: at once, without it)", flush=True)
            finally:
                if child:
                    child.end()


def _keep(servers: Embedded, child: "DagsterDev | None", stop: threading.Event, adapters: Adapters) -> None:
    """Land what arrives until told to stop."""
    while not stop.wait(LANDING_SECONDS):
        if not servers.alive:
            raise QuantLakeError(f"the broker ended by itself; its output is in {adapters.settings.root / 'logs' / 'broker.log'}")
        if child:
            child.check()
        try:
            landed = servers.land()
            if landed.rows or landed.dead_letters:
                print(f"landed {landed.rows} rows, {landed.dead_letters} dead letters", flush=True)
        except QuantLakeError as error:
            print(f"landing: {error}", file=sys.stderr, flush=True)
