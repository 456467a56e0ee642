"""The ``quantlake`` command: its groups, and one line instead of a traceback."""

import os
import sys
from typing import Annotated

import typer

from quantlake.cli import asking, bars, contracts, ingest, landing, letters, reference, running, sending, servers, state
from quantlake.cli.bench import bench
from quantlake.contract import QuantLakeError

app = typer.Typer(
    help="QuantLake: market, reference, alternative and on-chain data as one Dagster asset graph.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
contract = typer.Typer(help="Contracts: what datasets are.", no_args_is_help=True)
app.add_typer(contract, name="contract")
contract.command("check")(contracts.check)
contract.command("show")(contracts.shown)
contract.command("diff")(contracts.diff)
contract.command("register")(contracts.register)
app.add_typer(bench, name="bench")
app.command("land")(landing.land_)
app.command("object")(asking.object_)
for command in (
    running.demo, servers.up, servers.dev, servers.env, sending.produce, sending.simulate, sending.replay, ingest.ingest, reference.calendars, running.refresh, running.backfill,
    asking.sql, bars.bars, bars.plot, asking.audit, letters.deadletters, asking.fingerprint, state.status, state.why,
):  # fmt: skip
    app.command()(command)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    if debug:
        os.environ["QUANTLAKE_DEBUG"] = "1"


def main() -> None:
    """Run the command line. Exit status: 0 all well, 1 something was found wrong (said in one line), 2 wrong usage, 130 interrupted."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "200")  # 8.0 to 5.1 s on a year of dates
    try:
        app()
    except KeyboardInterrupt:
        print("quantlake: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("QUANTLAKE_DEBUG"):
            raise
        if type(error).__name__ == "DagsterExecutionInterruptedError" or "Query interrupted" in str(error):  # DuckDB's own word of Ctrl-C
            print("quantlake: interrupted", file=sys.stderr)
            sys.exit(130)
        found = str(error) if isinstance(error, QuantLakeError) else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"quantlake: {' '.join(found.split())}", file=sys.stderr)
        sys.exit(1)
