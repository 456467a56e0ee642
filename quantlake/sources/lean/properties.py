"""LEAN's lists of what can be traded: symbol properties, and ids of securities.

Here: both to instruments and symbols. Not here: map files (maps.py), market hours.

``symbol-properties-database.csv`` has a header, comments (`#`) and records of 8 to 12 columns, ``market,symbol,type,description,
quote_currency,contract_multiplier,minimum_price_variation,lot_size,market_ticker,...``; those after it are not read. Its ids are as
``instruments`` says. A symbol is mapped as LEAN prints it (source `lean`, venue the market), and as the market does (source the market) where
``market_ticker`` says it; of perpetual futures and options the venue is ``<market>/<asset class>``. `[*]` is a market's default, no symbol.
A future's symbol is its product's, not a contract's. The list says nothing of time: all is assumed known since the streams' first date.

``security-database.csv`` has ``security id,cusip,figi (composite),sedol,isin,cik`` of equities, and comments; assumed known since the
date that the id tells. ``source_name`` is ``symbol-properties/<file name>``.
Formats: https://github.com/QuantConnect/Lean/tree/master/Data/symbol-properties.
"""

from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.reference import common, instruments, symbol_map
from quantlake.sources import text
from quantlake.sources.importers import Rows, content, decoded, sha256
from quantlake.sources.lean.security_ids import PATTERN, first_date
from quantlake.sources.provenance import stamped, unique

HEADER = "market,symbol,type,description,quote_currency,contract_multiplier,"
CLASSES = {
    **{kind: kind for kind in ("equity", "index", "forex", "cfd", "crypto", "future", "option")},
    "cryptofuture": "crypto_future", "futureoption": "future_option", "indexoption": "index_option",
}  # fmt: skip
OF_ANOTHER = ("crypto_future", "future_option", "option", "index_option")
WIDTH, LEAST = 12, 8
FIRST = date(1989, 1, 1)  # since when a list that has no dates is taken to hold: before all that LEAN has prices of
ANY = "[*]"
NUMBERS = ("multiplier", "tick_size", "lot_size")
NUMBER_OR_NONE = "^$|" + text.NOT_NEGATIVE
PROPERTIES = {
    "market": "^[a-z0-9_-]+$", "symbol": "^[^ ]+$", "type": f"^({'|'.join(CLASSES)})$", "name": "", "currency": "^[^ ]+$", "multiplier": text.NOT_NEGATIVE,
    "tick_size": NUMBER_OR_NONE, "lot_size": NUMBER_OR_NONE, "ticker": "", "order_size": "", "magnifier": "", "strike": "",
}  # fmt: skip
SECURITIES = {
    "instrument_id": PATTERN, "cusip": "^[0-9A-Za-z]{0,9}$", "figi": "^([0-9A-Z]{12})?$", "sedol": "^[0-9A-Z]{0,7}$", "isin": "^([A-Z]{2}[0-9A-Z]{10})?$",
    "cik": "^[0-9]{0,10}$",
}  # fmt: skip
NO_PROPERTIES, NO_SECURITY = "-,-,crypto,,-,1,1,1,,,,", "- 0,,,,,"


def read(path: Path) -> Rows:
    """The instruments and symbols of symbol properties. Raises ``QuantLakeError`` naming file and line: columns, a type or number that is
    none, a symbol of a market and type twice."""
    raw, where = content(path), str(path)
    lines = text.lines(decoded(raw, where))
    if not len(lines) or not lines[0].startswith(HEADER):
        raise QuantLakeError(f"{where} line 1: its header must begin with {HEADER}")
    padded = lines.slice(1).str.strip_chars_end(" ")
    missing = pl.lit(WIDTH - 1 - padded.str.count_matches(",", literal=True).cast(pl.Int64))
    padded = pl.select(padded + pl.lit(",").repeat_by(missing.clip(0, WIDTH - LEAST)).list.join("")).to_series()
    found = _records(padded, PROPERTIES, NO_PROPERTIES, where, first_line=2)
    unique(found.select("market", "symbol", "type"), where, lines=found["line"])
    terms = _terms(found)
    yield instruments.raw, _stamped(instruments.raw, terms, path, raw)
    yield symbol_map.raw, _stamped(symbol_map.raw, _symbols(terms), path, raw)


