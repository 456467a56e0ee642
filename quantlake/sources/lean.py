"""LEAN tick trades: zips of one headerless CSV, US equities and crypto.

Here: that format and how its files are told from LEAN's others. Not here: quotes, bars, futures (named as having no importer).
Equity: ``ms since New York midnight,price * 10000,size,exchange,condition bit mask in hex,suspicious``; the date is New York's.
Crypto: ``ms since UTC midnight,price,size[,suspicious]``. The last line has no newline. Byte-identical lines are real fills.
Format: https://github.com/QuantConnect/Lean/tree/master/Data (readme of each asset class).
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import common, trades
from quantlake.sources.importers import Importer, Recognised, decimals, sha256, typed

MEMBER = re.compile(r"(?P<date>\d{8})_(?P<symbol>.+)_(?:trade_tick|tick_trade)\.csv", re.IGNORECASE)
OTHER_MEMBER = re.compile(
    r"\d{8}_.+_(?:(?P<step>tick|second|minute)_(?P<what>trade|quote|openinterest)(?P<contract>_.+)?|(?P<old>quote|trade)_tick)\.csv",
    re.IGNORECASE,
)
DAILY_BAR = re.compile(rb"\d{8} \d\d:\d\d,")
MS, SIZE, FLAG = r"^[0-9]{1,9}$", r"^[0-9]{1,16}(\.[0-9]{1,18})?$", r"^[01]$"
EQUITY_PRICE, CRYPTO_PRICE = r"^-?[0-9]{1,16}(\.[0-9]{1,14})?$", r"^-?[0-9]{1,16}(\.[0-9]{1,18})?$"
EQUITY = {"ms": MS, "price": EQUITY_PRICE, "size": SIZE, "exchange": "", "conditions": r"^[0-9A-Fa-f]*$", "suspicious": FLAG}
CRYPTO = {"ms": MS, "price": CRYPTO_PRICE, "size": SIZE, "suspicious": FLAG}
ABSENT = {"exchange": "", "conditions": "", "suspicious": "0"}  # what crypto files do not have
DAY_MS = 86_400_000


def recognise(path: Path) -> Recognised:
    """By the names of a zip's members, and its first line; raises ``QuantLakeError`` where the zip cannot be opened."""
    with path.open("rb") as file:
        if file.read(2) != b"PK" and path.suffix.lower() != ".zip":
            return None
    archive = _open(path)
    with archive:
        names = archive.namelist()
        if len(names) == 1 and MEMBER.fullmatch(names[0]):
            market = _equity_market(path)
            if market in (None, common.CONSOLIDATED_US) or _first_line(archive, path, names[0]).count(b",") + 1 != len(EQUITY):
                return Importer("LEAN tick trades", trades.raw, read)
            return f"LEAN equity tick trades of the market {market}, whose clock is not known"
        if names and (other := OTHER_MEMBER.fullmatch(names[0])):
            step, what = (other["step"] or "tick").lower(), (other["what"] or other["old"]).lower()
            return f"LEAN {step} {what}s{' by contract' if other['contract'] else ''}"
        if len(names) == 1 and DAILY_BAR.match(_first_line(archive, path, names[0])):
            return "LEAN daily or hour bars"
    return "zip"


def read(path: Path) -> pa.Table:
    """The trades of one zip, typed as ``trades.raw``, in file order; ``source_records`` are the file's.

    ``event_time`` is wall-clock time of day: of an hour that New York has twice (November) the first is taken, a time it skips
    (March) is an error; both fall on Sundays. ``known_at`` is the event time. An empty file has no records.
    """
    with _open(path) as archive:
        name = archive.namelist()[0]
        content = _content(archive, path, name)
    member = MEMBER.fullmatch(name)
    assert member is not None  # recognise() chose this file
    where = f"{path}: {name}"
    lines = _lines(content, where)
    columns = lines[0].count(",") + 1 if len(lines) else len(EQUITY)
    if columns not in (len(EQUITY), len(CRYPTO), len(CRYPTO) - 1):
        raise QuantLakeError(f"{where} line 1 has {columns} columns; equity ticks have 6, crypto ticks 3 or 4: {lines[0][:80]!r}")
    equity = columns == len(EQUITY)
    cells = _cells(lines, EQUITY if equity else dict(list(CRYPTO.items())[:columns]), where)
    absent = [pl.lit(text).alias(c) for c, text in ABSENT.items() if c not in cells.columns]
    cells = cells.with_columns(absent)
    venue = common.CONSOLIDATED_US if equity else _crypto_venue(path)
    symbol, day = member["symbol"], _date(member["date"], where)
    folder = f"{'equity' if equity else 'crypto'}/{venue}/tick/{symbol}/{member['date']}/{name}".lower()
    zone = "America/New_York" if equity else "UTC"
    event_time = _event_time(cells["ms"], day, zone, where)
    rows = pl.DataFrame({
        "price": decimals(cells["price"], shift=4 if equity else 0),
        "size": decimals(cells["size"]),
        "event_time": event_time,
        "known_at": event_time,
    }).with_columns(
        symbol=pl.lit(symbol.upper()),
        venue=pl.lit(venue),
        trade_id=pl.lit(None, pl.String),
        side=pl.lit("unknown"),
        exchange=_or_null(cells["exchange"]),
        conditions=_conditions(cells),
        partition_date=pl.lit(day),
        source_name=pl.lit(folder),
        source_version=pl.lit(sha256(content)),
        source_records=pl.lit(len(lines), pl.Int64),
        line_number=pl.int_range(1, len(lines) + 1, dtype=pl.Int64),
    )
    return typed(trades.raw, rows)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise QuantLakeError(f"{path} is not a whole zip file ({error}); fetch it again") from error


