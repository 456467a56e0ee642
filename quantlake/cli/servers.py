"""Commands that run servers: up, dev, env."""

import shlex
import sys
from typing import Annotated

import typer

from quantlake.cli.embedded import Embedded
from quantlake.cli.landing import LOOK_SECONDS, asked_to_stop, following, line
from quantlake.contract import QuantLakeError
from quantlake.landing.follow import COMMIT_ROWS, COMMIT_SECONDS, land_until
from quantlake.landing.mend import reached
from quantlake.wiring import catalog, platform


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

    stop = asked_to_stop()
    adapters = platform()
    with open_instance(adapters.settings.dagster_home) as instance:
        report = report_landing(instance, adapters, catalog().streams)
        with Embedded(adapters, catalog(), port=port, report=report) as servers:
            for stream, log in servers.ended:
                told = f"{stream.topic}: log {log.id} ended without a clean stop, committed to {reached(log)}; anything after is unknown"
                print(f"{told}. Accept it: quantlake land --topic {stream.topic} --accept-loss", file=sys.stderr, flush=True)
            servers.open_stores()
            child = DagsterDev(adapters, dagster_port) if dagster_port else None
            try:
                if child:
                    child.start()
                print(f"broker at {servers.broker.address}, home {adapters.settings.root}", flush=True)
                if child:
                    print(f"Dagster starts, its output goes to {child.log_file}", flush=True)
                print("ready", flush=True)
                with line() as shown:
                    follower = following(catalog().streams, adapters, report, COMMIT_SECONDS, COMMIT_ROWS, shown)

                    def look() -> None:
                        if not servers.alive:
                            raise QuantLakeError(f"the broker ended by itself; its output is in {adapters.settings.root / 'logs' / 'broker.log'}")
                        if child:
                            child.check()
                        shown.update(follower)

                    land_until(follower, stop, look, LOOK_SECONDS)
                print("stopping: landing what is pending (a second Ctrl-C: at once, without it)", flush=True)
            finally:
                if child:
                    child.end()
