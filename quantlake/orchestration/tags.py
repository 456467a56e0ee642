"""Tags of our runs: what a run is to do of its range, and who asked for it."""

import dagster as dg

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
DRAIN = "quantlake/drain"  # lands what is pending and reports the touched dates only
ONLY_STALE = "quantlake/only_stale"  # builds those dates of its range that are missing or older than their inputs
REBUILD = "quantlake/rebuild"  # builds its range again; a name shared by the runs of one rebuild, of which none repeats another's date
REBUILD_OF = "quantlake/rebuild_of"
NO_RETRY = "dagster/max_retries"  # "0" on a run inside a person's command: the daemon cannot take it up
PRIORITY = "dagster/priority"
REQUESTED_BY = "quantlake/requested_by"
STREAM = "quantlake/stream"  # the stream whose commits asked for the run

_ASKED = (
    (REQUESTED_BY, ""), ("dagster/schedule_name", "schedule "), ("dagster/sensor_name", "sensor "), ("dagster/backfill", "backfill "),
)  # fmt: skip


def requested_by(run: dg.DagsterRun) -> str:
    """Who asked for a run, in words; a retry says of what."""
    asked = next((prefix + run.tags[tag] for tag, prefix in _ASKED if tag in run.tags), "a person")
    return f"{asked}, taken up from run {run.parent_run_id}" if run.parent_run_id else asked
