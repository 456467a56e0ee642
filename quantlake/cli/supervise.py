"""The Dagster processes of `quantlake dev`: started together, started again when they end, ended wholly.

``dagster dev`` stops everything when its daemon dies, leaves processes behind when it is killed, and waits for runs when it is
asked to stop. So each of its processes carries a mark in its environment, by which all of them are found.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from quantlake.adapters.broker.tansu import port_answers, require_free_port
from quantlake.contract import QuantLakeError
from quantlake.wiring import Adapters

if TYPE_CHECKING:
    import psutil

MARK = "QUANTLAKE_TREE"
SETTLED_SECONDS = 60.0  # who lives so long before it ends is started again at once
ATTEMPTS = 3
TERM_SECONDS = 2.0


class DagsterDev:
    """``dagster dev`` over a home; nothing of it outlives ``end``, nor the next ``start`` if nobody could call ``end``."""

    def __init__(self, adapters: Adapters, port: int) -> None:
        self._settings, self._port = adapters.settings, port
        self._announcement = adapters.settings.run / "dagster.json"
        self._failures = 0
        self._mark = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = False

    @property
    def log_file(self) -> Path:
        return self._settings.root / "logs" / "dagster.log"

    def start(self) -> None:
        """Start it, after ending what a killed predecessor left; the runs it left are failed, and so are tried again."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            _end(json.loads(self._announcement.read_text())["mark"])
        self._fail_dead_runs()
        require_free_port(self._port)
        self._mark = uuid.uuid4().hex
        staged = self._announcement.with_suffix(f".{os.getpid()}")
        staged.write_text(json.dumps({"mark": self._mark, "port": self._port}))
        staged.replace(self._announcement)
        settings = self._settings
        environment = os.environ | {"DAGSTER_HOME": str(settings.dagster_home), "QUANTLAKE_HOME": str(settings.root), MARK: self._mark}
        command = [sys.executable, "-m", "dagster", "dev", "-m", "quantlake.definitions", "-h", "127.0.0.1", "-p", str(self._port)]
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            # started where SIGINT is ignored, `dagster dev` ignores SIGTERM too; ours are handled, so its start as the defaults
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._started = time.monotonic()

    def check(self) -> None:
        """Start it again if it has ended. Raises ``QuantLakeError`` where it does not live for a minute ``ATTEMPTS`` times running."""
        status = self._process.poll() if self._process else None
        if status is None:
            if not self._answered and port_answers(self._port):
                self._answered = True
                print(f"Dagster UI at http://127.0.0.1:{self._port}", flush=True)
            return
        self._failures = 1 if time.monotonic() - self._started > SETTLED_SECONDS else self._failures + 1
        if self._failures >= ATTEMPTS:
            raise QuantLakeError(f"`dagster dev` ended by itself {ATTEMPTS} times, the last with status {status}; see {self.log_file}")
        print(f"`dagster dev` ended with status {status}; starting it again", file=sys.stderr, flush=True)
        self.start()

    def end(self) -> None:
        """End all of it. A run that is going is cut off: it is failed, and tried again at the next start."""
        if self._process is None:
            return
        _end(self._mark)
        self._process.wait()
        self._announcement.unlink(missing_ok=True)
        self._fail_dead_runs()

    def _fail_dead_runs(self) -> None:
        from quantlake.orchestration.instance import open_instance, reap

        with open_instance(self._settings.dagster_home) as instance:
            for run_id in reap(instance):
                print(f"run {run_id} was cut off; it is tried again when Dagster runs", flush=True)


def _end(mark: str) -> None:
    """End every process that carries a mark: first the daemon, whose end is that of its workers and of any further launch."""
    import psutil

    family = _marked(mark)
    _signal([p for p in family if p.info["cmdline"] and "dagster._daemon" in p.info["cmdline"]], signal.SIGKILL)
    _signal(family, signal.SIGTERM)
    psutil.wait_procs(family, timeout=TERM_SECONDS)
    _signal(_marked(mark), signal.SIGKILL)  # found again: some may have begun meanwhile
    psutil.wait_procs(_marked(mark), timeout=2)


def _marked(mark: str) -> "list[psutil.Process]":
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # another user's, or ended
    return found


def _signal(processes: "Iterable[psutil.Process]", number: signal.Signals) -> None:
    import psutil

    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
