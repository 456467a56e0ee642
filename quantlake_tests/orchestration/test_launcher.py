"""Warm runs: a small graph run by real workers, what becomes of runs when processes are killed, and the instance's file."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.instance.config import dagster_instance_config
from dagster._core.launcher import WorkerStatus
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from quantlake.orchestration.instance import configuration, open_instance, prepare, reap
from quantlake.orchestration.launcher import DIED, PRELOAD, WORKER, WarmRunLauncher, living_worker, worker_tags

GRAPH = """
import time
import dagster as dg

@dg.asset
def said():
    print("said by the step")

@dg.asset
def endless():
    while True:
        time.sleep(0.1)

jobs = [dg.define_asset_job(name, [name], executor_def=dg.in_process_executor) for name in ("said", "endless")]
defs = dg.Definitions(assets=[said, endless], jobs=jobs)
"""
OTHER = """
import sys
from dagster._core.execution.api import execute_run_iterator
from quantlake.orchestration.instance import open_instance
from quantlake_tests.orchestration.test_launcher import make
from pathlib import Path

folder, how = Path(sys.argv[1]), sys.argv[2]
if __name__ == "__main__":
    with open_instance(folder) as instance:
        run, job = make(instance, folder, "endless")
        print(run.run_id, flush=True)
        if how == "launches":
            instance.launch_run(run.run_id, None)
            print("launched", flush=True)
            sys.stdin.read()
        else:
            list(execute_run_iterator(job, run, instance))
"""
S = dg.DagsterRunStatus


def make(instance: dg.DagsterInstance, folder: Path, name: str, **options: Any) -> tuple[dg.DagsterRun, Any]:
    """A run of a job of the small graph, not started, with the origin that a code location gives it; and the job."""
    (folder / "graph.py").write_text(GRAPH)
    repository = ReconstructableRepository.for_file(str(folder / "graph.py"), "defs", str(folder))
    job = repository.get_reconstructable_job(name)
    return instance.create_run_for_job(job.get_definition(), job_code_origin=job.get_python_origin(), **options), job


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Home:
    """An instance as a home has it, whose server of workers loads little."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content = configuration(folder)
        content["run_launcher"]["config"] = {"preload": ["dagster._cli.api"]}
        (folder / "dagster.yaml").write_text(yaml.safe_dump(content))
        self.instance = open_instance(folder)

    @property
    def launcher(self) -> WarmRunLauncher:
        assert isinstance(self.instance.run_launcher, WarmRunLauncher)
        return self.instance.run_launcher

    def launch(self, name: str, **options: Any) -> str:
        run, _ = make(self.instance, self.folder, name, **options)
        return self.instance.launch_run(run.run_id, None).run_id  # type: ignore[arg-type]  # no workspace is needed

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def reach(self, run_id: str, *statuses: dg.DagsterRunStatus) -> dg.DagsterRun:
        wait_for(lambda: self.run(run_id).status in statuses)
        return self.run(run_id)

    def working(self, run_id: str) -> int:
        """The process of an endless run that is in its step."""
        started = dg.DagsterEventType.STEP_START
        wait_for(lambda: self.instance.all_logs(run_id, of_type=started))
        return living_worker(self.instance, self.run(run_id)) or 0

    def kill(self, run_id: str) -> None:
        pid = self.working(run_id)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: gone(pid))

    def other(self, how: str) -> tuple[subprocess.Popen[str], str]:
        """Another process that ``launches`` an endless run, or ``executes`` it itself."""
        command = [sys.executable, "-c", OTHER, str(self.folder), how]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def server(self) -> psutil.Process:
        (server,) = servers()
        return server


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path)
    with found.instance:
        yield found


