"""What of a table is handed to an evaluator: one small column a condition, computed exactly in Arrow and polars.

Here: contracts to probe columns and back to words. Not here: Great Expectations.
pandas cannot hold what contracts promise (a decimal(38,18) becomes a Python object or a float), and an evaluator needs less:
whether a value is there, which side of its bound it is on, what its key hashes to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import Column, Dataset, Ordered, Rows, Table

SHOWN = 100  # characters of an example
Expect = Literal["not_null", "unique", "in_set"]


@dataclass(frozen=True)
class Probe:
    """One condition over all rows. ``subject`` is what it is about, ``fault`` what a failing row is, in words.

    ``columns`` of the judged table show an offending row; ``confirm`` (all rows -> mask of true offenders) has the last word
    where ``values`` only narrows.
    """

    check: str
    subject: str
    fault: str
    columns: tuple[str, ...]
    values: pa.Array
    expect: Expect
    allowed: tuple[Any, ...] = ()
    confirm: Callable[[], pl.Series] | None = None


def probes(dataset: Dataset, rows: pa.Table) -> list[Probe]:
    """Every row condition of a contract, by check, over ``rows`` (``dataset.spec.arrow``)."""
    columns = dataset.stored_columns
    found = [Probe("not_null", c.name, "null", (c.name,), _presence(rows[c.name]), "not_null") for c in columns if not c.null]
    if dataset.key:
        found.append(_unique(dataset, rows))
    found += [_in_range(c, rows[c.name]) for c in columns if c.minimum is not None or c.above is not None]
    found += [_allowed(c, rows[c.name]) for c in columns if c.allowed]
    found += [_ordered(check, rows) for check in dataset.checks if isinstance(check, Ordered)]
    return found + [_rows(check, rows) for check in dataset.checks if isinstance(check, Rows)]


def example(probe: Probe, rows: pa.Table, row: int) -> str:
    """The offending values of a row, as a person writes them."""
    return ", ".join(_written(rows[c][row].as_py()) for c in probe.columns)


def _presence(column: pa.ChunkedArray) -> pa.Array:
    """True or null: Great Expectations hashes what it is handed, and text costs it 25 ms a column of 250,000 rows."""
    return pc.if_else(pc.is_valid(column), pa.scalar(True), pa.scalar(None, pa.bool_())).combine_chunks()


def _in_range(column: Column, values: pa.ChunkedArray) -> Probe:
    """Which side of the tighter bound a value is on: -1 below, 0 on it, 1 above; NaN is below."""
    strict = column.above is not None and (column.minimum is None or column.above >= column.minimum)
    bound = column.above if strict else column.minimum
    exact = Decimal(str(bound))
    if pa.types.is_decimal(values.type):
        scalar = pa.scalar(exact, values.type)
    elif pa.types.is_integer(values.type) and exact == int(exact):
        scalar = pa.scalar(int(exact), values.type)
    else:
        scalar = pa.scalar(float(exact), pa.float64())
    above, reached = (compare(values, scalar).cast(pa.int8()) for compare in (pc.greater, pc.greater_equal))
    side = pc.subtract(pc.add(above, reached), pa.scalar(1, pa.int8())).combine_chunks()
    fault = f"not above {_written(exact)}" if strict else f"below {_written(exact)}"
    return Probe("in_range", column.name, fault, (column.name,), side, "in_set", (1,) if strict else (0, 1))


def _allowed(column: Column, values: pa.ChunkedArray) -> Probe:
    fault = f"not one of {', '.join(column.allowed)}"
    return Probe("allowed_values", column.name, fault, (column.name,), values.combine_chunks(), "in_set", column.allowed)


def _unique(dataset: Dataset, rows: pa.Table) -> Probe:
    """A hash of each row's identity within its date; equal hashes are confirmed on the identity itself."""
    identity = identities(dataset, rows)
    hashes = row_hashes(identity).to_arrow()
    subject, fault = ", ".join(dataset.key), "with a key that another row has"
    return Probe("unique_key", subject, fault, dataset.key, hashes, "unique", confirm=identity.is_duplicated)


def row_hashes(identity: pl.DataFrame) -> pl.Series:
    return identity.hash_rows()


def identities(dataset: Dataset, rows: pa.Table) -> pl.DataFrame:
    """What identifies each row: its date and its key, or a table's fallback key where a column of the key is null."""
    fallback = dataset.fallback_key if isinstance(dataset, Table) else ()
    names = dict.fromkeys(("partition_date", *dataset.key, *fallback))
    frame = pl.DataFrame(rows.select(list(names)))
    if not fallback:
        return frame
    lacking = pl.any_horizontal(pl.col(c).is_null() for c in dataset.key)
    return frame.select(
        "partition_date",
        lacking.alias("_lacking"),
        *(pl.when(~lacking).then(pl.col(c)).alias(f"_key_{c}") for c in dataset.key),
        *(pl.when(lacking).then(pl.col(c)).alias(f"_fallback_{c}") for c in fallback),
    )


def _ordered(check: Ordered, rows: pa.Table) -> Probe:
    """Whether no value lies below the greatest one left of it (nulls have none)."""
    frame = pl.DataFrame(rows.select(list(check.columns)))
    falls = [(pl.col(c) < pl.max_horizontal(check.columns[:i])).fill_null(False) for i, c in enumerate(check.columns) if i]
    holds = frame.select(~pl.any_horizontal(falls)).to_series().to_arrow()
    return Probe("ordered", " <= ".join(check.columns), "not in that order", check.columns, holds, "in_set", (True,))


def _rows(check: Rows, rows: pa.Table) -> Probe:
    holds = pl.DataFrame(rows).select(~check.bad.fill_null(False)).to_series().to_arrow()
    return Probe(check.name, ", ".join(check.columns), check.fault, check.columns, holds, "in_set", (True,))


def _written(value: Any) -> str:
    """A value in one line of a reason, which is shown, stored and sent: long texts are cut, what is not printable is escaped."""
    if isinstance(value, Decimal):  # never normalize(): it rounds to 28 digits
        return f"{value:f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
    text = "null" if value is None else str(value)
    start = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:SHOWN])
    return start if len(text) <= SHOWN else f"{start}... ({len(text)} characters)"
