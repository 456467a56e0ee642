"""Fingerprints: an order-free hash of a multiset of rows, the same for the same content whatever holds it.

Each row is written as a JSON object of its values by column, sorted by name (decimals and times exact, floats at ``FLOAT_DIGITS``
significant digits, vectors at ``VECTOR_DIGITS``), hashed with MD5, and the two halves of the hashes are summed, so that order does not
matter and repeats count. A null is left out: old rows keep their fingerprint when their contract gains a nullable column.
"""

import atexit
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import pyarrow as pa

from quantlake.contract.columns import Column
from quantlake.contract.types import Bytes, Float, TextList, Timestamp, Vector

FLOAT_DIGITS = 9
VECTOR_DIGITS = 4


@dataclass(frozen=True)
class Fingerprint:
    rows: int
    hash: str

    def __add__(self, other: "Fingerprint") -> "Fingerprint":
        """That of both multisets together."""
        (high, low), (more_high, more_low) = self.halves, other.halves
        return _fingerprint(self.rows + other.rows, high + more_high, low + more_low)

    @property
    def halves(self) -> tuple[int, int]:
        """The two sums, which add up."""
        digits = self.hash.partition("-")[2]
        return int(digits[:32], 16), int(digits[32:], 16)


EMPTY = Fingerprint(0, f"0-{0:064x}")


def fingerprints(rows: pa.Table, columns: Sequence[Column]) -> dict[date, Fingerprint]:
    """The fingerprint of each ``partition_date`` in ``rows`` over ``columns``."""
    return {row[0]: _fingerprint(*row[1:]) for row in _query(rows, columns, ["partition_date"])}


def fingerprint(rows: pa.Table, columns: Sequence[Column]) -> Fingerprint:
    """The fingerprint of all rows together."""
    return _fingerprint(*_query(rows, columns)[0])


def fingerprints_by(rows: pa.Table, columns: Sequence[Column], by: Sequence[str]) -> list[tuple[tuple[Any, ...], Fingerprint]]:
    """The fingerprint of the rows of each combination of values of the columns ``by``, of no column of all together."""
    return [(tuple(found[:-3]), _fingerprint(*found[-3:])) for found in _query(rows, columns, by)]


@cache
def _database() -> Any:
    """Of this process: another is 12 of the 18 ms that hashing a small table took, and a run hashes a hundred."""
    import duckdb

    found = duckdb.connect()
    found.execute("SET GLOBAL TimeZone = 'UTC'")
    atexit.register(_database.cache_clear)  # or DuckDB tells at exit of what it takes for a leak
    return found


def _query(rows: pa.Table, columns: Sequence[Column], by: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    values = ", ".join(_value(c) for c in sorted(columns, key=lambda c: c.name))
    groups = "".join(f'"{name}", ' for name in by)
    sql = (
        f"SELECT {groups}count(*), coalesce(sum((h >> 64)::UBIGINT), 0), coalesce(sum((h & 18446744073709551615)::UBIGINT), 0) "
        f"FROM (SELECT {groups}md5_number(concat_ws(',', {values})) AS h FROM offered) {'GROUP BY ALL' if by else ''}"
    )
    with _database().cursor() as connection:
        connection.register("offered", rows)
        found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
    return found


def _fingerprint(count: int, high: int, low: int) -> Fingerprint:
    return Fingerprint(int(count), f"{int(count):x}-{int(high) % (1 << 128):032x}{int(low) % (1 << 128):032x}")


def _value(column: Column) -> str:
    name = f'"{column.name}"'
    if column.type is Float:
        text = f"CASE WHEN {name} = 0 THEN '0' WHEN isnan({name}) THEN 'nan' ELSE format('{{:.{FLOAT_DIGITS}g}}', {name}) END"
    elif column.type is Vector:
        text = f"list_transform({name}, lambda x: CASE WHEN abs(x) < 1e-9 THEN '0' WHEN isnan(x) THEN 'nan' ELSE format('{{:.{VECTOR_DIGITS}g}}', x::DOUBLE) END)::VARCHAR"
    elif column.type is Bytes:
        text = f"hex({name})"  # as text a blob could hold the separator
    elif column.type is Timestamp:
        text = f"epoch_us({name})::VARCHAR"
    elif column.type is TextList or column.type.name == "text":
        text = f"to_json({name})::VARCHAR"
    else:
        text = f"{name}::VARCHAR"
    named = json.dumps(column.name).replace("'", "''")
    return f"'{named}:' || {text}"
