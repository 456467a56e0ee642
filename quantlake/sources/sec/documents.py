"""What the importers of EDGAR's documents share: JSON whose numbers stay text, and columns of records, each checked.

Here: a document's bytes to values, values to typed columns; an error names file, record and column. Not here: any document's shape.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.sources import text
from quantlake.sources.importers import Rows, content, counted, decoded, sha256, typed

ACCESSION = r"^[0-9]{10}-[0-9]{2}-[0-9]{6}$"
CIK = r"^[0-9]{1,10}$"
CIK_DIGITS = 10
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
SUFFIX = re.compile(r"\.(json|xml|atom|idx|html?)(\.gz)?$", re.IGNORECASE)
SHOWN = 80


@dataclass(frozen=True)
class EdgarDocument:
    """A document's bytes, unpacked. ``where`` names it in errors, ``name`` is its own, without folder and suffixes."""

    content: bytes
    where: str
    name: str


def opened(path: Path) -> EdgarDocument:
    """A file, its name without ``.json``, ``.gz`` and the like."""
    return EdgarDocument(content(path), str(path), SUFFIX.sub("", path.name))


def parsed(document: EdgarDocument) -> Any:
    """JSON, with each number as the text it is written in. Raises ``QuantLakeError`` where it is none, or names something twice."""
    try:
        return json.loads(
            decoded(document.content, document.where), parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_once
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise QuantLakeError(
            f"{document.where} line {error.lineno} column {error.colno} is not JSON: {error.msg}; a cut file? Fetch it again"
        ) from error
    except _TwiceError as error:
        raise QuantLakeError(f"{document.where} has {str(error)[:SHOWN]!r} twice in one object; fetch it again") from None
    except RecursionError:
        raise QuantLakeError(f"{document.where} is nested too deeply to be a document of EDGAR; fetch it again") from None


class _TwiceError(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def cik(value: Any, where: str) -> str:
    """Ten digits, from text or number. Raises ``QuantLakeError`` where it is no Central Index Key."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > CIK_DIGITS:
        raise QuantLakeError(f"{where}: cik is {str(value)[:SHOWN]!r}; up to {CIK_DIGITS} digits are expected")
    return value.zfill(CIK_DIGITS)


@dataclass(frozen=True)
class Records:
    """Columns of a document's records; ``record`` is what one is called, ``first`` its number in errors."""

    where: str
    record: str
    first: int = 1

    def text(self, name: str, values: Sequence[Any], pattern: str = "", *, needed: bool = False) -> pl.Series:
        """Text, null where it is empty; raises ``QuantLakeError`` for other types, what does not match, and what is needed and not there."""
        wrong = next((i for i, v in enumerate(values) if not isinstance(v, str | None)), None)
        if wrong is not None:
            raise self.refused(wrong, name, values[wrong])
        try:
            found = pl.Series(name, values, pl.String)
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
            wrong = next(i for i, v in enumerate(values) if v is not None and not _encodes(v))
            raise self.refused(wrong, name, ascii(values[wrong])) from None
        found = pl.select(pl.when(found != "").then(found).alias(name)).to_series()
        return self._kept(found, (~found.str.contains(pattern)).fill_null(needed), found)

    def date(self, printed: pl.Series) -> pl.Series:
        """Dates from ``2026-01-28``; raises ``QuantLakeError`` for what is none."""
        dates = pl.select(pl.when(printed.str.contains(DATE)).then(printed)).to_series().str.to_date("%Y-%m-%d", strict=False)
        return self._kept(dates.alias(printed.name), dates.is_null() & printed.is_not_null(), printed)

    def time(self, printed: pl.Series) -> pl.Series:
        """Times in UTC from ``2026-01-28T16:11:41-05:00``; raises ``QuantLakeError`` for what is none, or has no offset."""
        whole = pl.select(pl.when(printed.str.contains(TIME)).then(printed.str.replace("Z$", "+00:00"))).to_series()
        times = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
        return self._kept(times.alias(printed.name), times.is_null() & printed.is_not_null(), printed)

    def number(self, printed: pl.Series) -> pl.Series:
        """decimal(38,18) from text, exactly; what of 15 to 17 digits lies beyond the 18th place is rounded, since it is a float's text.

        Raises ``QuantLakeError`` for what is no number, or cannot be held so.
        """
        self._kept(printed, ~printed.str.contains(text.NUMBER).fill_null(True), printed)
        return text.exact(printed, self.where, first_line=self.first, floats=True, record=self.record).alias(printed.name)

    def refused(self, row: int, name: str, found: object) -> QuantLakeError:
        return QuantLakeError(f"{self.where} {self.record} {row + self.first}: {name} cannot be {str(found)[:SHOWN]!r}")

    def _kept(self, values: pl.Series, bad: pl.Series, printed: pl.Series) -> pl.Series:
        for row in bad.arg_true().head(1):
            raise self.refused(row, printed.name, printed[row])
        return values


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def tables(stream: Stream, rows: pl.DataFrame, document: EdgarDocument, source_name: str) -> Rows:
    """Rows in the document's order as one table of the stream, with source columns and what its ``fill`` completes."""
    assert stream.filler
    placed = stream.filler(rows.with_columns(
        source=pl.lit("sec"),
        source_name=pl.lit(source_name),
        source_version=pl.lit(sha256(document.content)),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        known_at=pl.lit(None, pl.Datetime("us", "UTC")),
        partition_date=pl.lit(None, pl.Date),
    ))  # fmt: skip
    yield stream, typed(stream, counted(placed))
