"""What a dataset reads of another: which dates, or which rows, one of its own dates is built from.

Here: that relation, and what follows from it for dates. Not here: reading rows, comparing their versions (orchestration).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from quantlake.contract.datasets import Dataset


@dataclass(frozen=True)
class Input:
    """A dataset that another is built from: for date D its rows of the dates D + ``first`` to D + ``last`` (None: all before, all after).

    Of a table's rows the latest versions, or with ``versions`` all, with ``superseded_at``. ``since``, ``until``, ``on`` name columns of
    dates: D depends only on the rows with ``since`` <= D < ``until`` (null: always, not yet) and ``on`` = D. Which these are decides
    whether D is stale; the function is given the rows of all dates that it builds, and joins them by itself.
    ``editions``: of a stream's files with rows of the date that have several versions, all rows of any date.
    ``makes``: which dates exist because it has rows: those that read them, their own (of ``on``, the dates named there), or none (it is
    only looked up).
    """

    dataset: "Dataset"
    first: int | None = 0
    last: int | None = 0
    since: str | None = None
    until: str | None = None
    on: str | None = None
    versions: bool = False
    editions: bool = False
    makes: Literal["readers", "own", "none"] = "own"

    @property
    def bounded(self) -> bool:
        return self.first is not None and self.last is not None

    @property
    def by_row(self) -> bool:
        """Whether a date depends on some rows only, by their values."""
        return bool(self.since or self.until or self.on)

    def days(self, day: date, held: Collection[date] = ()) -> list[date]:
        """The dates of the input that ``day`` is built from, ascending; of an unbounded one those of ``held``."""
        if self.first is not None and self.last is not None:
            return [day + timedelta(days=n) for n in range(self.first, self.last + 1)]
        return sorted(d for d in held if self.covers(day, d))

    def covers(self, day: date, held: date) -> bool:
        """Whether ``day`` is built from the input's date ``held``."""
        distance = (held - day).days
        return (self.first is None or self.first <= distance) and (self.last is None or distance <= self.last)

    def readers(self, held: date) -> list[date]:
        """The dates that are built from the input's ``held``, where it is bounded."""
        assert self.first is not None
        assert self.last is not None
        return [held - timedelta(days=n) for n in range(self.first, self.last + 1)]

    def made(self, held: date) -> list[date]:
        """The dates that exist because the input has rows of ``held``."""
        if self.makes == "readers":
            return self.readers(held)
        return [held] if self.makes == "own" and self.covers(held, held) else []

    @property
    def looks_ahead(self) -> bool:
        """Whether a date depends on what other dates than its own and earlier ones bring, so that these are better built first."""
        return self.by_row or self.first is None or self.last is None or self.last > 0
