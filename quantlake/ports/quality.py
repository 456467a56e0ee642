"""The quality port: a suite generated from a contract, evaluated over the real rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

import pyarrow as pa

from quantlake.contract import Dataset


@dataclass(frozen=True)
class CheckResult:
    """One check on one partition. ``failing`` are the row numbers (into the judged table) that failed, where rows can be named."""

    check: str
    passed: bool
    blocking: bool
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    failing: Sequence[int] = ()


class Quality(Protocol):
    """An evaluator of contracts."""

    def judge(self, dataset: Dataset, rows: pa.Table, dates: Sequence[date]) -> dict[date, list[CheckResult]]:
        """Every check of the contract on every date; ``rows`` are the latest versions of these dates (``dataset.spec.arrow``)."""
        ...
