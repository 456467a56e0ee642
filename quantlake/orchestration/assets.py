"""Assets from contracts: one factory for what lands, one for what is built. Neither knows a dataset by name.

A range run judges each date alone: good dates are logged as materialized one by one, then the step fails if any was bad. The
returned output carries ``OBSERVED``, Dagster's own mark that keeps its automatic materialization of every date away.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from quantlake.contract import Dataset, Derived, QuantLakeError, Stream
from quantlake.contract.suites import GRAVE, check_names, described
from quantlake.landing.land import Committed, Report, land
from quantlake.orchestration.build import Outcome, build
from quantlake.orchestration.conditions import condition_of
from quantlake.orchestration.exactly_once import exactly_once
from quantlake.orchestration.freshness import freshness_of
from quantlake.orchestration.landed import Kept, landed_outcomes
from quantlake.orchestration.metadata import column_schema, preview
from quantlake.orchestration.record import DATA_VERSION, INPUT_VERSION, asset_key, made_by, recorded, runs_tagged, up_to_date
from quantlake.orchestration.storage import grouped
from quantlake.orchestration.tags import DRAIN, ONLY_STALE, REBUILD, requested_by
from quantlake.ports import CheckResult, LineageEvent, Platform

OBSERVED = {"__source_asset_observation__": True}
RECENT_COMMITS = 5
LOGGED_AT_ONCE = 100  # dates whose events are one transaction: a second or two, in which other processes wait

# Checks are evaluated a date at a time by log_event, and a bad date fails the step, so nothing downstream goes ungated; Dagster,
# which looks for one result a step, says at every step that it found none.
logging.getLogger("dagster._core.execution.plan.active").addFilter(lambda record: "emitted no result" not in record.getMessage())

Observer = Callable[[Dataset, Outcome], None]


@dataclass(frozen=True)
class Factory:
    """Turns datasets into assets. ``platform`` is opened by the first step that runs; ``observe`` is told each outcome."""

    platform: Callable[[], Platform]
    observe: Observer | None = None

    def asset(self, dataset: Dataset) -> dg.AssetsDefinition:
        """The asset of a dataset, with its checks, over daily partitions; a range of dates is one run."""
        key, partitions = asset_key(dataset), partitions_of(dataset)
        spec = dg.AssetSpec(
            key,
            # without partition mappings: what reads neighbouring dates would wait for these, date by date, in runs of their own (a
            # backfill of 3 dates did not end in 180 s); which dates are stale is our own to say (``staleness``)
            deps=[asset_key(i) for i in dataset.inputs],
            description=dataset.doc,
            group_name=dataset.family,
            owners=[f"team:{dataset.owner}"],
            kinds={dataset.kind, "polars"} if dataset.layer in ("curated", "derived", "feature") else {dataset.kind},
            metadata={"dagster/column_schema": column_schema(dataset), "sql_name": dataset.spec.sql_name},
            partitions_def=partitions,
            freshness_policy=freshness_of(dataset),
            automation_condition=condition_of(dataset),
            skippable=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)  # partitioned checks are preview; a test covers what is used of them
            words = described(dataset)
            checks = [
                dg.AssetCheckSpec(name, asset=key, description=words[name], blocking=blocking, partitions_def=partitions)
                for name, blocking in check_names(dataset)
            ]
        run = self._land if isinstance(dataset, Stream) else self._build

        @dg.multi_asset(
            name="__".join(key.path), specs=[spec], check_specs=checks, can_subset=True, backfill_policy=dg.BackfillPolicy.single_run()
        )
        def step(context: dg.AssetExecutionContext) -> Iterator[Any]:
            dates = [date.fromisoformat(p) for p in context.partition_keys]
            try:
                dates = self._due(context, dataset, dates)
                bad = run(context, dataset, dates) if dates else []
            except QuantLakeError as error:
                raise dg.Failure(str(error), allow_retries=False) from None
            if bad:
                listed = "; ".join(f"{day}: {why}" for day, why in bad[:10])
                raise dg.Failure(f"{len(bad)} of {len(dates)} dates of {dataset.path} were rejected: {listed}", allow_retries=False)
            yield dg.Output(None, step.op.output_defs[0].name, metadata=OBSERVED)

        return step

    def _due(self, context: dg.AssetExecutionContext, dataset: Dataset, dates: list[date]) -> list[date]:
        """What a run has to do of its range: all of it, unless it builds only what is stale, or takes up what a killed run left."""
        tags, instance = context.run.tags, context.instance
        if DRAIN in tags:
            return dates
        root = instance.get_run_record_by_id(context.run.root_run_id) if context.run.root_run_id else None
        if REBUILD in tags:
            done = made_by(dataset, instance, runs_tagged(instance, REBUILD, tags[REBUILD]), dates)
        elif ONLY_STALE in tags or root:
            since = root.create_timestamp.timestamp() if root and ONLY_STALE not in tags else 0.0
            done = up_to_date(dataset, dates, self.platform(), instance, since)
        else:
            done = set()
        if done:
            context.log.info(f"{dataset.path}: {len(done)} of {len(dates)} dates are done already")
        return [d for d in dates if d not in done]

    def _land(self, context: dg.AssetExecutionContext, dataset: Dataset, dates: list[date]) -> list[tuple[date, str]]:
        assert isinstance(dataset, Stream)
        platform = self.platform()
        landed = land(dataset, broker=platform.broker, registry=platform.registry, lake=platform.lake)
        context.log.info(f"{dataset.path}: landed {landed.rows} rows and {landed.dead_letters} dead letters")
        if landed.outside:
            context.log.warning(f"{dataset.path}: rows dated {sorted(landed.outside)} landed; no partition has these dates")
        wanted = sorted(landed.dates if DRAIN in context.run.tags else {*landed.dates, *dates})
        self._lineage(context, dataset, "START", wanted)
        proof = [exactly_once(dataset, platform)] if wanted else []
        for result in proof:
            if not result.passed:
                context.log.error(f"{dataset.path}: {result.check}: {result.reason}")
        self._log(context, dataset, [replace(o, results=[*o.results, *proof]) for o in landed_outcomes(dataset, wanted, platform)])
        return []

    def _build(self, context: dg.AssetExecutionContext, dataset: Dataset, dates: list[date]) -> list[tuple[date, str]]:
        bad = []
        platform = self.platform()
        self._lineage(context, dataset, "START", dates)
        for outcomes in build(dataset, dates, platform, context.run.run_id):
            self._log(context, dataset, outcomes)
            bad += [(o.partition, o.why) for o in outcomes if not o.good]
        return bad

    def _log(self, context: dg.AssetExecutionContext, dataset: Dataset, outcomes: Sequence[Outcome]) -> None:
        for start in range(0, len(outcomes), LOGGED_AT_ONCE):
            group = outcomes[start : start + LOGGED_AT_ONCE]
            with grouped(context.instance.event_log_storage):
                for outcome in group:
                    # most dates of a rare dataset are empty: what its checks say of nothing would be most of what a range stores
                    for result in outcome.results if outcome.rows or outcome.changed or not outcome.good or not _rare(dataset) else ():
                        context.log_event(_evaluation(dataset, result, outcome.partition))
                    if outcome.good:
                        context.log_event(materialization(dataset, outcome, requested_by(context.run)))
            for outcome in group:
                self._lineage(context, dataset, "COMPLETE" if outcome.good else "FAIL", [outcome.partition], outcome.rows, outcome.why)
                if self.observe:
                    self.observe(dataset, outcome)

    def _lineage(
        self, context: dg.AssetExecutionContext, dataset: Dataset, state: Any, dates: Sequence[date], rows: int | None = None, message: str = ""
    ) -> None:
        self.platform().lineage.emit(
            [LineageEvent(state, context.run.run_id, dataset, dataset.inputs, day, rows, message) for day in dates]
        )


def report_landing(instance: dg.DagsterInstance, platform: Platform, streams: Sequence[Stream] = ()) -> Report:
    """What a lander outside any run calls for each commit: it reports the raw partitions touched.

    First it reports what a lander of these ``streams`` committed lately and did not live to report.
    """
    for stream in streams:
        touched = {d: commit.committed_at for commit in platform.lake.commits(stream.spec)[-RECENT_COMMITS:] for d in commit.dates}
        lately = {d: at for d, at in touched.items() if stream.start <= d <= datetime.now(UTC).date()}
        known = recorded(stream, instance, lately) if lately else {}
        dates = sorted(d for d, at in lately.items() if d not in known or known[d].timestamp < at.timestamp())
        outcomes = landed_outcomes(stream, dates, platform) if dates else []
        report_partitions(instance, stream, [o for o in outcomes if o.partition not in known or known[o.partition].version != o.version])
    kept = Kept(platform)

    def report(stream: Stream, done: Committed) -> None:
        report_partitions(instance, stream, kept.outcomes(stream, done))

    return report


def report_partitions(instance: dg.DagsterInstance, stream: Stream, outcomes: Sequence[Outcome], by: str = "the resident lander") -> None:
    """Report raw partitions outside any run."""
    for outcome in outcomes:
        instance.report_runless_asset_event(materialization(stream, outcome, by))


def partitions_of(dataset: Dataset) -> dg.DailyPartitionsDefinition:
    """Daily from the contract's start, today included."""
    return dg.DailyPartitionsDefinition(start_date=dataset.start.isoformat(), end_offset=1)


