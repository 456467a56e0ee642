"""The real commands in real processes, over a home of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantlake_tests.e2e import warm

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Commands:
    """Runs ``quantlake`` and ``dagster`` over one home."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.folder = home.parent
        dropped = ("QUANTLAKE_", "DAGSTER_")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        self.environment = clean | {"QUANTLAKE_HOME": str(home), "COLUMNS": "200"} | environment

    def run(self, *arguments: str, ok: bool = True, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """``quantlake ARGUMENTS``; asserts exit status 0, or 1 and one line of error where not ``ok``."""
        return self._run([str(BIN / "quantlake"), *arguments], self.environment, ok=ok, seconds=seconds)

    def dagster(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """``dagster ARGUMENTS`` with what ``quantlake env`` exports."""
        return self._run([str(BIN / "dagster"), *arguments], self.exported(), ok=ok, seconds=240)

    def exported(self) -> dict[str, str]:
        lines = self.run("env").stdout.splitlines()
        return self.environment | dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)

    def materialize(self, select: str, partition: str, *, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.dagster("asset", "materialize", "-m", "quantlake.definitions", "--select", select, "--partition", partition, ok=ok)

    def sql(self, query: str, *options: str) -> list[dict[str, Any]]:
        return json.loads(self.run("sql", query, "--format", "json", *options).stdout)

    def fingerprint(self, asset: str, partition: str) -> str:
        return self.run("fingerprint", asset, "--partition", partition).stdout.strip()

    def produce(self, stream: str, *rows: dict[str, Any]) -> None:
        path = self.folder / f"produced-{time.monotonic_ns()}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.run("produce", stream, str(path))

    def error(self, *arguments: str) -> str:
        """The one line of a command that must fail."""
        done = self.run(*arguments, ok=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("quantlake: ")]
        assert len(lines) == 1, done.stderr
        return lines[0]

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """``quantlake up|dev`` from ``ready`` to a clean stop (unless it was ended within)."""
        log = (self.folder / "server.log").open("w+")
        process = subprocess.Popen([str(BIN / "quantlake"), *arguments], env=self.environment, stdout=log, stderr=log, cwd=ROOT)
        try:
            wait_for(lambda: "\nready" in (self.folder / "server.log").read_text() or process.poll() is not None, 60)
            assert process.poll() is None, (self.folder / "server.log").read_text()
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
            log.close()

    @staticmethod
    def _run(command: Sequence[str], environment: dict[str, str], *, ok: bool, seconds: float) -> subprocess.CompletedProcess[str]:
        done = warm.run(command, environment, ROOT, seconds)
        assert done.returncode == (0 if ok else 1), f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done


@contextmanager
def commands(**environment: str) -> Iterator[Commands]:
    """Commands over a fresh home (not below pytest's folder, which PostgreSQL's user cannot pass), removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="quantlake-test-"))
    folder.chmod(0o755)
    try:
        yield Commands(folder / "home", **environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.1)
