"""Recorded files to streams: which files there are, which importer knows each, and one file's rows after the other.

Here: walking, recognising, order. Not here: formats (an importer's module each), encoding and sending (publish.py).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from quantlake.contract import Document, QuantLakeError, Stream
from quantlake.sources import (
    calendars,
    captures,
    csv_bars,
    databento,
    databento_reference,
    ethereum,
    feeds,
    lean,
    rates,
    rss,
    sec,
    social,
)
from quantlake.sources.authors import Hashed, no_secret
from quantlake.sources.importers import Importer, Recognised, Rows
from quantlake.sources.lean import reference as lean_reference

FORMATS: tuple[Callable[[Path], Recognised], ...] = (
    lean.recognise,
    lean_reference.recognise,
    databento.recognise,
    databento_reference.recognise,
    sec.recognise,
    captures.recognise,
    calendars.recognise,
    rates.recognise,
    csv_bars.recognise,
    rss.recognise,
    feeds.recognise,
    ethereum.recognise,
)
"""Asked in this order; the first that knows a file's kind decides."""
KNOWN = (
    "LEAN zips and reference files, Databento DBN and reference data, exchange captures, calendars, CSV bars, interest rates, RSS and Atom, "
    "RSS items as JSON, SEC company facts, submissions, current filings (Atom) and form indexes, JSON-RPC responses of Ethereum, ethereum-etl's "
    "files, Parity traces, StockTwits messages, tweets"
)
SLICE_ROWS = 100_000  # sent between two words of progress
NO_DATA = ("readme", "license", "licence", "notice", "source.txt", "thumbs.db")

Send = Callable[[Stream, pa.Table], int]
Keep = Callable[[Document], None]
Progress = Callable[[Path, int, bool], None]
"""Hears of a file how many of its rows were sent so far, and whether these are all."""


@dataclass(frozen=True)
class Plan:
    """What a replay will do: files in order with their importers; and, by kind, those no importer knows."""

    files: tuple[tuple[Path, Importer], ...]
    no_format: Mapping[str, tuple[Path, ...]]


def recognise(path: Path, hashed: Hashed = no_secret) -> Importer | None:
    """The importer of a file, by path and content; None: no format. Raises ``QuantLakeError``: a zip that cannot be opened."""
    found = _recognised(path, hashed)
    return found if isinstance(found, Importer) else None


def plan(paths: Sequence[Path], hashed: Hashed = no_secret) -> Plan:
    """Recognise files, and all files below folders, each folder in sorted order; nothing is read yet but heads.

    ``hashed`` is what is kept of authors of social messages; without it, these cannot be read.

    Raises ``QuantLakeError`` where a path is missing, a named file has no known format, or a zip cannot be opened.
    """
    files: list[tuple[Path, Importer]] = []
    no_format: dict[str, list[Path]] = defaultdict(list)
    for path in _walk(paths):
        found = _recognised(path, hashed)
        if isinstance(found, Importer):
            files.append((path, found))
        elif path in paths:
            raise QuantLakeError(f"{path}: no importer for this format ({found or _kind(path)}); there are those for {KNOWN}")
        else:
            no_format[found or _kind(path)].append(path)
    return Plan(tuple(files), {kind: tuple(no_format[kind]) for kind in sorted(no_format)})


def replay(planned: Plan, send: Send, keep: Keep, progress: Progress | None = None) -> dict[Stream, int]:
    """Read and send a file at a time, its documents kept before the rows that name them; how many records each stream got.

    Memory is bounded by the largest file. Sending a file again is harmless, since its rows carry the version of its content.
    Raises ``QuantLakeError`` at the first bad file, of which nothing was sent: importers check a file before its first table.
    """
    sent: dict[Stream, int] = defaultdict(int)
    for path, importer in planned.files:
        rows = 0
        for stream, part in _parts(importer, path, keep):
            records = send(stream, part)
            sent[stream] += records
            rows += records
            if progress:
                progress(path, rows, False)
        if progress:
            progress(path, rows, True)
    return dict(sent)


def _parts(importer: Importer, path: Path, keep: Keep) -> Rows:
    """Tables of at most ``SLICE_ROWS`` rows; empty ones are left out."""
    for found in importer.read(path):
        if isinstance(found, Document):
            keep(found)
            continue
        stream, table = found
        for start in range(0, table.num_rows, SLICE_ROWS):
            yield stream, table.slice(start, SLICE_ROWS)


def _walk(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (p for p in sorted(path.rglob("*")) if p.is_file() and _may_be_data(p.relative_to(path)))
        elif path.is_file():
            yield path
        else:
            raise QuantLakeError(f"{path}: no such file or folder")


def _may_be_data(path: Path) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return not hidden and not path.name.lower().startswith(NO_DATA)


def _recognised(path: Path, hashed: Hashed) -> Recognised:
    finds: tuple[Callable[[Path], Recognised], ...] = (*FORMATS, partial(social.recognise, hashed=hashed))
    try:
        return next((found for find in finds if (found := find(path)) is not None), None)
    except OSError as error:
        raise QuantLakeError(f"{path} cannot be read: {error.strerror}") from error


def _kind(path: Path) -> str:
    return f"{path.suffix.lower()} file" if path.suffix else "file without a suffix"
