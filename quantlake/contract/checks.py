"""Checks a contract states beyond its columns (those give not-null, type, range and allowed-value checks by themselves)."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Ordered:
    """In every row ``columns`` do not decrease from left to right (nulls are skipped): ``Ordered("low", "open", "high")``."""

    columns: tuple[str, ...]

    def __init__(self, *columns: str) -> None:
        object.__setattr__(self, "columns", columns)


@dataclass(frozen=True, eq=False)
class Rows:
    """No row is ``bad``: a boolean expression over the row's columns; null is not bad.

    ``name`` is the check's, ``fault`` what a bad row is, in words, ``columns`` what is shown of one. ``blocking``: a date with bad rows
    is not published. ``quarantine``: up to a share of ``most`` of a date's rows, the bad ones alone are kept back, and warned of.
    """

    name: str
    bad: pl.Expr
    fault: str
    columns: tuple[str, ...]
    blocking: bool = True
    quarantine: bool = False
    most: float = 0.0


Check = Ordered | Rows
