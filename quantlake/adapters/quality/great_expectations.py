"""Quality by Great Expectations: a contract becomes a suite, evaluated over the real rows.

Here: one validation for all dates of a call, split by date afterwards. Not here: what is handed over (``probes``).
A validation costs 60 ms before its first row, so one a date would make a year 20 s; together they are one.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quantlake.adapters.quality.probes import Probe, example, probes
from quantlake.contract import Dataset, QuantLakeError, Rows, Stream
from quantlake.contract.sessions import open_sessions
from quantlake.contract.suites import check_names
from quantlake.ports import CheckResult


@dataclass(frozen=True)
class Verdict:
    """A probe and the rows that failed it, split by date."""

    probe: Probe
    failing: dict[date, list[int]]


class GreatExpectations:
    """The port ``Quality``. The library is imported at the first judgement (3 s of CPU)."""

    def judge(self, dataset: Dataset, rows: pa.Table, dates: Sequence[date]) -> dict[date, list[CheckResult]]:
        """The checks of ``check_names(dataset)`` on each date, but those that orchestration evaluates itself.

        Raises ``QuantLakeError`` for a stream, for rows of other dates, and where an expectation itself broke.
        """
        if isinstance(dataset, Stream):
            raise QuantLakeError(f"{dataset.path}: a stream is judged where it lands, not by its contract")
        of_row = rows["partition_date"].to_pylist()
        counts = dict.fromkeys(dates, 0)
        for day in of_row:
            if day not in counts:
                raise QuantLakeError(f"{dataset.path}: a row is of {day}, which is not among the dates to judge")
            counts[day] += 1
        verdicts: dict[str, list[Verdict]] = defaultdict(list)
        found = probes(dataset, rows)
        # of no rows none fails; to be told so costs 0.1 to 0.2 s, and most datasets have none of most dates
        failed = evaluate(found) if rows.num_rows else [[] for _ in found]
        for probe, failing in zip(found, failed, strict=True):
            by_date: dict[date, list[int]] = defaultdict(list)
            for row in failing:
                by_date[of_row[row]].append(row)
            verdicts[probe.check].append(Verdict(probe, by_date))
        row_counts = _row_counts(dataset, counts)
        blocking = dict(check_names(dataset))
        allowed = {c.name: c.most for c in dataset.checks if isinstance(c, Rows) and c.quarantine}
        judged = [check for check in blocking if check in verdicts]

        def result(check: str, day: date) -> CheckResult:
            found = _result(check, blocking[check], verdicts[check], rows, day, counts[day])
            few = len(found.failing) <= allowed.get(check, -1.0) * counts[day]  # kept back alone: a warning
            return replace(found, blocking=False) if few and not found.passed else found

        return {day: [*(result(check, day) for check in judged), row_counts[day]] for day in dates}


def evaluate(found: Sequence[Probe]) -> list[list[int]]:
    """The failing row numbers of each probe. Raises ``QuantLakeError`` where an expectation itself broke, whatever the data."""
    import pandas as pd

    gx, batches = _library()
    kinds = {
        "not_null": gx.expectations.ExpectColumnValuesToNotBeNull,
        "unique": gx.expectations.ExpectColumnValuesToBeUnique,
        "in_set": gx.expectations.ExpectColumnValuesToBeInSet,  # `between` calls a Python function a row: 160 ms in 250,000
    }
    wanted = [{"value_set": list(p.allowed)} if p.expect == "in_set" else {} for p in found]
    expectations = [
        kinds[p.expect](column=str(n), meta={"probe": n}, **w) for n, (p, w) in enumerate(zip(found, wanted, strict=True))
    ]  # fmt: skip
    suite = gx.ExpectationSuite(name="contract", expectations=expectations)
    frame = pa.table([p.values for p in found], [str(n) for n in range(len(found))]).to_pandas(types_mapper=pd.ArrowDtype)
    batch = batches.get_batch(batch_parameters={"dataframe": frame})
    validated = batch.validate(suite, result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False})
    failing: dict[int, list[int]] = {}
    for result in validated.results:
        number = result.expectation_config.meta["probe"]
        failing[number] = _failing(found[number], result)
    return [failing[number] for number in range(len(found))]


def _failing(probe: Probe, result: Any) -> list[int]:
    broken = _exception(result.exception_info)
    if broken:
        raise QuantLakeError(f"Great Expectations could not evaluate {probe.check} on {probe.subject}: {broken}")
    if result.success:
        return []
    rows = [int(row) for row in result.result["unexpected_index_list"]]
    if probe.confirm is None:
        return rows
    truly = probe.confirm()
    return [row for row in rows if truly[row]]


def _exception(info: dict[str, Any]) -> str:
    """The message of an expectation that raised; its record is flat, or one a metric."""
    for record in [info] if "raised_exception" in info else info.values():
        if record["raised_exception"]:
            return " ".join(str(record["exception_message"]).split())
    return ""


def _result(check: str, blocking: bool, verdicts: list[Verdict], rows: pa.Table, day: date, count: int) -> CheckResult:
    details: dict[str, Any] = {}
    reasons = []
    failing: set[int] = set()
    for verdict in verdicts:
        probe, bad = verdict.probe, verdict.failing.get(day, [])
        details[probe.subject] = {
            "element_count": count, "unexpected_count": len(bad), "unexpected_percent": 100 * len(bad) / count if count else 0.0,
        }  # fmt: skip
        if bad:
            shown = "" if probe.expect == "not_null" else f", e.g. {example(probe, rows, bad[0])}"
            reasons.append(f"{probe.subject}: {len(bad)} of {count} rows {probe.fault}{shown}")
            failing.update(bad)
    return CheckResult(check, not failing, blocking, "; ".join(reasons), details, sorted(failing))


def _row_counts(dataset: Dataset, counts: dict[date, int]) -> dict[date, CheckResult]:
    """Zero rows is a warning on an open session of the calendar; where there is no session, or no calendar, it is legal."""
    sessions = open_sessions(dataset.calendar) if dataset.calendar and 0 in counts.values() else frozenset()
    enough = pa.array([count > 0 or day not in sessions for day, count in counts.items()], pa.bool_())
    probe = Probe("row_count", "row_count", "missing", (), enough, "in_set", (True,))
    short = set() if pc.all(enough, min_count=0).as_py() else set(evaluate([probe])[0])  # as of no rows: nothing to be told
    return {
        day: CheckResult(
            "row_count", number not in short, False,
            f"no rows on {day}, an open session of {dataset.calendar}" if number in short else "", {"row_count": count},
        )
        for number, (day, count) in enumerate(counts.items())
    }  # fmt: skip


@cache
def _library() -> tuple[Any, Any]:
    """The library, and the one context of this process as its definition of a batch: a whole pandas frame."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its own imports, which nobody here can mend
        import great_expectations as gx
        import great_expectations.expectations
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("partition")
    return gx, asset.add_batch_definition_whole_dataframe("whole")