def _rare(dataset: Dataset) -> bool:
    return isinstance(dataset, Derived) and dataset.rare


def _evaluation(dataset: Dataset, result: CheckResult, day: date) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key(dataset), result.check, result.passed, partition=day.isoformat(), blocking=result.blocking,
        severity=dg.AssetCheckSeverity.ERROR if result.blocking or result.check in GRAVE else dg.AssetCheckSeverity.WARN,
        description=result.reason or None, metadata={name: _metadata(value) for name, value in result.details.items()},
    )  # fmt: skip


def materialization(dataset: Dataset, outcome: Outcome, requested: str) -> dg.AssetMaterialization:
    metadata: dict[str, Any] = {"dagster/row_count": outcome.rows, "content_changed": outcome.changed, "requested_by": requested}
    if outcome.snapshot_id is not None:
        metadata["snapshot_id"] = str(outcome.snapshot_id)  # above 2**53, which JavaScript would round
    if outcome.inputs:
        metadata["inputs"] = dg.MetadataValue.json({
            path: {"data_version": used.version} | ({"snapshot_id": str(used.snapshot_id)} if used.snapshot_id is not None else {})
            for path, used in outcome.inputs.items()
        })
    if outcome.offsets:
        metadata["raw_offsets"] = dg.MetadataValue.json([vars(part) for part in outcome.offsets])
    if outcome.preview is not None and outcome.preview.num_rows:
        metadata["preview"] = dg.MetadataValue.md(preview(outcome.preview))
    return dg.AssetMaterialization(
        asset_key(dataset), partition=outcome.partition.isoformat(), metadata=metadata,
        tags={DATA_VERSION: outcome.version} | {INPUT_VERSION + path: used.version for path, used in outcome.inputs.items()},
    )  # fmt: skip


def _metadata(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else dg.MetadataValue.json(value)


