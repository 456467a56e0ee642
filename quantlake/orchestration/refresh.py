"""Build in this process, through Dagster: land what is pending, then build what is missing or older than its inputs."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from quantlake.contract import Dataset, Stream
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.assemble import assemble
from quantlake.orchestration.assets import Observer
from quantlake.orchestration.build import Outcome
from quantlake.orchestration.launcher import DIED, worker_tags
from quantlake.orchestration.record import asset_key, made_by, runs_tagged
from quantlake.orchestration.staleness import State, Work, first_stage, grouped, of_stale, spanned, state
from quantlake.orchestration.tags import DRAIN, NO_RETRY, ONLY_STALE, RANGE_END, RANGE_START, REBUILD, REBUILD_OF, REQUESTED_BY
from quantlake.ports import Platform

RESUMED_WITHIN = timedelta(days=1)
PLANNED_IN_ONE = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"  # Dagster's own switch
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Refreshed:
    """What a refresh did: outcomes by asset path, runs, and the errors of steps that could not work at all."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    runs: int = 0
    errors: list[str] = field(default_factory=list)
    resumed: datetime | None = None  # when the rebuild began that this one took up

    @property
    def rejected(self) -> list[tuple[str, date, str]]:
        return [(path, o.partition, o.why) for path, outcomes in self.outcomes.items() for o in outcomes if not o.good]


def refresh(
    catalog: Catalog, selected: Sequence[Dataset], platform: Platform, instance: dg.DagsterInstance, *,
    landing: bool = True, span: tuple[date, date] | None = None, again: bool = False, requested_by: str = "refresh",
    planned: Callable[[int], None] | None = None, observe: Observer | None = None,
) -> Refreshed:  # fmt: skip
    """Land (where ``landing``), then build until nothing selected is stale within ``span``; a date that failed is not tried twice.

    ``again``: every date with rows, stale or not; one that was killed is taken up where it stopped. ``planned`` is told how many
    asset-dates are known to be wanted, ``observe`` each one's outcome.
    """
    tags = {REQUESTED_BY: requested_by, NO_RETRY: "0"} | worker_tags()
    rebuilding, resumed = _rebuild_tags(instance, selected, span) if again else ({ONLY_STALE: "true"}, None)
    tags |= rebuilding
    runs = _Runs(catalog, platform, instance, tags, observe)
    runs.done.resumed = resumed
    if landing:
        runs.drain([d for d in selected if isinstance(d, Stream)])
    tried: set[tuple[str, date, str | None]] = set()
    while not runs.done.errors:
        found = state(catalog, selected, platform, instance, span)
        if again:
            made = runs_tagged(instance, REBUILD, tags[REBUILD])
            stale = {d: found.dates[d.path] - made_by(d, instance, made) for d in selected}
        else:
            stale = {d: found.stale(d) for d in selected}
        wanted = {d: {day for day in dates if not tried & _tries(d, day, found)} for d, dates in stale.items()}
        wanted = {dataset: dates for dataset, dates in wanted.items() if dates}
        if not wanted:
            break
        if planned:
            planned(sum(len(dates) for dates in wanted.values()))
        stage = first_stage(wanted)
        failed = any(stale[d] - dates for d, dates in stage.items())  # stale still, and not to be tried again
        for work in grouped(stage, found.holding) if again else of_stale(found, stage) if failed else spanned(stage):
            before = {d.path: len(runs.done.outcomes.get(d.path, [])) for d in work.datasets}
            runs.run(work)
            _remember(work, before, runs.done, found, tried)
    return runs.done


def _tries(dataset: Dataset, day: date, found: State) -> set[tuple[str, date, str | None]]:
    """How a date is remembered: with what it was built from, so that it is wanted again if that changes (books go from day to day)
    while the refresh goes on; or for good (None)."""
    return {(dataset.path, day, None), (dataset.path, day, found.inputs[dataset.path].get(day, ""))}


