"""Checks a contract states beyond its columns (those give not-null, type, range and allowed-value checks by themselves)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ordered:
    """In every row ``columns`` do not decrease from left to right (nulls are skipped): ``Ordered("low", "open", "high")``."""

    columns: tuple[str, ...]

    def __init__(self, *columns: str) -> None:
        object.__setattr__(self, "columns", columns)


Check = Ordered