def _content(archive: zipfile.ZipFile, path: Path, name: str, limit: int = -1) -> bytes:
    try:
        with archive.open(name) as member:
            return member.read(limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise QuantLakeError(f"{path}: {name} cannot be unpacked ({error}); fetch the file again") from error


def _first_line(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    return _content(archive, path, name, limit=1000).split(b"\n")[0]


def _lines(content: bytes, where: str) -> pl.Series:
    """The file's lines; a newline at its end, or none, makes no further one."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise QuantLakeError(f"{where} line {line} is not UTF-8: {content[error.start : error.start + 8]!r}") from error
    lines = pl.Series("line", text.removesuffix("\n").split("\n") if text else [], dtype=pl.String)
    return lines.str.strip_suffix("\r")


def _cells(lines: pl.Series, patterns: Mapping[str, str], where: str) -> pl.DataFrame:
    """Text columns named as ``patterns``, each cell matching its own; the first line that does not is named in the error."""
    columns = lines.str.count_matches(",", literal=True) + 1
    if (wrong := (columns != len(patterns)).arg_true()).len():
        row = wrong[0]
        raise QuantLakeError(f"{where} line {row + 1} has {columns[row]} columns, not {len(patterns)}: {lines[row][:80]!r}")
    cells = lines.str.split_exact(",", len(patterns) - 1).struct.rename_fields(list(patterns)).struct.unnest()
    for row, column in sorted((row, c) for c, p in patterns.items() for row in (~cells[c].str.contains(p)).arg_true().head(1)):
        raise QuantLakeError(f"{where} line {row + 1}: {column} cannot be {cells[column][row][:80]!r}")
    return cells


def _event_time(milliseconds: pl.Series, day: date, zone: str, where: str) -> pl.Series:
    """Wall-clock time of ``day`` in ``zone`` as UTC."""
    elapsed = milliseconds.cast(pl.Int64)
    clock = pl.select(pl.lit(day).cast(pl.Datetime("us")) + pl.duration(milliseconds=pl.lit(elapsed))).to_series()
    times = clock.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    wrong = (times.is_null() | (elapsed >= DAY_MS)).arg_true()
    if wrong.len():
        raise QuantLakeError(f"{where} line {wrong[0] + 1}: {elapsed[wrong[0]]} ms is no time of {day} in {zone}")
    return times.dt.convert_time_zone("UTC")


def _conditions(cells: pl.DataFrame) -> pl.Series:
    """As printed, ``|suspicious`` added where LEAN says so; null where there is neither."""
    suspicious = pl.col("suspicious").replace_strict({"1": "|suspicious", "0": ""}, return_dtype=pl.String)
    return _or_null(cells.select(pl.concat_str("conditions", suspicious)).to_series())


def _or_null(text: pl.Series) -> pl.Series:
    return text.replace("", None)


def _date(digits: str, where: str) -> date:
    try:
        return date.fromisoformat(digits)
    except ValueError as error:
        raise QuantLakeError(f"{where}: {digits} in its name is no date") from error


def _crypto_venue(path: Path) -> str:
    """From LEAN's own layout ``<venue>/tick/<symbol>``."""
    parts = _folders(path)
    at = [i for i, part in enumerate(parts) if part == "tick" and i > 1]
    return parts[at[-1] - 1] if at else "crypto"


def _equity_market(path: Path) -> str | None:
    """From LEAN's own layout ``equity/<market>/tick``; another folder that is named ``equity`` says nothing."""
    parts = _folders(path)
    at = [i for i, part in enumerate(parts[:-2]) if part == "equity" and parts[i + 2] == "tick"]
    return parts[at[-1] + 1] if at else None


def _folders(path: Path) -> list[str]:
    return [part.lower() for part in path.absolute().parts[:-1]]
