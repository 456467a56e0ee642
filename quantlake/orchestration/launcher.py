"""Runs start warm: a run's worker is forked from a server that has the heavy modules, and any process can tell if it lives.

Here: the embedded profile's run launcher, and how the process of a run is recorded and judged. Not here: what a run does.
Dagster's own launcher starts a Python a run, which imports feast, great_expectations and pyiceberg again, and cannot say whether
that Python still lives, so a killed run would stay STARTED for ever.
"""

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData, deserialize_value, serialize_value

WORKER = "quantlake/worker"
DIED = "quantlake/died"

# What a run imports that is no one's to edit while it serves: QuantLake and the datasets are read afresh by every run.
# polars, chdb and onnxruntime start threads at import, which a fork would lose; they take 0.1-0.3 s each, so a run imports them.
PRELOAD = (
    "dagster._cli.api", "dagster._core.storage.sqlite_storage", "dagster._core.storage.local_compute_log_manager",
    "dagster._core.executor.in_process", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet", "pandas", "psycopg",
    "pyiceberg.catalog.sql", "pyiceberg_core", "feast", "feast.infra.offline_stores.duckdb", "feast.infra.online_stores.sqlite",
    "great_expectations", "great_expectations.expectations", "clickhouse_connect", "confluent_kafka.schema_registry", "fastavro",
    "duckdb", "ibis", "openlineage.client", "tokenizers", "exchange_calendars", "pydantic_settings",
)  # fmt: skip
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
ANSWER_SECONDS = 120.0  # the first answer comes after the imports: 10-15 s of CPU


def worker_tags() -> dict[str, str]:
    """The tags that say of a run that this process works on it; for runs that are executed where they are made."""
    return {WORKER: f"{os.getpid()}:{_age_at_start(os.getpid())}"}


