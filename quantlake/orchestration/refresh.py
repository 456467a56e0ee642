"""Refresh in this process, through Dagster: land what is pending, then build what is missing or older than its inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import dagster as dg

from quantlake.contract import Dataset, Stream
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.assemble import assemble
from quantlake.orchestration.assets import DRAIN, Observer, asset_key
from quantlake.orchestration.build import Outcome
from quantlake.orchestration.staleness import Work, grouped, stale
from quantlake.ports import Platform

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


@dataclass
class Refreshed:
    """What a refresh did: outcomes by asset path, runs, and the errors of steps that could not work at all."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    runs: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> list[tuple[str, date, str]]:
        return [(path, o.partition, o.why) for path, outcomes in self.outcomes.items() for o in outcomes if not o.good]


def refresh(
    catalog: Catalog, selected: Sequence[Dataset], platform: Platform, instance: dg.DagsterInstance, *,
    landing: bool = True, planned: Callable[[int], None] | None = None, observe: Observer | None = None,
) -> Refreshed:  # fmt: skip
    """Land (where ``landing``), then build until nothing selected is stale; a date that failed is not tried twice.

    ``planned`` is told how many asset-dates are known to be wanted, ``observe`` each one's outcome.
    """
    done = Refreshed()

    def seen(dataset: Dataset, outcome: Outcome) -> None:
        done.outcomes.setdefault(dataset.path, []).append(outcome)
        if observe:
            observe(dataset, outcome)

    graph = assemble(catalog, lambda: platform, observe=seen)
    streams = [d for d in selected if isinstance(d, Stream)]
    if landing and streams:
        today = datetime.now(UTC).date()
        _run(graph, Work(tuple(streams), today, today), instance, done, drain=True)
    tried: set[tuple[str, date]] = set()
    while True:
        wanted = {
            dataset: {d for d in dates if (dataset.path, d) not in tried}
            for dataset, dates in stale(catalog, selected, platform, instance).items()
        }
        wanted = {dataset: dates for dataset, dates in wanted.items() if dates} if not done.errors else {}
        if not wanted:
            return done
        if planned:
            planned(sum(len(dates) for dates in wanted.values()))
        for work in grouped(wanted):
            before = {d.path: len(done.outcomes.get(d.path, [])) for d in work.datasets}
            _run(graph, work, instance, done)
            _remember(work, before, done, tried)


def _remember(work: Work, before: dict[str, int], done: Refreshed, tried: set[tuple[str, date]]) -> None:
    """Mark what was reached; what a failed upstream kept from running stays wanted, its failed dates aside."""
    reached = False
    blocked: set[date] = set()
    for dataset in work.datasets:
        outcomes = done.outcomes.get(dataset.path, [])[before[dataset.path] :]
        reached = reached or bool(outcomes)
        tried |= {(dataset.path, o.partition) for o in outcomes}
        blocked |= {o.partition for o in outcomes if not o.good}
        tried |= {(dataset.path, d) for d in blocked}
    if not reached:
        days = range((work.last - work.first).days + 1)
        tried |= {(d.path, date.fromordinal(work.first.toordinal() + n)) for d in work.datasets for n in days}


def _run(graph: dg.Definitions, work: Work, instance: dg.DagsterInstance, done: Refreshed, *, drain: bool = False) -> None:
    """One run of Dagster. ``drain``: which dates it will touch is not known before, so no check is planned on any."""
    assets = [a for a in graph.assets or () if isinstance(a, dg.AssetsDefinition)]
    selection = dg.AssetSelection.assets(*(asset_key(d) for d in work.datasets))
    tags = {RANGE_START: work.first.isoformat(), RANGE_END: work.last.isoformat()} | ({DRAIN: "true"} if drain else {})
    result = dg.materialize(
        assets, selection=selection.without_checks() if drain else selection, instance=instance, raise_on_error=False, run_config=QUIET,
        tags=tags,
    )  # fmt: skip
    done.runs += 1
    for event in result.all_events:
        if event.is_step_success:
            path = str(event.step_key).replace("__", "/")
            done.seconds[path] = done.seconds.get(path, 0) + event.step_success_data.duration_ms / 1000
        elif event.is_step_failure:
            failure = event.step_failure_data
            text = failure.user_failure_data.description if failure.user_failure_data else failure.error_display_string
            rejected = any(not o.good for o in done.outcomes.get(str(event.step_key).replace("__", "/"), []))
            if not rejected:
                done.errors.append(str(text))
