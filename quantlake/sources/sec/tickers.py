"""Company tickers: the SEC's list of which company has which ticker today.

Here: that document's rows. The list has no date: it is known from when it is read.
The format: https://www.sec.gov/files/company_tickers.json: ``{"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}, ...}``.
"""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.reference import company_tickers
from quantlake.sources.importers import Rows, sha256
from quantlake.sources.provenance import stamped
from quantlake.sources.sec.documents import CIK, CIK_DIGITS, SHOWN, EdgarDocument, Records, parsed


def rows(document: EdgarDocument) -> Rows:
    """The lines typed as ``company_tickers.raw``. Raises ``QuantLakeError`` naming file and item."""
    now = datetime.now(UTC)
    found = tickers(document).with_columns(
        source=pl.lit("sec"), known_at=pl.lit(now).cast(pl.Datetime("us", "UTC")), line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    )
    yield company_tickers.raw, stamped(company_tickers.raw, found, "sec/company_tickers", sha256(document.content), "assumed")


def tickers(document: EdgarDocument) -> pl.DataFrame:
    """``cik`` (ten digits), ``ticker``, ``title``, as text, in the document's order."""
    path, said = document.where, parsed(document)
    if not isinstance(said, dict):
        raise QuantLakeError(f"{path} is {str(said)[:SHOWN]!r}; the SEC's company tickers are expected")
    records = Records(path, "item")
    listed: list[Any] = list(said.values())
    for row, item in enumerate(listed):
        if not isinstance(item, dict):
            raise records.refused(row, "it", item)
    found = [records.text(name, [item.get(name) for item in listed], needed=True) for name in ("ticker", "title")]
    ciks = records.text("cik_str", [item.get("cik_str") for item in listed], CIK, needed=True)
    return pl.DataFrame([ciks.str.zfill(CIK_DIGITS).alias("cik"), *found])
