"""Recorded files to streams: which files there are, which importer knows each, and one file's rows after the other.

Here: walking, recognising, order. Not here: formats (an importer's module each), encoding and sending (publish.py).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.sources import lean, rss
from quantlake.sources.importers import Importer, Recognised

FORMATS: tuple[Callable[[Path], Recognised], ...] = (lean.recognise, rss.recognise)
KNOWN = "LEAN tick trade zips and RSS items as JSON"
NO_DATA = ("readme", "license", "licence", "notice", "source.txt", "thumbs.db")

Send = Callable[[Stream, pa.Table], int]
Progress = Callable[[Path, int], None]


@dataclass(frozen=True)
class Plan:
    """What a replay will do: files in order with their importers; and, by kind, those no importer knows."""

    files: tuple[tuple[Path, Importer], ...]
    no_format: Mapping[str, tuple[Path, ...]]


def recognise(path: Path) -> Importer | None:
    """The importer of a file, by path and content; None: no format. Raises ``QuantLakeError``: a zip that cannot be opened."""
    found = _recognised(path)
    return found if isinstance(found, Importer) else None


def plan(paths: Sequence[Path]) -> Plan:
    """Recognise files, and all files below folders, each folder in sorted order; nothing is read yet but heads.

    Raises ``QuantLakeError`` where a path is missing, a named file has no known format, or a zip cannot be opened.
    """
    files: list[tuple[Path, Importer]] = []
    no_format: dict[str, list[Path]] = defaultdict(list)
    for path in _walk(paths):
        found = _recognised(path)
        if isinstance(found, Importer):
            files.append((path, found))
        elif path in paths:
            raise QuantLakeError(f"{path}: no importer for this format ({found or _kind(path)}); there are those for {KNOWN}")
        else:
            no_format[found or _kind(path)].append(path)
    return Plan(tuple(files), {kind: tuple(no_format[kind]) for kind in sorted(no_format)})


def replay(planned: Plan, send: Send, progress: Progress | None = None) -> dict[Stream, int]:
    """Read and send a file at a time; how many records each stream got. ``progress`` hears of every file that was sent.

    Memory is bounded by the largest file. Raises ``QuantLakeError`` at the first bad file, of which nothing was sent.
    """
    sent: dict[Stream, int] = defaultdict(int)
    for path, importer in planned.files:
        records = send(importer.stream, importer.read(path))
        sent[importer.stream] += records
        if progress:
            progress(path, records)
    return dict(sent)


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


def _recognised(path: Path) -> Recognised:
    try:
        return next((found for find in FORMATS if (found := find(path)) is not None), None)
    except OSError as error:
        raise QuantLakeError(f"{path} cannot be read: {error.strerror}") from error


def _kind(path: Path) -> str:
    return f"{path.suffix.lower()} file" if path.suffix else "file without a suffix"
