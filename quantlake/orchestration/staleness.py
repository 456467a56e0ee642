"""What is missing or older than its inputs: the lake and the stores compared with what Dagster recorded of each build."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from quantlake.contract import Dataset, Stream
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.inputs import Versions, deciding, made_by_rows
from quantlake.orchestration.landed import landed_outcomes
from quantlake.orchestration.record import recorded
from quantlake.ports import Platform

BRIDGED = timedelta(days=366)  # dates without rows that a run takes along: another run costs what a thousand of them do

MANY = 20  # runs of one request


@dataclass(frozen=True)
class Work:
    """Datasets (inputs first) to build over dates without a break; a run."""

    datasets: tuple[Dataset, ...]
    first: date
    last: date

    @property
    def dates(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


@dataclass(frozen=True)
class State:
    """The dates that each selected dataset has rows for, and of these the missing (never built) and the older ones (not built from
    what their inputs are). ``inputs``: the data versions of all that a date is built from."""

    dates: dict[str, set[date]]
    missing: dict[str, set[date]]
    older: dict[str, set[date]]
    inputs: dict[str, dict[date, str]]

    def holding(self, datasets: Sequence[Dataset]) -> set[date]:
        """The dates that any of these has rows of."""
        return {day for d in datasets for day in self.dates.get(d.path, ())}

    def stale(self, dataset: Dataset) -> set[date]:
        return self.missing.get(dataset.path, set()) | self.older.get(dataset.path, set())


def state(
    catalog: Catalog, selected: Sequence[Dataset], platform: Platform, instance: dg.DagsterInstance,
    span: tuple[date, date] | None = None,
) -> State:  # fmt: skip
    """What of the selected is missing, older than an input, or downstream of such, within ``span`` (None: all dates)."""
    today = datetime.now(UTC).date()
    first, last = span or (date.min, today)
    found = State({}, {}, {}, {})
    current: dict[str, dict[date, str]] = {}
    rows: dict[str, set[date]] = {}
    chosen = {d.path for d in selected}
    needed = _with_inputs(catalog, chosen)
    for dataset in catalog.datasets:
        if dataset.path not in needed:
            continue
        built = recorded(dataset, instance)
        if isinstance(dataset, Stream):
            # a date that holds dead letters alone has nothing to build from
            landed = {o.partition: o for o in landed_outcomes(dataset, None, platform) if dataset.start <= o.partition <= today}
            current[dataset.path] = {d: o.version for d, o in landed.items()}
            rows[dataset.path] = {d for d, o in landed.items() if o.rows}
            old = {d for d, o in landed.items() if d in built and built[d].version != o.version}
            dates = set(landed)
        else:
            decide = {i: deciding(i, platform) for i in dataset.reads}
            made = {d for i in dataset.reads for d in made_by_rows(i, rows.get(i.dataset.path, ()), decide[i])}
            dates = {d for d in made if dataset.start <= d <= today}
            current[dataset.path] = {d: built[d].version if d in built else "" for d in dates}
            inputs = Versions(dates)
            for i in dataset.reads:
                inputs.add(i, current[i.dataset.path], decide[i])
            above = [i for i in dataset.reads if i.dataset.path in chosen and i.dataset is not dataset and not isinstance(i.dataset, Stream)]
            # whatever else is stale comes first (``first_stage``), and says then by its versions what follows
            waiting = {d for i in above if not i.looks_ahead for stale in found.stale(i.dataset) for d in i.readers(stale) if d in dates}
            # a date whose inputs are all empty has nothing to be built from, unless it was built from something
            dates = {d for d in dates if d in built or d in waiting or d in inputs.made}
            rows[dataset.path] = dates
            old = {d for d in dates if d in built and (d in waiting or not built[d].built_from(inputs.of[d]))}
        if dataset.path in chosen:
            found.inputs[dataset.path] = (
                current[dataset.path] if isinstance(dataset, Stream) else {d: " ".join(inputs.of[d].values()) for d in dates}
            )
            found.dates[dataset.path] = {d for d in dates if first <= d <= last}
            found.missing[dataset.path] = {d for d in dates - built.keys() if first <= d <= last}
            found.older[dataset.path] = {d for d in old if first <= d <= last}
    return found


def first_stage(wanted: Mapping[Dataset, set[date]]) -> dict[Dataset, set[date]]:
    """What to build before the rest (inputs come first in it): all but what looks ahead to something wanted, and what follows from that."""
    later: set[Dataset] = set()
    for dataset in wanted:
        if any(i.dataset in later or (i.looks_ahead and i.dataset in wanted and not isinstance(i.dataset, Stream)) for i in dataset.reads):
            later.add(dataset)
    return {dataset: dates for dataset, dates in wanted.items() if dataset not in later}


def _with_inputs(catalog: Catalog, chosen: Collection[str]) -> set[str]:
    """These datasets, and all that they are built from, near and far."""
    found = set(chosen)
    for dataset in reversed(catalog.datasets):  # inputs come first in it
        if dataset.path in found and not isinstance(dataset, Stream):
            found |= {i.dataset.path for i in dataset.reads}
    return found


def outside(catalog: Catalog, platform: Platform) -> dict[str, list[date]]:
    """Dates of landed rows that no partition has: before the stream's start or after today."""
    today = datetime.now(UTC).date()
    found = {s.path: platform.lake.counts(s.spec) for s in catalog.streams}
    return {path: days for path, dates in found.items() if (days := [d for d in sorted(dates) if not catalog[path].start <= d <= today])}