def servers() -> list[psutil.Process]:
    """The servers of warm workers that this process started; other tests' servers are its children too."""
    return [p for p in psutil.Process().children() if "quantlake.orchestration.launcher" in p.cmdline()]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_runs_work_in_children_of_one_idle_server(home: Home) -> None:
    assert not servers()  # opening an instance starts nothing
    first = home.reach(home.launch("said"), S.SUCCESS)
    server = home.server()
    second = home.reach(home.launch("said"), S.SUCCESS)
    assert home.server() == server and server.num_threads() == 1
    assert first.tags[WORKER] != second.tags[WORKER]
    wait_for(lambda: not server.children())  # nobody is left, not even as a zombie
    (captured,) = home.instance.all_logs(second.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    key = [second.run_id, "compute_logs", captured.get_dagster_event().logs_captured_data.file_key]
    assert home.instance.compute_log_manager.get_log_data(key).stdout == b"said by the step\n"
    assert home.launcher.check_run_worker_health(second).status == WorkerStatus.SUCCESS

    kept = home.launch("endless")
    pid = home.working(kept)
    server.kill()
    wait_for(lambda: server.status() == psutil.STATUS_ZOMBIE)
    home.reach(home.launch("said"), S.SUCCESS)  # from another server
    assert home.server() != server and psutil.pid_exists(pid)
    home.instance.dispose()
    assert not servers()
    wait_for(lambda: gone(pid))


def test_the_server_keeps_one_thread_with_all_that_runs_use_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_instance(tmp_path) as instance:
        run, _ = make(instance, tmp_path, "said")
        instance.launch_run(run.run_id, None)  # type: ignore[arg-type]
        (server,) = [p for p in psutil.Process().children() if PRELOAD[-1] in p.cmdline()]
        assert server.num_threads() == 1
        assert "not preloaded" not in capfd.readouterr().err


def test_a_run_is_canceled_whether_its_worker_lives_or_not(home: Home) -> None:
    living, dead = home.launch("endless"), home.launch("endless")
    pid = home.working(living)
    assert home.launcher.check_run_worker_health(home.run(living)).status == WorkerStatus.RUNNING
    assert home.launcher.terminate(living)
    home.reach(living, S.CANCELED)
    wait_for(lambda: gone(pid))
    home.kill(dead)
    assert home.launcher.terminate(dead)
    assert home.run(dead).status == S.CANCELED
    assert not home.launcher.terminate(dead)  # it has ended

    run, _ = make(home.instance, home.folder, "said", status=S.STARTING)  # canceled before it has a worker
    assert home.launcher.terminate(run.run_id)
    assert home.run(run.run_id).status == S.CANCELED


def test_a_worker_that_is_stopped_without_a_cancelation_is_tried_again(home: Home) -> None:
    run_id = home.launch("endless")
    os.kill(home.working(run_id), signal.SIGTERM)
    home.reach(run_id, S.FAILURE)
    wait_for(lambda: home.run(run_id).tags.get("dagster/will_retry") == "true")  # Dagster notes it after the status


def test_monitoring_fails_a_killed_run_and_no_other(home: Home) -> None:
    killed, living = home.launch("endless"), home.launch("endless")
    home.kill(killed)
    home.working(living)
    context: Any = SimpleNamespace(instance=home.instance, create_request_context=lambda: None)
    assert [error for error in execute_run_monitoring_iteration(context, logging.getLogger("test")) if error] == []
    assert (home.run(killed).status, home.run(living).status) == (S.FAILURE, S.STARTED)
    assert home.run(killed).tags["dagster/will_retry"] == "true"


def test_a_retry_is_judged_by_its_own_worker(home: Home) -> None:
    died = home.launch("endless")
    home.kill(died)
    assert reap(home.instance) == [died]
    inherited = {key: value for key, value in home.run(died).tags.items() if key in (WORKER, DIED)}
    assert inherited[DIED] == "true"
    retry = home.launch("endless", tags=inherited, parent_run_id=died, root_run_id=died)  # as Dagster's daemon makes it
    assert home.working(retry)
    assert home.run(retry).tags[DIED] == "false"
    assert reap(home.instance) == []


def test_workers_end_with_who_launched_them_and_their_runs_are_reaped(home: Home) -> None:
    waiting, _ = make(home.instance, home.folder, "said")
    canceling = home.launch("endless")
    home.kill(canceling)
    home.instance.report_run_canceling(home.run(canceling))
    here, _ = make(home.instance, home.folder, "said", status=S.STARTED, tags=worker_tags())
    process, cut_off = home.other("launches")
    pid = home.working(cut_off)
    end(process)
    wait_for(lambda: gone(pid))
    assert home.run(cut_off).status == S.STARTED
    assert sorted(reap(home.instance)) == sorted([cut_off, canceling])
    assert [home.run(run_id).status for run_id in (cut_off, canceling, waiting.run_id)] == [S.FAILURE, S.CANCELED, S.NOT_STARTED]
    assert home.run(cut_off).tags[DIED] == "true"
    assert home.run(here.run_id).status == S.STARTED  # of this process, which lives
    assert reap(home.instance) == []


def test_a_run_that_another_process_executes_is_judged_by_that_process(home: Home) -> None:
    process, run_id = home.other("executes")
    pid = home.working(run_id)
    assert pid == process.pid and WORKER not in home.run(run_id).tags
    assert reap(home.instance) == []
    end(process)
    assert home.launcher.check_run_worker_health(home.run(run_id)).status == WorkerStatus.FAILED
    assert reap(home.instance) == [run_id]


def test_a_process_id_given_to_another_process_is_not_the_worker(home: Home) -> None:
    pid, _, started = worker_tags()[WORKER].partition(":")
    run, _ = make(home.instance, home.folder, "said", status=S.STARTED, tags={WORKER: f"{pid}:{float(started) - 60}"})
    assert living_worker(home.instance, run) == 0
    assert reap(home.instance) == [run.run_id]


def test_a_code_location_with_another_python_is_refused(home: Home) -> None:
    _, job = make(home.instance, home.folder, "said")
    origin = job.get_python_origin()
    elsewhere = origin._replace(repository_origin=origin.repository_origin._replace(executable_path="/elsewhere/bin/python"))
    other = home.instance.create_run_for_job(job.get_definition(), job_code_origin=elsewhere)
    with pytest.raises(Exception, match="DefaultRunLauncher"):
        home.instance.launch_run(other.run_id, None)  # type: ignore[arg-type]
    assert not servers()


def test_the_root_file_is_that_of_a_home_but_relative() -> None:
    root = Path(__file__).parents[2] / "dagster.yaml"
    assert yaml.safe_load(root.read_text()) == configuration(Path(".quantlake/dagster"))


def test_a_file_as_it_was_written_is_renewed_and_a_persons_own_is_kept(tmp_path: Path) -> None:
    path = prepare(tmp_path) / "dagster.yaml"
    current = path.read_text()
    loaded, _ = dagster_instance_config(str(tmp_path))
    assert loaded["run_launcher"]["class"] == "WarmRunLauncher"
    with open_instance(tmp_path) as instance:
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2  # type: ignore[union-attr]

    without = {key: value for key, value in configuration(tmp_path).items() if key not in ("run_launcher", "run_queue")}
    without["storage"] = {"sqlite": {"base_dir": str(tmp_path)}}
    first = "# Written by quantlake; edit it as you like, it is not written again.\n"
    unsigned = first + yaml.safe_dump(without, sort_keys=False)
    path.write_text(unsigned)
    prepare(tmp_path)
    assert path.read_text() == current
    for edited in (unsigned + "retention: {}\n", current.replace("_seconds: 10", "_seconds: 5"), "telemetry: {}\n", ""):
        path.write_text(edited)
        prepare(tmp_path)
        assert path.read_text() == edited
