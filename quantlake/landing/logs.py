"""What a raw table knows of the logs it was landed from: kept as one table property and in each snapshot's summary, committed with
the rows.

A log is ``cluster id/topic id``; a broker that lost its data is another log. After a truncation that was accepted, or a reset,
what follows is another log too: ``cluster id/topic id#2``, since its offsets are used a second time.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any, Literal

from quantlake.landing.ranges import Ranges, ranges
from quantlake.landing.skips import MOST, Skip, added, bounded, skip
from quantlake.ports import Last

PROPERTY = "quantlake.logs"

Why = Literal["expired", "truncated", "ended", "reset"]


@dataclass(frozen=True)
class Loss:
    """What of one Kafka partition was given up by a person's word (``accepted_at``, ISO 8601): offsets ``first`` to ``end``, exclusive.

    ``expired``: gone from the broker before they were landed. ``truncated``: landed, and no longer on the broker. ``ended`` and
    ``reset``: whatever came after ``first`` (``end`` None: how much is unknown).
    """

    partition: int
    first: int
    end: int | None
    why: Why
    accepted_at: str


@dataclass(frozen=True)
class Log:
    """One log. ``offsets``: the next offset to land, by partition; ``begins``: the first one landed, where it is not 0.

    ``skipped``: offsets landed past, where the broker had no record to give; ``last``: the last record landed, where its epoch is known.

    ``open``: it may grow. ``closed``: a clean stop landed all. ``lost``: it ended without one; anything after ``offsets`` is unknown.
    ``given_up``: a person accepted that, as ``losses`` tell.
    """

    id: str
    status: Literal["open", "closed", "lost", "given_up"] = "open"
    offsets: Mapping[int, int] = field(default_factory=dict)
    begins: Mapping[int, int] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()
    skipped: Mapping[int, tuple[Skip, ...]] = field(default_factory=dict)
    last: Mapping[int, Last] = field(default_factory=dict)

    @property
    def broker_id(self) -> str:
        """What the broker calls it: the id without its generation."""
        return self.id.partition("#")[0]


@dataclass(frozen=True)
class Logs:
    """The logs in the order in which the table first saw them."""

    logs: tuple[Log, ...] = ()

    @classmethod
    def parse(cls, properties: Mapping[str, str]) -> "Logs":
        return cls(tuple(_log(entry) for entry in json.loads(properties.get(PROPERTY) or "[]")))

    def text(self) -> str:
        return json.dumps([_entry(log) for log in self.logs])

    def __getitem__(self, log_id: str) -> Log:
        return next((log for log in self.logs if log.id == log_id), Log(log_id))

    def order(self, log_id: str) -> int:
        return [log.id for log in self.logs].index(log_id)

    def current(self, broker_id: str) -> str:
        """The id under which the broker's log is landed: that of its newest generation."""
        return next((log.id for log in reversed(self.logs) if log.broker_id == broker_id), broker_id)

    def open_elsewhere(self, broker_id: str) -> tuple[Log, ...]:
        """Logs that may have held more than was landed, and that this broker no longer has."""
        return tuple(log for log in self.logs if log.status == "open" and log.broker_id != broker_id)

    def entered(self, log_id: str) -> "Logs":
        """This log is the one being read: it is open."""
        known = any(log.id == log_id for log in self.logs)
        return self._with(self.logs if known else (*self.logs, Log(log_id)), replace(self[log_id], status="open"))

    def moved(
        self, log_id: str, offsets: Mapping[int, int], begins: Mapping[int, int] | None = None, last: Mapping[int, Last] | None = None
    ) -> "Logs":
        """Landed up to ``offsets``; ``begins``: partitions first read, from an offset above 0; ``last``: of what was landed."""
        log = self[log_id]
        all_begins, all_last = {**log.begins, **(begins or {})}, {**log.last, **(last or {})}
        return self._with(self.logs, replace(log, offsets={**log.offsets, **offsets}, begins=all_begins, last=all_last))

    def past(self, log_id: str, skipped: Mapping[int, Ranges]) -> "Logs":
        """The broker had no record in these ranges, which lie behind all that were skipped before."""
        log = self[log_id]
        most = max(1, MOST // len({*log.skipped, *skipped}))
        known = {p: bounded(before, most) for p, before in log.skipped.items()}
        return self._with(self.logs, replace(log, skipped=known | {p: added(known.get(p, ()), some, most) for p, some in skipped.items()}))

    def closed(self, log_id: str) -> "Logs":
        return self._with(self.logs, replace(self[log_id], status="closed"))

    def lost(self, log_id: str) -> "Logs":
        """It ended, and nobody knows what it still held."""
        return self._with(self.logs, replace(self[log_id], status="lost"))

    def given_up(self, log_id: str, why: Why, at: str) -> "Logs":
        """A person accepts that what this log held beyond its offsets is not landed."""
        log = self[log_id]
        ends = tuple(Loss(p, o, None, why, at) for p, o in sorted(log.offsets.items()))
        return self._with(self.logs, replace(log, status="given_up", losses=(*log.losses, *ends)))

    def expired(self, log_id: str, partition: int, end: int, at: str) -> "Logs":
        """A person accepts that offsets up to ``end`` expired before they were landed: landing goes on there."""
        log = self[log_id]
        loss = Loss(partition, log.offsets.get(partition, 0), end, "expired", at)
        return self._with(self.logs, replace(log, offsets={**log.offsets, partition: end}, losses=(*log.losses, loss)))

    def truncated(self, log_id: str, ends: Mapping[int, int], at: str) -> "Logs":
        """A person accepts that partitions now end at ``ends``, below what was landed: the next generation goes on from there."""
        log = self[log_id]
        losses = tuple(Loss(p, end, log.offsets[p], "truncated", at) for p, end in sorted(ends.items()))
        offsets = {**log.offsets, **ends}
        begins = {p: o for p, o in offsets.items() if o}
        return Logs((
            *self._with(self.logs, replace(log, status="given_up", losses=(*log.losses, *losses))).logs,
            Log(self._next(log), offsets=offsets, begins=begins, last={p: last for p, last in log.last.items() if p not in ends}),
        ))  # fmt: skip

    def restarted(self, log_id: str, at: str) -> "Logs":
        """A person asks for a reset: the next generation begins where the broker's log now begins."""
        return Logs((*self.given_up(log_id, "reset", at).logs, Log(self._next(self[log_id]))))

    @staticmethod
    def _next(log: Log) -> str:
        generation = int(log.id.partition("#")[2] or 1)
        return f"{log.broker_id}#{generation + 1}"

    @staticmethod
    def _with(logs: tuple[Log, ...], changed: Log) -> "Logs":
        return Logs(tuple(changed if log.id == changed.id else log for log in logs))


def _log(entry: Mapping[str, Any]) -> Log:
    return Log(
        entry["log"], entry["status"], {int(p): o for p, o in entry["offsets"].items()},
        {int(p): o for p, o in entry.get("begins", {}).items()}, tuple(Loss(**loss) for loss in entry.get("losses", ())),
        {int(p): tuple(_skip(*each) for each in some) for p, some in entry.get("skipped", {}).items()},
        {int(p): Last(*last) for p, last in entry.get("last", {}).items()},
    )  # fmt: skip


def _entry(log: Log) -> dict[str, Any]:
    """As JSON; what is empty is left out."""
    found: dict[str, Any] = {"log": log.id, "status": log.status, "offsets": {str(p): o for p, o in log.offsets.items()}}
    if log.begins:
        found["begins"] = {str(p): o for p, o in log.begins.items()}
    if log.losses:
        found["losses"] = [asdict(loss) for loss in log.losses]
    if log.skipped:
        found["skipped"] = {str(p): [[s.first, s.end] if s.whole else list(astuple(s)) for s in some] for p, some in log.skipped.items()}
    if log.last:
        found["last"] = {str(p): list(astuple(last)) for p, last in log.last.items()}
    return found


def _skip(first: int, end: int, *counted: int) -> Skip:
    """A whole range is its bounds alone."""
    return Skip(first, end, *counted) if counted else skip(ranges((first, end)))
