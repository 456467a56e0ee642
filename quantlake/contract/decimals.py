"""Exact arithmetic over decimal(38,18) columns, for engines that lose digits silently.

Polars rounds each product to scale 18; Arrow's and ClickHouse's 128-bit sums wrap. Here everything between input and result is
256 bits wide at scale 36, and a result is rounded once, half away from zero, or refused.
"""

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract.errors import QuantLakeError
from quantlake.contract.types import Price

LARGEST_TERM = 10**30  # 10**30 at scale 36 is 67 digits: ten billion such terms add up below decimal256's 76
_LAST_PLACE = Decimal(1).scaleb(-18)


def multiply(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """The exact products (decimal256(76, 36)) of two decimal(38,18) columns."""
    # Precision 37 makes the declared product fit 76 digits; unsafe skips only the check of declared digits, and two values of
    # 38 digits have a product of 76.
    narrow = pa.decimal256(37, 18)
    return pc.multiply(left.cast(narrow, safe=False), right.cast(narrow, safe=False)).cast(pa.decimal256(76, 36))


def group_sums(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    """The exact sums (decimal256) of all columns not in ``by``, which are decimals, for each group; names and scales are kept.

    Raises ``QuantLakeError`` for a term of 1e30 or more, whose sums could overflow unseen.
    """
    terms = [c for c in rows.column_names if c not in by]
    for term in terms:
        largest = pc.max(pc.abs(rows[term])).as_py()
        if largest is not None and largest >= LARGEST_TERM:
            raise QuantLakeError(f"{term} reaches {largest}, too large for an exact sum; look for a wrong price or size")
        wide = pa.decimal256(76, rows.schema.field(term).type.scale)
        rows = rows.set_column(rows.column_names.index(term), term, rows[term].cast(wide))
    sums = rows.group_by(list(by)).aggregate([(term, "sum") for term in terms])
    return sums.select([*by, *(f"{term}_sum" for term in terms)]).rename_columns([*by, *terms])


def rounded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as decimal(38,18), half away from zero. Raises ``QuantLakeError`` for 1e20 and more, which do not fit."""
    try:
        return pc.round(values, ndigits=18, round_mode="half_towards_infinity").cast(Price.arrow)
    except pa.ArrowInvalid:
        raise _too_large(pc.max(pc.abs(values)).as_py()) from None


def divide(numerator: pa.ChunkedArray, denominator: pa.ChunkedArray) -> pa.ChunkedArray:
    """Quotients as decimal(38,18), half away from zero; null for a zero denominator. Raises ``QuantLakeError`` as ``rounded``.

    A Python step each (Arrow's division would need 153 digits): 2 us, where multiplying takes 0.3 us: for bars, not for ticks.
    """
    exact = Context(prec=80, rounding=ROUND_DOWN)  # 58 digits before the point at most; cut, then half-up at 18, is half-up

    def quotient(n: Decimal | None, d: Decimal | None) -> Decimal | None:
        return exact.divide(n, d).quantize(_LAST_PLACE, ROUND_HALF_UP, exact) if n is not None and d else None

    quotients = list(map(quotient, numerator.to_pylist(), denominator.to_pylist()))
    try:
        return pa.chunked_array([pa.array(quotients, Price.arrow)])
    except pa.ArrowInvalid:
        raise _too_large(max(abs(q) for q in quotients if q is not None)) from None


def _too_large(value: Decimal) -> QuantLakeError:
    return QuantLakeError(f"a result of {value} does not fit decimal(38,18); look for a wrong price or size")