def grouped(wanted: Mapping[Dataset, set[date]], held: Callable[[Sequence[Dataset]], Collection[date]] | None = None) -> list[Work]:
    """The fewest runs: dates that want the same datasets and follow one another are one.

    Days between them that these datasets have no rows of (``held`` tells of which they have; None: not known), as weekends are, are taken
    along, and come out empty.
    """
    holding: dict[tuple[Dataset, ...], Collection[date]] = {}
    by_day: dict[tuple[date, date], list[Dataset]] = {}
    for dataset, dates in wanted.items():
        for day in dates:
            by_day.setdefault((dataset.start, day), []).append(dataset)  # a run has one partitioning, so one start
    runs: list[Work] = []
    for _, day in sorted(by_day):
        datasets = tuple(by_day[_, day])
        last = runs[-1] if runs else None
        if held is not None and datasets not in holding:
            holding[datasets] = held(datasets)
        if last and last.datasets == datasets and follows(last.last, day, holding.get(datasets)):
            runs[-1] = Work(datasets, last.first, day)
        else:
            runs.append(Work(datasets, day, day))
    return runs


def of_stale(found: State, wanted: Mapping[Dataset, set[date]]) -> list[Work]:
    """Runs that build only what is stale: ``grouped``, or where these are many, ``spanned``."""
    works = grouped(wanted, found.holding)
    return works if len(works) <= MANY else spanned(wanted)


def spanned(wanted: Mapping[Dataset, set[date]]) -> list[Work]:
    """The fewest runs where a run builds only what is stale: one a start, over all its dates.

    What lies between is up to date, or has nothing to be built from, and costs little; sparse dates of many datasets are hundreds of
    runs as ``grouped`` (3,417 of 16,933 dates of reference data), a second each, in a run launcher ten.
    """
    works = []
    for start in sorted({dataset.start for dataset in wanted}):
        datasets = tuple(dataset for dataset in wanted if dataset.start == start)
        days = {day for dataset in datasets for day in wanted[dataset]}
        works.append(Work(datasets, min(days), max(days)))
    return works


def spans(dates: Collection[date], held: Callable[[], Collection[date]]) -> list[tuple[date, date]]:
    """First and last of each unbroken range of ``dates``, of all where there are many; ``held`` is asked only where there is a gap."""
    found = list(_spans(dates, held))
    return found if len(found) <= MANY else [(min(dates), max(dates))]


def _spans(dates: Collection[date], held: Callable[[], Collection[date]]) -> Iterator[tuple[date, date]]:
    ordered = sorted(dates)
    if not ordered:
        return
    rows: Collection[date] = held() if (ordered[-1] - ordered[0]).days >= len(ordered) else ()
    first = last = ordered[0]
    for day in ordered[1:]:
        if not follows(last, day, rows):
            yield first, last
            first = day
        last = day
    yield first, last


def follows(last: date, day: date, held: Collection[date] | None) -> bool:
    """Whether nothing, or only a few days without rows, lies between two dates."""
    if held is None:
        return (day - last).days == 1
    between = (last + timedelta(days=n) for n in range(1, (day - last).days))
    return day - last <= BRIDGED and not any(d in held for d in between)
