"""What keeps the graph right by itself: a sensor on landing commits, automation conditions for every further layer, a daily sweep.

Here: which dates are wanted, and the runs that build them. Not here: what a run builds of its range (``assets``), and what is
stale (``staleness``). No run of these builds a date that is as new as its inputs, so a request too many costs little.
"""

import json
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

from quantlake.contract import Dataset, Input, Stream
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.conditions import condition_of
from quantlake.orchestration.landed import landed_outcomes
from quantlake.orchestration.record import asset_key
from quantlake.orchestration.staleness import Work, grouped, of_stale, spans, state
from quantlake.orchestration.tags import ONLY_STALE, PRIORITY, RANGE_END, RANGE_START, REQUESTED_BY, STREAM
from quantlake.ports import Platform

ACTIVE = (
    dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)  # fmt: skip
SENSOR_SECONDS = 5
CONDITION_SECONDS = 10  # for what no landing asked for: a tick costs an idle laptop 0.03 s of CPU
SWEEP = "50 0 * * *"  # UTC; after the day's last messages
WORDS = 3  # ranges named in a tick's message


def sensors(catalog: Catalog, platform: Callable[[], Platform]) -> list[dg.SensorDefinition]:
    """The sensors on landing commits and on what is looked up, and the one that evaluates the automation conditions."""
    return [_new_data(catalog, platform), _changed_lookups(catalog, platform), ChangedInputs(catalog, platform)]


