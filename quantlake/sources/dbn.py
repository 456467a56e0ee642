"""Bytes of DBN files: decompression, header, and fixed-size records as one NumPy array.

Here: what the format is. Not here: what records mean (databento.py).

A file is ``DBN``, its version, the metadata's length and the metadata, then records; a record begins with its own length in units of
4 bytes and its type. The package ``databento-dbn`` reads the metadata; its records are Python objects, one each, and one attribute of each
takes twice as long as reading all fields here (7 M/s). All records of a file must be of its schema: captures of the live service, which mix them, are not.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError

Records = npt.NDArray[np.void]

MAGIC, ZSTD = b"DBN", b"\x28\xb5\x2f\xfd"
PREFIX = 8  # bytes before the metadata
UNDEFINED_PRICE = 2**63 - 1
UNDEFINED_TIME = 2**64 - 1
MAYBE_BAD_BOOK = 0x04  # of a record's flags
LAST_TIME = 2**63  # ns since 1970 that int64 holds
HEADER = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8")]
MESSAGE = [
    *HEADER, ("price", "<i8"), ("size", "<u4"), ("action", "S1"), ("side", "S1"), ("flags", "u1"), ("depth", "u1"), ("ts_recv", "<u8"),
    ("ts_in_delta", "<i4"), ("sequence", "<u4"),
]  # fmt: skip
TOP = [("bid_px_00", "<i8"), ("ask_px_00", "<i8"), ("bid_sz_00", "<u4"), ("ask_sz_00", "<u4"), ("bid_ct_00", "<u4"), ("ask_ct_00", "<u4")]
BAR = [*HEADER, *((name, "<i8") for name in ("open", "high", "low", "close")), ("volume", "<u8")]
LAYOUTS: dict[str, tuple[int, list[tuple[str, str]]]] = {
    "trades": (0x00, MESSAGE), "tbbo": (0x01, MESSAGE + TOP), "mbp-1": (0x01, MESSAGE + TOP),
    "bbo-1s": (0xC3, MESSAGE + TOP), "bbo-1m": (0xC4, MESSAGE + TOP),
    "ohlcv-1s": (0x20, BAR), "ohlcv-1m": (0x21, BAR), "ohlcv-1h": (0x22, BAR), "ohlcv-1d": (0x23, BAR),
}  # fmt: skip
"""Record type and fields by schema; of versions 1 to 3, which have these alike."""


@dataclass(frozen=True)
class Header:
    """Of a file: ``symbols`` has ``id``, ``symbol``, ``first`` and ``end`` (dates, the end is excluded); ``version`` its sha256."""

    dataset: str
    schema: str
    first_day: date
    symbols: pl.DataFrame
    extra_bytes: int
    version: str


def is_dbn(path: Path) -> bool:
    """Whether it begins as DBN, or as zstd and is called ``.dbn.zst``."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic[:3] == MAGIC or (magic == ZSTD and path.name.lower().endswith(".dbn.zst"))


def header(path: Path) -> Header:
    """Raises ``QuantLakeError``: a file whose head cannot be read."""
    with _opened(path) as stream:
        return _header(_metadata(stream, path), path, version="")


def read(path: Path) -> tuple[Header, Records]:
    """A whole file; raises ``QuantLakeError``: a file that is cut, a record of another type or length."""
    try:
        with _opened(path) as stream:
            content = stream.read()
    except OSError as error:
        raise QuantLakeError(f"{path} cannot be unpacked ({error}); fetch it again") from error
    found = _header(_metadata(pa.BufferReader(content), path), path, hashlib.sha256(content).hexdigest())
    return found, _records(memoryview(content)[PREFIX + int.from_bytes(content[4:8], "little") :], found, path)


def _opened(path: Path) -> pa.NativeFile:
    with path.open("rb") as file:
        compression = "zstd" if file.read(4) == ZSTD else None
    return pa.input_stream(str(path), compression=compression)


def _metadata(stream: pa.NativeFile, path: Path) -> bytes:
    """Prefix and metadata."""
    try:
        prefix = stream.read(PREFIX)
        length = int.from_bytes(prefix[4:], "little")
        metadata: bytes = stream.read(length)
    except OSError as error:
        raise QuantLakeError(f"{path} cannot be unpacked ({error}); fetch it again") from error
    if prefix[:3] != MAGIC or len(metadata) < length:
        raise QuantLakeError(f"{path} is no whole DBN file: it begins with {prefix!r} and has {len(metadata)} bytes of metadata")
    return bytes(prefix) + metadata


def _header(content: bytes, path: Path, version: str) -> Header:
    import databento_dbn

    try:
        metadata = databento_dbn.Metadata.decode(content)
    except (databento_dbn.DBNError, ValueError) as error:
        raise QuantLakeError(f"{path}: its metadata cannot be read ({error})") from error
    return Header(
        metadata.dataset,
        str(metadata.schema or ""),
        datetime.fromtimestamp(metadata.start // 10**9, UTC).date(),
        _mappings(metadata, path),
        8 if metadata.ts_out else 0,
        version,
    )


def _mappings(metadata: Any, path: Path) -> pl.DataFrame:
    """Ids and symbols, whichever of them was asked for."""
    by_id = str(metadata.stype_in) == "instrument_id"
    rows = []
    for asked, intervals in metadata.mappings.items():
        for interval in intervals:
            number, symbol = (asked, interval["symbol"]) if by_id else (interval["symbol"], asked)
            if number:
                rows.append((number, symbol, interval["start_date"], interval["end_date"]))
    schema = {"id": pl.String, "symbol": pl.String, "first": pl.Date, "end": pl.Date}
    found = pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("id").cast(pl.Int64, strict=False))
    if found["id"].null_count():
        raise QuantLakeError(f"{path}: its mappings are from {metadata.stype_in} to {metadata.stype_out}, not to instrument ids")
    return found


def _records(content: memoryview, found: Header, path: Path) -> Records:
    rtype, fields = LAYOUTS[found.schema]
    layout = np.dtype([*fields, *([("ts_out", "<u8")] if found.extra_bytes else [])])
    whole = len(content) // layout.itemsize
    records = np.frombuffer(content[: whole * layout.itemsize], layout)
    for row in np.flatnonzero((records["length"] * np.uint16(4) != layout.itemsize) | (records["rtype"] != rtype))[:1]:
        one = f"has type {records['rtype'][row]:#x} and {int(records['length'][row]) * 4} bytes"
        raise QuantLakeError(f"{path} record {row + 1} {one}, not {rtype:#x} and {layout.itemsize} as {found.schema} have")
    if len(content) % layout.itemsize:
        raise QuantLakeError(f"{path} record {whole + 1} is cut; fetch the file again")
    return records
