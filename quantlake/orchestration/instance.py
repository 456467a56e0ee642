"""The Dagster instance of a home: its ``dagster.yaml``, the instance of this process, and the runs that dead processes left."""

import hashlib
import os
from pathlib import Path
from typing import Any

import dagster as dg

from quantlake.orchestration.launcher import DIED, living_worker


def configuration(folder: Path) -> dict[str, Any]:
    """The embedded profile's ``dagster.yaml``, everything below ``folder``; the repository's own one is the same, relative."""
    return {
        "storage": {
            "custom": {"module": "quantlake.orchestration.storage", "class": "PooledSqliteStorage", "config": {"base_dir": str(folder)}},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root", "class": "LocalArtifactStorage", "config": {"base_dir": str(folder)},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager", "class": "LocalComputeLogManager",
            "config": {"base_dir": str(folder / "storage")},
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_launcher": {"module": "quantlake.orchestration.launcher", "class": "WarmRunLauncher"},
        # no run waits for another, so any number gets a backfill done; two, for two cores
        "run_queue": {"max_concurrent_runs": 2, "dequeue_interval_seconds": 1},
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 10},
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
    }  # fmt: skip


def prepare(folder: Path) -> Path:
    """Write ``dagster.yaml`` into a home's Dagster folder, unless a person's own is there: one that is not as it was written."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dagster.yaml"
    text = _signed(configuration(folder))
    found = path.read_text() if path.exists() else None
    if found is None or (found != text and _as_written(found, folder)):
        staged = folder / f"dagster.yaml.{os.getpid()}"
        staged.write_text(text)
        staged.replace(path)
    return folder


def _signed(content: dict[str, Any]) -> str:
    """The file with the hash of its content in its first line, by which any later version knows that nobody edited it."""
    import yaml

    body = yaml.safe_dump(content, sort_keys=False)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"# Written by quantlake; edit it as you like, then it is kept as it is. {digest}\n{body}"


def _as_written(found: str, folder: Path) -> bool:
    import yaml

    first, _, body = found.partition("\n")
    if first == "# Written by quantlake; edit it as you like, it is not written again.":  # the form without a hash
        content = {key: value for key, value in configuration(folder).items() if key not in ("run_launcher", "run_queue")}
        content["storage"] = {"sqlite": {"base_dir": str(folder)}}
        return bool(body == yaml.safe_dump(content, sort_keys=False))
    return first.endswith(hashlib.sha256(body.encode()).hexdigest())


def reap(instance: dg.DagsterInstance, *, recorded: bool = False) -> list[str]:
    """End the runs that a dead process left behind, and give their ids: STARTING and STARTED ones fail (and so are tried again
    where the daemon may), CANCELING ones are canceled. Queued runs are the daemon's.

    For whoever alone owns the instance, before anything is launched: a run of which no process is recorded counts as dead.
    ``recorded``: only those of which one is; for whoever shares the instance, on the one machine that runs it.
    """
    left = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=left)):
        worker = living_worker(instance, run)
        if worker == 0 or (worker is None and not recorded):
            dead.append(run)
    for run in dead:
        instance.add_run_tags(run.run_id, {DIED: "true"})
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message="Canceled; the process that ran it had died.")
        else:
            instance.report_run_failed(run, message="The process that ran it died, together with what would have noticed.")
    return [run.run_id for run in dead]


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance whose ``dagster.yaml`` lies in ``folder``."""
    return dg.DagsterInstance.from_config(str(prepare(folder)))
