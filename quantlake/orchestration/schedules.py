"""What runs daily by itself, whatever lands: maintenance of the lake, and the empty partitions of exchanges' closed days.

Here: when, over what, and why. Not here: how a table is maintained (the lake's adapter), the sweep (``automation``).
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from quantlake.contract import Dataset, EmbeddingIndex, QuantLakeError, Rollup, Sessions, TableSpec
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.record import asset_key
from quantlake.orchestration.tags import REQUESTED_BY
from quantlake.ports import Platform
from quantlake.settings import load

MAINTENANCE = "30 3 * * *"  # UTC


def schedules(catalog: Catalog, platform: Callable[[], Platform]) -> list[dg.ScheduleDefinition]:
    """Maintenance of the lake, and for the sessions of each exchange their closed days; all run unless they are turned off."""
    resting: dict[Sessions, list[Dataset]] = {}
    for dataset in catalog.datasets:
        if dataset.sessions:
            resting.setdefault(dataset.sessions, []).append(dataset)
    used = [s.calendar for s in resting]
    names = {s: f"closed_days_{_word(s.calendar)}" + (f"_{s.due:%H%M}" if used.count(s.calendar) > 1 else "") for s in resting}
    return [_maintenance(catalog, platform), *(_closed_days(names[s], s, datasets) for s, datasets in resting.items())]


def _closed_days(name: str, sessions: Sessions, datasets: list[Dataset]) -> dg.ScheduleDefinition:
    """Requested half-way between ``opens``, from when it counts for the freshness policy, and ``due``, when it must be there."""

    @dg.schedule(
        name=name, cron_schedule=_daily(sessions.middle), execution_timezone=sessions.timezone,
        target=dg.AssetSelection.assets(*(asset_key(d) for d in datasets)), default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Requests the day's partitions where {sessions.calendar} is closed, so that nothing is overdue.",
    )  # fmt: skip
    def requests(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        local = context.scheduled_execution_time.astimezone(ZoneInfo(sessions.timezone))
        day = (local.replace(tzinfo=None) - sessions.middle + timedelta(hours=12)).date()  # noon: changed clocks move ticks
        if not sessions.closed(day):
            yield dg.SkipReason(f"{sessions.calendar} is open on {day}: rows are due by {sessions.due:%H:%M} {sessions.timezone}")
            return
        why = f"{sessions.calendar} is closed on {day}"
        for start in sorted({d.start for d in datasets if d.start <= day}):  # a run has one partitioning, so one start
            members = [d for d in datasets if d.start == start]
            context.log.info(f"{why}: requested {', '.join(d.path for d in members)} of that day, which should come out empty")
            yield dg.RunRequest(
                run_key=f"{name}:{day}:{start}", partition_key=day.isoformat(), asset_selection=[asset_key(d) for d in members],
                asset_check_keys=[], tags={REQUESTED_BY: why},
            )  # fmt: skip

    return requests


def _maintenance(catalog: Catalog, platform: Callable[[], Platform]) -> dg.ScheduleDefinition:
    specs = _lake_tables(catalog)

    @dg.op(
        name="maintain_lake", out=dg.Out(dg.Nothing),
        description="Expires what each table of the lake no longer keeps, and deletes its files.",
    )  # fmt: skip
    def maintain(context: dg.OpExecutionContext) -> None:
        keep = timedelta(days=load().keep_snapshots_days)
        lake = platform().lake
        records, failed = [], {}
        for spec in specs:
            try:
                freed = lake.maintain(spec, keep)
            except Exception as error:
                failed[spec.sql_name] = str(error) if isinstance(error, QuantLakeError) else f"{type(error).__name__}: {error}"
                context.log.error(f"{spec.sql_name}: {failed[spec.sql_name]}")
                continue
            if freed.expired:
                context.log.info(f"{spec.sql_name}: {freed.expired} snapshots expired, {freed.files} files of them deleted")
                records.append(dg.TableRecord({"table": spec.sql_name, **vars(freed)}))
        total = sum(int(str(r.data["bytes"])) for r in records)
        found: dict[str, Any] = {"tables": dg.MetadataValue.table(records, _FREED), "bytes": total}
        if failed:
            listed = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            why = f"{len(failed)} of {len(specs)} tables could not be maintained: {listed}"
            raise dg.Failure(why, metadata=found, allow_retries=False)
        context.add_output_metadata(found)

    @dg.job(name="maintenance", description="Expires old snapshots of every table of the lake, rejected ones too.")
    def job() -> None:
        maintain()

    @dg.schedule(
        name="maintenance", job=job, cron_schedule=MAINTENANCE, execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING, description="Maintains every table of the lake, daily.",
    )  # fmt: skip
    def requests(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = context.scheduled_execution_time.date()
        context.log.info(f"requested the maintenance of {len(specs)} tables: it is done daily")
        return dg.RunRequest(run_key=f"maintenance:{day}", tags={REQUESTED_BY: f"daily maintenance of {day}"})

    return requests


_FREED = dg.TableSchema([
    dg.TableColumn("table", "string"), dg.TableColumn("expired", "int", "Snapshots that can no longer be read."),
    dg.TableColumn("files", "int", "Files deleted that only these had."), dg.TableColumn("bytes", "int", "Their size."),
])  # fmt: skip


def _lake_tables(catalog: Catalog) -> list[TableSpec]:
    stored = [d.spec for d in catalog.datasets if not isinstance(d, Rollup | EmbeddingIndex)]
    return stored + [d.rejected_spec for d in catalog.datasets if d.inputs]


def _daily(after_midnight: timedelta) -> str:
    minutes = after_midnight // timedelta(minutes=1)
    return f"{minutes % 60} {minutes // 60 % 24} * * *"


def _word(calendar: str) -> str:
    """A calendar's name as Dagster allows one: XNYS is xnys, 24/7 is 24_7."""
    return "".join(c if c.isalnum() else "_" for c in calendar.lower())
