"""LEAN's factor files: the dividends and splits of a US equity.

Here: a factor file to corporate actions. Not here: adjusting prices by them.

Records are ``date,price_factor,split_factor[,reference_price]``; of a day the first record counts whose date is not before it. So a
factor that changes after a record changes on the next session of XNYS, the ex-date, and the record's reference price is the close before:

- split: ``ratio`` = split factor after / before, new shares for an old one;
- dividend: ``amount`` = reference price x (1 - price factor before / after), of the unadjusted share before any split of that day.

Both are as exact as the file, which rounds factors to 7 or 8 places (2.00000112 for 2:1), and to 18 places half even. LEAN itself rounds
amounts to cents. The first record is where the data begin; it makes an action as any other does.

The equity is that of the map file of the same name in ``../map_files``; without one its id is LEAN's for that case
(``security_ids.without_map``), and the symbol the file's name; so ``source_version`` is of both files. There is no announcement: ``known_at`` is 00:00 New York of the ex-date.
``source_name`` is ``equity/usa/factor_files/<file name>``.
Format and formulas: https://github.com/QuantConnect/Lean/blob/master/Common/Data/Auxiliary/CorporateFactorRow.cs.
"""

from decimal import Context, Decimal
from pathlib import Path

import numpy as np
import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.contract.sessions import open_sessions
from quantlake.datasets.reference import common, corporate_actions
from quantlake.sources import text
from quantlake.sources.importers import Rows, content, decoded, sha256
from quantlake.sources.lean import maps
from quantlake.sources.lean.security_ids import without_map
from quantlake.sources.provenance import stamped

CALENDAR = "XNYS"
FACTOR = r"^[0-9]{1,18}(\.[0-9]{1,18})?$"
WIDE, PLACE = Context(prec=80), Decimal(1).scaleb(-18)


def read(path: Path) -> Rows:
    """The actions of one factor file. Raises ``QuantLakeError`` naming file and line: columns, dates out of order, a factor that is 0 or
    no plain number, a dividend without a reference price; or as ``maps.load`` of its map file."""
    raw = content(path)
    where = str(path)
    lines = text.lines(decoded(raw, where))
    if lines.is_empty():
        raise QuantLakeError(f"{where} is empty; a factor file ends with the record 20501231,1,1")
    width = lines[0].count(",") + 1
    columns = {"date": maps.DATE, "price_factor": FACTOR, "split_factor": FACTOR, "reference_price": FACTOR}
    found = text.cells(lines, dict(list(columns.items())[: max(width, 3)]), where)
    rows = pl.DataFrame({name: text.exact(found[name], where) for name in found.columns if name != "date"}).with_columns(
        date=maps.increasing(found["date"], where), line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    )
    for row in ((rows["price_factor"] == 0) | (rows["split_factor"] == 0)).arg_true().head(1):
        raise QuantLakeError(f"{where} line {row + 1}: a factor of 0 would make every price 0: {lines[row]!r}")
    map_file = path.parent.parent / "map_files" / path.name
    mapped = content(map_file) if map_file.exists() else b""
    actions = _actions(rows, where)
    named = _of_map(actions, maps.load(map_file)) if mapped else _of_ticker(actions, path.name.split(".")[0].upper())
    stream, name = corporate_actions.raw, f"equity/usa/factor_files/{path.name}".lower()
    yield stream, stamped(stream, named, name, sha256(raw + mapped), "day")


def _actions(rows: pl.DataFrame, where: str) -> pl.DataFrame:
    if "reference_price" not in rows.columns:
        rows = rows.with_columns(reference_price=pl.lit(0, pl.Decimal(38, 18)))
    after = [pl.col(c).shift(-1).alias(f"{c}_after") for c in ("price_factor", "split_factor")]
    steps = rows.with_columns(after).with_columns(ex_date=_next_sessions(rows["date"], where)).head(-1)
    splits = steps.filter(pl.col("split_factor") != pl.col("split_factor_after"))
    dividends = steps.filter(pl.col("price_factor") != pl.col("price_factor_after"))
    for number in dividends.filter(pl.col("reference_price") == 0)["line_number"].head(1):
        raise QuantLakeError(f"{where} line {number}: the price factor changes after it, and it has no reference price to tell the dividend by")
    none = pl.lit(None, pl.Decimal(38, 18))
    amount = pl.Series(map(_amount, *(dividends[c] for c in ("reference_price", "price_factor", "price_factor_after"))), dtype=pl.Decimal(38, 18))
    ratio = pl.Series(map(_ratio, splits["split_factor"], splits["split_factor_after"]), dtype=pl.Decimal(38, 18))
    made = [
        dividends.select("line_number", "ex_date", type=pl.lit("dividend"), amount=amount, ratio=none, currency=pl.lit("USD"), item_index=pl.lit(0, pl.Int64)),
        splits.select("line_number", "ex_date", type=pl.lit("split"), amount=none, ratio=ratio, currency=pl.lit(None, pl.String), item_index=pl.lit(1, pl.Int64)),
    ]  # fmt: skip
    return pl.concat(made).with_columns(known_at=common.midnight("ex_date"), source=pl.lit("lean"), status=pl.lit("active"))


def _next_sessions(days: pl.Series, where: str) -> pl.Series:
    """The first session after each day; null of the last, which is the open end."""
    sessions = np.array(sorted(open_sessions(CALENDAR)), dtype="datetime64[D]")
    at = np.searchsorted(sessions, days.head(-1).to_numpy(), side="right")
    for row in np.flatnonzero(at == len(sessions))[:1]:
        raise QuantLakeError(f"{where} line {row + 1}: {CALENDAR} has no known session after {days[int(row)]}")
    return pl.Series("ex_date", sessions[at]).extend_constant(None, 1).cast(pl.Date)


def _amount(price: Decimal, before: Decimal, after: Decimal) -> Decimal:
    return WIDE.quantize(WIDE.divide(WIDE.multiply(price, after - before), after), PLACE)


def _ratio(before: Decimal, after: Decimal) -> Decimal:
    return WIDE.quantize(WIDE.divide(after, before), PLACE)


def _of_map(actions: pl.DataFrame, found: maps.MapFile) -> pl.DataFrame:
    """With the equity's id, and its ticker on the ex-date."""
    tickers = found.intervals.select("valid_from", "symbol").sort("valid_from")
    named = actions.sort("ex_date").join_asof(tickers, left_on="ex_date", right_on="valid_from", strategy="backward")
    return named.sort("line_number", "item_index").with_columns(instrument_id=pl.lit(found.security))


def _of_ticker(actions: pl.DataFrame, ticker: str) -> pl.DataFrame:
    return actions.with_columns(instrument_id=pl.lit(without_map(ticker)), symbol=pl.lit(ticker))
