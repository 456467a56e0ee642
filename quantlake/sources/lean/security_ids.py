"""LEAN's ids of US equities: `GOOG T1AZ164W5VTX`.

Here: making one, and the date in one. Not here: ids of options and other markets.
An id is the first ticker, a space, and in base 36: days from 1899-12-30 to the first date x 10^14 + market (1: usa) x 100 + kind
(1: equity). Worked out from https://github.com/QuantConnect/Lean/blob/master/Common/SecurityIdentifier.cs.
"""

from datetime import date, timedelta

import numpy as np

ZERO = date(1899, 12, 30)
DAY, USA_EQUITY = 10**14, 101
PATTERN = r"^[^ ,|]+ [0-9A-Z]{1,13}$"


def security_id(first_ticker: str, first: date) -> str:
    """The id of a US equity whose first ticker (any case) was traded first on a date."""
    return f"{first_ticker.upper()} {np.base_repr((first - ZERO).days * DAY + USA_EQUITY, 36)}"


def first_date(security: str) -> date | None:
    """The first date that the id of a US equity tells; None: it is not one, or tells none."""
    days, kind = divmod(int(security.rpartition(" ")[2], 36), DAY)
    return ZERO + timedelta(days=days) if kind == USA_EQUITY and 0 < days < 100_000 else None


def without_map(ticker: str) -> str:
    """LEAN's id of an equity for which it has no map file: that of day 0."""
    return security_id(ticker, ZERO)
