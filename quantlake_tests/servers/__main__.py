"""``make servers``: the servers of a production profile in the foreground, until Ctrl-C or the end of one of them."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from pydantic import SecretStr

from quantlake.contract import QuantLakeError
from quantlake.orchestration.instance import prepare
from quantlake.settings import Settings
from quantlake_tests.servers.everything import KINDS, Servers, write_environment

HIDDEN = ("QUANTLAKE_CATALOG_PROPERTIES",)  # has keys in it


def main() -> int:
    """0: ended from outside; 1: a server did not start, or ended by itself, and all others were ended. Its output is then kept."""
    parser = argparse.ArgumentParser(prog="python -m quantlake_tests.servers", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*KINDS, []], help="which; none named: all")
    names = parser.parse_args().names
    signal.signal(signal.SIGTERM, _interrupted)
    folder = Path(tempfile.mkdtemp(prefix="quantlake-servers-"))
    folder.chmod(0o755)  # PostgreSQL's user has to pass through; what is secret in it is not open
    ended = 1
    try:
        servers = Servers.start(folder, names)
        try:
            ended = _watched(servers)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave servers behind
            servers.stop()
    except KeyboardInterrupt:
        ended = 0
    except (RuntimeError, QuantLakeError) as error:
        print(error, file=sys.stderr)
    if ended == 0:
        shutil.rmtree(folder)
    return ended


def _watched(servers: Servers) -> int:
    environment, settings = servers.folder / "environment", servers.settings()
    settings["DAGSTER_HOME"] = str(prepare(Path(settings["QUANTLAKE_HOME"]) / "dagster"))  # else plain dagster keeps its runs elsewhere
    write_environment(environment, settings)
    rows = [("server", "version", "process", "address"), *servers.table()]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    for row in rows:
        print(*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3], sep="  ")
    print()
    for name, value in settings.items():
        print(f"# {name} has a secret in it" if _secret(name) else f"export {name}={value}")
    print(f"\nall of them, with the secrets: source {environment}\nrunning until Ctrl-C", flush=True)
    while not (gone := servers.ended()):
        time.sleep(0.2)
    for name in gone:
        print(f"{name} ended with status {servers.running[name].process.returncode}; its output is in {servers.folder / name}", file=sys.stderr)
    return 1


def _secret(name: str) -> bool:
    if name == "DAGSTER_HOME":
        return False
    field = Settings.model_fields[name.removeprefix("QUANTLAKE_").lower()]
    return field.annotation is SecretStr or name in HIDDEN


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
