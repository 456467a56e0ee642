"""Which checks a contract has: their names are stable, since dashboards and alerts are kept by them.

Here: names and whether a failure blocks. Not here: how a check is evaluated.
"""

from quantlake.contract.checks import Ordered, Rows
from quantlake.contract.datasets import Dataset, Rollup, Stream

SCHEMA = "schema"
DEAD_LETTERS = "dead_letters"
EXACTLY_ONCE = "exactly_once"
EQUALS_DERIVED = "equals_derived"

DESCRIPTIONS = {
    SCHEMA: "The function's rows have the contract's columns and types, and nothing is lost in the cast.",
    DEAD_LETTERS: "Every message of the day could be decoded; a dead letter is kept in the table and blocks nothing.",
    EXACTLY_ONCE: "Of the whole topic: every offset is in the table exactly once, as a row or a dead letter, and every log's end is known.",
    EQUALS_DERIVED: "ClickHouse's rows equal the derived table's to the last digit, before they are published.",
    "not_null": "Columns that must have a value have one.",
    "unique_key": "No key occurs twice among the latest versions.",
    "in_range": "Numbers lie within their columns' limits.",
    "allowed_values": "Text columns hold only their allowed values.",
    "ordered": "Columns that must not decrease from left to right do not.",
    "row_count": "A day on which the calendar is open has rows; a warning.",
}

GRAVE = (EXACTLY_ONCE,)  # an error, though it blocks nothing: what is built goes by the rows that there are


def described(dataset: Dataset) -> dict[str, str]:
    """What each check of a dataset says, by name."""
    own = {c.name: f"No row {c.fault}{_allowance(c)}." for c in dataset.checks if isinstance(c, Rows)}
    return DESCRIPTIONS | own


def _allowance(check: Rows) -> str:
    if check.quarantine:
        return f"; up to {check.most:.1%} of a date's rows are kept back alone, and warned of"
    return "" if check.blocking else "; a warning"


def check_names(dataset: Dataset) -> list[tuple[str, bool]]:
    """(name, blocking) of every check that applies to ``dataset``, in the order they are shown.

    ``dead_letters`` and ``exactly_once`` (streams), ``schema`` (could it be built, in the contract's columns and types?) and
    ``equals_derived`` (rollups) are the orchestration's; the others a ``Quality``'s.
    """
    if isinstance(dataset, Stream):
        return [(DEAD_LETTERS, False), (EXACTLY_ONCE, False)]
    columns = dataset.stored_columns
    applies = {
        SCHEMA: True,
        "not_null": any(not c.null for c in columns),
        "unique_key": bool(dataset.key),
        "in_range": any(c.minimum is not None or c.above is not None for c in columns),
        "allowed_values": any(c.allowed for c in columns),
        "ordered": any(isinstance(check, Ordered) for check in dataset.checks),
        EQUALS_DERIVED: isinstance(dataset, Rollup) and dataset.equals is not None,
    }
    own = [(check.name, check.blocking) for check in dataset.checks if isinstance(check, Rows)]
    return [*((name, True) for name, does in applies.items() if does), *own, ("row_count", False)]
