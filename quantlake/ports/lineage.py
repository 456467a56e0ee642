"""The lineage port: OpenLineage run events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

from quantlake.contract import Dataset

RunState = Literal["START", "COMPLETE", "FAIL"]


@dataclass(frozen=True)
class LineageEvent:
    """A dataset's partition being built by an orchestrator's run."""

    state: RunState
    run_id: str
    dataset: Dataset
    inputs: Sequence[Dataset]
    partition: date
    row_count: int | None = None
    message: str = ""


class Lineage(Protocol):
    def emit(self, events: Sequence[LineageEvent]) -> None:
        """Send events; never raises for an unreachable backend (it warns), since data must not wait for lineage."""
        ...