def living_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The process id of a run's worker; 0 where it is dead, None where nothing says which process it is.

    A run without our tag (another launcher's, or one of ``dagster asset materialize``) is judged by the process that logged its
    start.
    """
    if tag := run.tags.get(WORKER):
        pid, _, started = tag.partition(":")
        found = _age_at_start(int(pid))
        return int(pid) if found is not None and abs(found - float(started)) < 2 else 0
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_START):
        if noted := entry.get_dagster_event().pid:
            return _older(noted, entry.timestamp)
    return None


class WarmRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Forks the workers of runs from one server process, started at the first launch of whoever launches (Dagster's daemon).

    The server and the workers end with the process that launched them: a run cut off so is failed by run monitoring, or by
    ``reap`` at the next start, and tried again. A worker that went on alone would meet stores that are being stopped, and fail a
    step, which is not tried again.
    """

    def __init__(self, preload: Sequence[str] = PRELOAD, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._preload = preload
        self._servers: list[Server] = []  # the last forks; closing one that died would end the workers it has left
        self._lock = threading.Lock()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        return {"preload": dg.Field([str], is_required=False, description="What the server imports; default: what runs use.")}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "WarmRunLauncher":
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        from dagster._grpc.types import ExecuteRunArgs

        origin = context.job_code_origin
        if origin is None:
            raise _error("the run does not say where its code is; launch it from a code location")
        if Path(origin.executable_path).parent != Path(sys.executable).parent:
            python = f"the run's code location uses {origin.executable_path}, its launcher {sys.executable}"
            raise _error(f"{python}; give them one Python, or set Dagster's DefaultRunLauncher in dagster.yaml")
        arguments = ExecuteRunArgs(job_origin=origin, run_id=context.dagster_run.run_id, instance_ref=self._instance.get_ref())
        with self._lock:
            if not self._servers or not self._servers[-1].alive:
                self._servers.append(Server(self._preload))
            try:
                self._servers[-1].fork(serialize_value(arguments))
            except OSError as error:
                self._servers[-1].kill()
                raise _error(f"the server of warm workers gave no worker: {error}; its output is the daemon's") from error

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if pid := living_worker(self._instance, run):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGINT)
        else:  # a worker that is only being started reads this before it begins
            self._instance.report_run_canceled(run, message="Canceled; no process works on this run.")
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        pid = living_worker(self._instance, run)
        if pid is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no process is recorded")
        if pid:
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
        ended = self._instance.get_run_by_id(run.run_id)
        if ended is None or ended.is_finished:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process is gone ({WORKER} {run.tags.get(WORKER, 'not recorded')})")

    def dispose(self) -> None:
        with self._lock:
            while self._servers:
                self._servers.pop().close()


class Server:
    """A child process of one thread with ``preload`` imported, that forks a worker for each request; closed, all of them end."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(ANSWER_SECONDS)
        with theirs:
            command = [sys.executable, "-m", "quantlake.orchestration.launcher", str(theirs.fileno()), *preload]
            # a session of its own: Ctrl-C stops the launching process, which is no wish to cancel its runs
            self._process = subprocess.Popen(
                command, env=os.environ | ONE_THREAD, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, request: str) -> int:
        """The process id of a worker forked for ``request``, the arguments of ``dagster api execute_run``; else OSError."""
        self._channel.sendall(request.encode() + b"\n")
        if answer := self._channel.recv(32):
            return int(answer)
        raise OSError("it ended")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._channel.close()


def serve(channel: socket.socket, preload: Sequence[str]) -> str | None:
    """Import, then fork a worker for each line until the channel closes; in a worker returns its request, in the server None."""
    for module in preload:
        try:
            importlib.import_module(module)
        except ImportError as error:  # the run that needs it says so by itself
            print(f"not preloaded: {error}", file=sys.stderr, flush=True)
    gc.freeze()  # or the first collection of each worker would touch, and so copy, every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
    for request in channel.makefile():
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return request
        channel.sendall(str(pid).encode())
    return None


def work(channel: socket.socket, request: str) -> None:
    """Execute a run as ``dagster api execute_run`` does, recorded as its worker; killed when the channel closes."""
    from dagster._cli.api import execute_run_command
    from dagster._grpc.types import ExecuteRunArgs
    from dagster._utils.interrupts import capture_interrupts

    atexit.register(_leave)
    threading.Thread(target=_end_with, args=[channel], name="end-with-launcher", daemon=True).start()
    if "numpy" in sys.modules:  # or every worker draws the same numbers
        sys.modules["numpy"].random.seed()
    with capture_interrupts():  # from the tag on the run may be canceled
        arguments = deserialize_value(request, ExecuteRunArgs)
        with dg.DagsterInstance.from_ref(arguments.instance_ref) as instance:  # type: ignore[arg-type]  # ours is never None
            run = instance.get_run_by_id(arguments.run_id)
            inherited = {DIED: "false"} if run and DIED in run.tags else {}  # a retry begins with the tags of the run that failed
            instance.add_run_tags(arguments.run_id, worker_tags() | inherited)
        execute_run_command.main([request.strip()], standalone_mode=False)


def _end_with(channel: socket.socket) -> None:
    closed = select.poll()
    closed.register(channel, 0)
    closed.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _error(message: str) -> Exception:
    from quantlake.contract import QuantLakeError  # imports polars, whose threads the server must not have

    return QuantLakeError(message)


def _leave() -> None:
    """Runs after all that the run registered for its exit: to tear down every module would take another 0.4 s of CPU."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _age_at_start(pid: int) -> float | None:
    """Seconds from boot to the start of a living process: create time alone moves when the system's clock is set."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() - psutil.boot_time(), 2)
    except psutil.NoSuchProcess:
        return None


def _older(pid: int, timestamp: float) -> int:
    """``pid`` if that process lives and had begun at ``timestamp`` (seconds since the epoch), else 0."""
    import psutil

    try:
        process = psutil.Process(pid)
        return pid if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= timestamp + 1 else 0
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    _channel = socket.socket(fileno=int(sys.argv[1]))
    _channel.set_inheritable(False)
    if _request := serve(_channel, sys.argv[2:]):
        work(_channel, _request)