def sweep(catalog: Catalog, platform: Callable[[], Platform]) -> dg.ScheduleDefinition:
    """The daily comparison of data versions, which picks up what failed or was never requested."""

    @dg.schedule(
        name="sweep", cron_schedule=SWEEP, execution_timezone="UTC", target=_all(catalog), default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compares the data version of every partition with what was built from it, and requests what is missing or older.",
    )  # fmt: skip
    def requests(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        found = state(catalog, catalog.datasets, platform(), context.instance)
        works = of_stale(found, {d: dates for d in catalog.datasets if (dates := found.stale(d))})
        if not works:
            yield dg.SkipReason("every partition was built from what its inputs are")
            return
        day = context.scheduled_execution_time.date()
        context.log.info(f"requested {_ranges(works)}: missing, or not built from what the inputs are")
        for i, work in enumerate(works):
            yield _request(work, f"sweep:{day}:{i}", f"sweep of {day}: missing, or older than an input")

    return requests


@dataclass
class _Seen:
    """How far a stream's commits were read, and the touched dates that wait for an earlier request of theirs to end."""

    sequence: int = 0
    held: tuple[str, ...] = ()


def _new_data(catalog: Catalog, platform: Callable[[], Platform]) -> dg.SensorDefinition:
    @dg.sensor(
        name="new_data", target=_all(catalog), minimum_interval_seconds=SENSOR_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests what is built from the dates that landing and redrive commits touched, late ones included.",
    )  # fmt: skip
    def requests(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = {path: _Seen(**entry) for path, entry in json.loads(context.cursor or "{}").items()}
        wanted: list[dg.RunRequest] = []
        for stream in catalog.streams:
            before = seen.get(stream.path, _Seen())
            seen[stream.path], works = _touched(stream, catalog, platform(), context.instance, before)
            for work in works:
                # a daemon that dies before the cursor is kept asks again by the same key, which Dagster drops
                key = f"{stream.path}:{work.first}:{work.last}:{seen[stream.path].sequence}"
                why = f"new data: commits {before.sequence + 1} to {seen[stream.path].sequence} of {stream.path}"
                context.log.info(f"{why} touched {work.first} to {work.last}; requested {', '.join(d.path for d in work.datasets)}")
                wanted.append(_request(work, key, why, {STREAM: stream.path}))
        context.update_cursor(json.dumps({path: asdict(entry) for path, entry in seen.items()}))
        if wanted:
            return dg.SensorResult(run_requests=wanted)
        waiting = {path: len(entry.held) for path, entry in seen.items() if entry.held}
        if waiting:
            return dg.SkipReason("; ".join(f"{n} dates of {path} wait for an earlier request of theirs" for path, n in waiting.items()))
        return dg.SkipReason("nothing has landed since " + ", ".join(f"commit {entry.sequence} of {path}" for path, entry in seen.items()))

    return requests


def _changed_lookups(catalog: Catalog, platform: Callable[[], Platform]) -> dg.SensorDefinition:
    lookups = {i.dataset for d in catalog.datasets for i in d.reads if _looked_up(i)}

    @dg.sensor(
        name="changed_lookups", target=_all(catalog), minimum_interval_seconds=CONDITION_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING,
        description="Where what is looked up over other dates has changed, compares the dates that look it up, and requests the stale ones.",
    )  # fmt: skip
    def requests(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        before: dict[str, int] = json.loads(context.cursor or "{}")
        records = {d: context.instance.fetch_materializations(asset_key(d), limit=1).records for d in lookups}
        newest = {d.path: found[0].storage_id for d, found in records.items() if found}
        changed = {path for path, id_ in newest.items() if before.get(path) != id_}
        context.update_cursor(json.dumps(newest, sort_keys=True))
        followers = [d for d in catalog.datasets if any(_looked_up(i) and i.dataset.path in changed for i in d.reads)]
        if not followers:
            return dg.SkipReason("nothing that is looked up has changed")
        found = state(catalog, followers, platform(), context.instance)
        works = of_stale(found, {d: dates for d in followers if (dates := found.stale(d))})
        why = f"{', '.join(sorted(changed))} changed, which these dates look up"
        last = max(newest.values())
        wanted = [_request(w, f"lookups:{'+'.join(d.path for d in w.datasets)}:{w.first}:{w.last}:{last}", why) for w in works]
        return dg.SensorResult(run_requests=wanted) if wanted else dg.SkipReason(f"{', '.join(sorted(changed))} changed, and no date with it")

    return requests


def _touched(
    stream: Stream, catalog: Catalog, platform: Platform, instance: dg.DagsterInstance, before: _Seen
) -> tuple[_Seen, list[Work]]:
    """What a stream's commits since ``before`` ask for. Dates of a request that is still going wait: it may have read too early."""
    commits = platform.lake.commits(stream.spec, before.sequence)
    if not commits and not before.held:
        return before, []
    downstream = catalog.downstream(stream)
    datasets = tuple(d for d in catalog.datasets if d.path in downstream)
    today = datetime.now(UTC).date()
    dates = {d for c in commits for d in c.dates}
    if commits and commits[0].sequence > before.sequence + 1:  # some have expired, so all that is stale is asked for
        dates |= platform.lake.counts(stream.spec).keys()
    touched = {d for d in dates if stream.start <= d <= today}
    lately = [d for d in sorted(touched) if today - d <= timedelta(days=1)]  # where dead letters are dated
    touched -= {o.partition for o in landed_outcomes(stream, lately, platform) if not o.rows}
    around = (d + timedelta(days=n) for d in touched for n in range(-stream.spill_days, stream.spill_days + 1))
    touched = {d for d in around if stream.start <= d <= today} | {date.fromisoformat(d) for d in before.held}
    active = instance.get_runs(dg.RunsFilter(statuses=list(ACTIVE), tags={STREAM: stream.path}))
    going = [(date.fromisoformat(str(r.tags[RANGE_START])), date.fromisoformat(str(r.tags[RANGE_END]))) for r in active]
    held = {d for d in touched if any(first <= d <= last for first, last in going)}
    after = _Seen(commits[-1].sequence if commits else before.sequence, tuple(sorted(d.isoformat() for d in held)))
    if not datasets:
        return after, []
    return after, [Work(datasets, *span) for span in spans(touched - held, lambda: platform.lake.counts(stream.spec))]


class ChangedInputs(dg.AutomationConditionSensorDefinition):
    """Dagster's own automation sensor, whose requests become ranges: alone it makes a run of every date."""

    def __init__(self, catalog: Catalog, platform: Callable[[], Platform]) -> None:
        self._catalog, self._platform = catalog, platform
        self._datasets = {asset_key(d): d for d in catalog.datasets if condition_of(d)}
        self._evaluated: tuple[int, str | None] | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)  # a test covers what is used of it
            super().__init__(
                name="changed_inputs", target=dg.AssetSelection.assets(*self._datasets), use_user_code_server=True, emit_backfills=False,
                minimum_interval_seconds=CONDITION_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING,
                description="Evaluates the assets' automation conditions, and requests dates that follow one another as one run.",
            )  # fmt: skip

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """One tick: run requests, or why there are none."""
        latest = context.instance.event_log_storage.get_maximum_record_id() or 0
        if self._evaluated == (latest, context.cursor):  # conditions follow from events alone, and are dear to evaluate
            return SensorExecutionData(skip_message=f"nothing has happened since event {latest}", cursor=context.cursor)
        found = super().evaluate_tick(context)
        self._evaluated = (latest, found.cursor)
        works = self._works(found.run_requests or [])
        why = f"changed inputs: after event {latest}"
        wanted = [_request(w, f"{'+'.join(d.path for d in w.datasets)}:{w.first}:{w.last}:{latest}", why) for w in works]
        if wanted:
            context.log.info(f"requested {_ranges(works)}: an input's content changed")
        return SensorExecutionData(
            run_requests=[
                r.with_replaced_attrs(tags={**r.tags, **dg.DagsterRun.tags_for_sensor(self)})
                for r in self.resolve_run_requests(wanted, context, self.asset_selection, [])
            ],
            skip_message=None if wanted else f"the events up to {latest} changed no input of what is not being built already",
            cursor=found.cursor, log_key=found.log_key, automation_condition_evaluations=found.automation_condition_evaluations,
        )  # fmt: skip

    def _works(self, requests: Sequence[dg.RunRequest]) -> list[Work]:
        wanted: dict[Dataset, set[date]] = {d: set() for d in self._datasets.values()}  # in the catalogue's order, inputs first
        for request in requests:
            for key in request.asset_selection or ():
                wanted[self._datasets[key]].add(date.fromisoformat(str(request.partition_key)))
        wanted = {d: dates for d, dates in wanted.items() if dates}
        works = grouped(wanted)
        if len(works) < 2:
            return works
        counts = {s: self._platform().lake.counts(s.spec) for s in {s for d in wanted for s in self._catalog.roots(d)}}
        return grouped(wanted, lambda datasets: {day for d in datasets for s in self._catalog.roots(d) for day in counts[s]})


def _looked_up(read: Input) -> bool:
    """Whether dates depend on what other dates of a built dataset bring, which no automation condition sees."""
    return read.looks_ahead and not isinstance(read.dataset, Stream)


def _request(work: Work, key: str, why: str, tags: dict[str, str] | None = None) -> dg.RunRequest:
    """One range run. Which of its dates are built is known in the steps only, so no check is planned; each is evaluated all the same."""
    return dg.RunRequest(
        run_key=key, asset_selection=[asset_key(d) for d in work.datasets], asset_check_keys=[],
        tags={
            RANGE_START: work.first.isoformat(), RANGE_END: work.last.isoformat(), ONLY_STALE: "true", REQUESTED_BY: why,
            PRIORITY: str(-(datetime.now(UTC).date() - work.last).days),  # live dates before late ones
        } | (tags or {}),
    )  # fmt: skip


def _ranges(works: Collection[Work]) -> str:
    named = [f"{', '.join(d.path for d in w.datasets)} of {w.first} to {w.last}" for w in list(works)[:WORDS]]
    return "; ".join(named) + (f" and {len(works) - WORDS} more ranges" if len(works) > WORDS else "")


def _all(catalog: Catalog) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(asset_key(d) for d in catalog.datasets))
