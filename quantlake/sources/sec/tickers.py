"""Company tickers: the SEC's list of which company has which ticker today.

Here: that document as columns. Not here: what becomes of it (an instrument's ``cik``); it is today's list, so no history follows from it.
The format: https://www.sec.gov/files/company_tickers.json: ``{"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}, ...}``.
"""

from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.sources.sec.documents import CIK, CIK_DIGITS, SHOWN, Records, opened, parsed


def tickers(path: Path) -> pl.DataFrame:
    """``cik`` (ten digits), ``ticker``, ``title``, as text, in the file's order. Raises ``QuantLakeError`` naming file and item."""
    document = opened(path)
    said = parsed(document)
    if not isinstance(said, dict):
        raise QuantLakeError(f"{path} is {str(said)[:SHOWN]!r}; the SEC's company tickers are expected")
    records = Records(str(path), "item")
    listed: list[Any] = list(said.values())
    for row, item in enumerate(listed):
        if not isinstance(item, dict):
            raise records.refused(row, "it", item)
    found = [records.text(name, [item.get(name) for item in listed], needed=True) for name in ("ticker", "title")]
    ciks = records.text("cik_str", [item.get("cik_str") for item in listed], CIK, needed=True)
    return pl.DataFrame([ciks.str.zfill(CIK_DIGITS).alias("cik"), *found])