def _rebuild_tags(
    instance: dg.DagsterInstance, selected: Sequence[Dataset], span: tuple[date, date] | None
) -> tuple[dict[str, str], datetime | None]:
    """A name for the rebuild: a fresh one, or that of the last of the same assets and dates if it was cut short in the last day."""
    asked = f"{' '.join(d.path for d in selected)} {span}"
    latest = next(iter(instance.get_run_records(dg.RunsFilter(tags={REBUILD_OF: asked}), limit=1)), None)
    if latest is not None and datetime.now(UTC) - latest.create_timestamp < RESUMED_WITHIN:
        run = latest.dagster_run
        if run.status is dg.DagsterRunStatus.CANCELED or run.tags.get(DIED) == "true":
            return {REBUILD_OF: asked, REBUILD: run.tags[REBUILD]}, latest.create_timestamp
    return {REBUILD_OF: asked, REBUILD: str(uuid.uuid4())}, None


class _Runs:
    """Runs of Dagster in this process, and what came of them."""

    def __init__(
        self, catalog: Catalog, platform: Platform, instance: dg.DagsterInstance, tags: dict[str, str], observe: Observer | None
    ) -> None:
        self.done = Refreshed()
        self._instance, self._tags, self._observe = instance, tags, observe
        graph = assemble(catalog, lambda: platform, observe=self._seen)
        self._assets = [a for a in graph.assets or () if isinstance(a, dg.AssetsDefinition)]

    def _seen(self, dataset: Dataset, outcome: Outcome) -> None:
        self.done.outcomes.setdefault(dataset.path, []).append(outcome)
        if self._observe:
            self._observe(dataset, outcome)

    def drain(self, streams: Sequence[Stream]) -> None:
        """Land what is pending of these streams; a run has one partitioning, so one start."""
        today = datetime.now(UTC).date()
        for start in sorted({s.start for s in streams}):
            self.run(Work(tuple(s for s in streams if s.start == start), today, today), drain=True)

    def run(self, work: Work, drain: bool = False) -> None:
        # which dates are built is known in the step only, so no check is planned on any; each is evaluated all the same
        selection = dg.AssetSelection.assets(*(asset_key(d) for d in work.datasets)).without_checks()
        tags = {RANGE_START: work.first.isoformat(), RANGE_END: work.last.isoformat()} | self._tags | ({DRAIN: "true"} if drain else {})
        done = self.done
        with _planned_in_one():
            result = dg.materialize(
                self._assets, selection=selection, instance=self._instance, raise_on_error=False, run_config=QUIET, tags=tags
            )
        done.runs += 1
        for event in result.all_events:
            path = str(event.step_key).replace("__", "/")
            if event.is_step_success:
                done.seconds[path] = done.seconds.get(path, 0) + event.step_success_data.duration_ms / 1000
            elif event.is_step_failure:
                failure = event.step_failure_data
                text = failure.user_failure_data.description if failure.user_failure_data else failure.error_display_string
                if failure.error and failure.error.cls_name == "DagsterExecutionInterruptedError":
                    raise KeyboardInterrupt
                if all(o.good for o in done.outcomes.get(path, [])):
                    done.errors.append(str(text))


@contextmanager
def _planned_in_one() -> Iterator[None]:
    """One event says which dates of an asset a run may build, not one a date: of 24 assets over 36 years these were 170 of 530 s, and most
    of the dates are not built. (A date that fails is shown by its failed check; Dagster does not paint it as a failed partition.)"""
    before = os.environ.get(PLANNED_IN_ONE)
    os.environ[PLANNED_IN_ONE] = "true"
    try:
        yield
    finally:
        os.environ.pop(PLANNED_IN_ONE) if before is None else os.environ.update({PLANNED_IN_ONE: before})


def _remember(
    work: Work, before: dict[str, int], done: Refreshed, found: State, tried: set[tuple[str, date, str | None]]
) -> None:
    """Mark what was reached; what a failed upstream kept from running stays wanted, its failed dates aside."""
    reached = False
    blocked: dict[str, set[date]] = {}  # by dataset, inputs first: its own failed dates, and those of what it is built from
    for dataset in work.datasets:
        outcomes = done.outcomes.get(dataset.path, [])[before[dataset.path] :]
        reached = reached or bool(outcomes)
        failed = {o.partition for o in outcomes if not o.good}
        blocked[dataset.path] = failed.union(*(blocked.get(i.path, ()) for i in dataset.inputs))
        tried |= {(dataset.path, o.partition, found.inputs[dataset.path].get(o.partition, "")) for o in outcomes}
        tried |= {(dataset.path, d, None) for d in blocked[dataset.path]}
    if not reached:
        tried |= {(d.path, day, found.inputs[d.path].get(day, "")) for d in work.datasets for day in work.dates}
