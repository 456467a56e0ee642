"""The Dagster instance of a home: its ``dagster.yaml``, and the instance of this process."""

import os
from pathlib import Path
from typing import Any

import dagster as dg


def configuration(folder: Path) -> dict[str, Any]:
    """The embedded profile's ``dagster.yaml``, everything below ``folder``; the repository's own one is the same, relative."""
    return {
        "storage": {"sqlite": {"base_dir": str(folder)}},
        "local_artifact_storage": {
            "module": "dagster._core.storage.root", "class": "LocalArtifactStorage", "config": {"base_dir": str(folder)},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager", "class": "LocalComputeLogManager",
            "config": {"base_dir": str(folder / "storage")},
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 10},
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
    }  # fmt: skip


def prepare(folder: Path) -> Path:
    """Write ``dagster.yaml`` into a home's Dagster folder, unless a person's own is there."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dagster.yaml"
    if not path.exists():
        staged = folder / f"dagster.yaml.{os.getpid()}"
        staged.write_text("# Written by quantlake; edit it as you like, it is not written again.\n" + yaml.safe_dump(configuration(folder), sort_keys=False))
        staged.replace(path)
    return folder


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance whose ``dagster.yaml`` lies in ``folder``."""
    return dg.DagsterInstance.from_config(str(prepare(folder)))