def read_securities(path: Path) -> Rows:
    """The equities' other ids. Raises ``QuantLakeError`` naming file and line: columns, an id that cannot be or is there twice, one that
    tells no date."""
    raw, where = content(path), str(path)
    found = _records(text.lines(decoded(raw, where)), SECURITIES, NO_SECURITY, where)
    unique(found.select("instrument_id"), where, lines=found["line"])
    listed = pl.Series([first_date(security) for security in found["instrument_id"]], dtype=pl.Date)
    for row in listed.is_null().arg_true().head(1):
        raise QuantLakeError(f"{where} line {found['line'][row]}: {found['instrument_id'][row]} is no US equity's id with a first date")
    rows = found.select("instrument_id", "line_number", *(pl.col(c).replace("", None) for c in ("figi", "isin", "cik"))).with_columns(
        pl.col("cik").str.zfill(10), asset_class=pl.lit("equity"), listed=listed, source=pl.lit("lean")
    )
    yield instruments.raw, _stamped(instruments.raw, rows.with_columns(known_at=common.midnight("listed")), path, raw)


def _records(lines: pl.Series, patterns: dict[str, str], no_record: str, where: str, first_line: int = 1) -> pl.DataFrame:
    """The cells of what is no comment and not empty, with ``line`` and ``line_number``.

    The others are read as ``no_record`` and dropped, so that an error names a record by its line.
    """
    comment = lines.str.strip_chars().str.contains("^(#|,*$)")
    cells = text.cells(lines.set(comment, no_record), patterns, where, first_line)
    numbered = cells.with_columns(line=pl.int_range(first_line, first_line + pl.len(), dtype=pl.Int64))
    numbered = numbered.with_columns(
        text.exact(numbered[name].replace("", None), where, first_line=first_line).alias(name) for name in NUMBERS if name in patterns
    )
    return numbered.filter(~comment).with_columns(line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


def _terms(found: pl.DataFrame) -> pl.DataFrame:
    """Typed, with ``instrument_id`` and ``venue``."""
    kind = pl.col("type").replace_strict(CLASSES)
    place = pl.when(kind.is_in(OF_ANOTHER) | (pl.col("symbol") == ANY)).then(pl.format("{}/{}", "market", kind)).otherwise("market")
    places = pl.col("tick_size").cast(pl.String).str.extract(r"\.([0-9]*?)0*$").str.len_bytes()
    return found.with_columns(
        pl.col("name").str.strip_chars().replace("", None),
        asset_class=kind,
        venue=place,
        instrument_id=pl.format("{}:{}", place, "symbol"),
        decimals=places.cast(pl.Int64),
        source=pl.lit("lean"),
        known_at=common.midnight(pl.lit(FIRST), "UTC"),
    )


def _symbols(terms: pl.DataFrame) -> pl.DataFrame:
    """As LEAN prints a symbol, and as its market does."""
    mapped = terms.filter(pl.col("symbol") != ANY).with_columns(
        valid_from=pl.lit(FIRST), known_at=common.midnight(pl.lit(FIRST), "UTC")
    )
    printed = mapped.filter(pl.col("ticker") != "").with_columns(source="market", symbol="ticker", item_index=pl.lit(1, pl.Int64))
    return pl.concat([mapped.with_columns(item_index=pl.lit(0, pl.Int64)), printed])


def _stamped(stream: Stream, rows: pl.DataFrame, path: Path, raw: bytes) -> pa.Table:
    return stamped(stream, rows, f"symbol-properties/{path.name}".lower(), sha256(raw), "assumed")
