"""What a raw table knows of the logs it was landed from: kept as one table property, committed with the rows.

A log is ``cluster id/topic id``; a broker that lost its data is another log. ``open``: it may grow; ``closed``: a clean stop
landed all up to ``ends``; ``lost``: another log took its place without a clean stop, anything after ``offsets`` is unknown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

PROPERTY = "quantlake.logs"


@dataclass(frozen=True)
class Log:
    """One log: ``offsets`` is the next offset to land, by partition."""

    id: str
    status: Literal["open", "closed", "lost"] = "open"
    offsets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Logs:
    """The logs in the order in which the table first saw them."""

    logs: tuple[Log, ...] = ()

    @classmethod
    def parse(cls, properties: Mapping[str, str]) -> "Logs":
        return cls(tuple(
            Log(entry["log"], entry["status"], {int(p): o for p, o in entry["offsets"].items()})
            for entry in json.loads(properties.get(PROPERTY, "[]"))
        ))  # fmt: skip

    def text(self) -> str:
        return json.dumps([{"log": log.id, "status": log.status, "offsets": {str(p): o for p, o in log.offsets.items()}} for log in self.logs])

    def __getitem__(self, log_id: str) -> Log:
        return next((log for log in self.logs if log.id == log_id), Log(log_id))

    def order(self, log_id: str) -> int:
        return [log.id for log in self.logs].index(log_id)

    def entered(self, log_id: str) -> "Logs":
        """This log is the one being read: it is open, every other open one was lost."""
        others = tuple(replace(log, status="lost") if log.status == "open" and log.id != log_id else log for log in self.logs)
        known = any(log.id == log_id for log in self.logs)
        return self._with(others if known else (*others, Log(log_id)), replace(self[log_id], status="open"))

    def moved(self, log_id: str, offsets: Mapping[int, int]) -> "Logs":
        return self._with(self.logs, replace(self[log_id], offsets={**self[log_id].offsets, **offsets}))

    def closed(self, log_id: str) -> "Logs":
        return self._with(self.logs, replace(self[log_id], status="closed"))

    @staticmethod
    def _with(logs: tuple[Log, ...], changed: Log) -> "Logs":
        return Logs(tuple(changed if log.id == changed.id else log for log in logs))
