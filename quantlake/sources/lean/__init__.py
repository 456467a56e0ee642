"""LEAN zips: ticks and bars of equities, forex, crypto and futures.

Here: recognising a zip and reading it. What its members are is layout.py's, their records ticks.py's and bars.py's, clocks and source
columns rows.py's. A zip has one member, of futures one a contract month. The last line of a member may have no newline.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.sources import text
from quantlake.sources.importers import Importer, Recognised, Rows, decoded, sha256, typed
from quantlake.sources.lean import bars, ticks
from quantlake.sources.lean.archive import content, head, is_zip, open_zip
from quantlake.sources.lean.layout import Kind, Member, completed, kind, member
from quantlake.sources.lean.rows import File


def recognise(path: Path) -> Recognised:
    """By a zip's members, its folders and first lines; raises ``QuantLakeError`` where the zip cannot be opened."""
    if not is_zip(path):
        return None
    found = _found(path)
    if isinstance(found, str):
        return found
    return Importer(found[0].name, read)


def read(path: Path) -> Rows:
    """The records of one zip in file order, typed as their stream, a table a member; ``source_records`` are the member's on that date.

    ``known_at`` is the event time of ticks and the end of bars. An empty member has no records. Of an hour that New York has twice
    (November) the first is taken, a time it skips (March) is an error; both fall on Sundays.
    Raises ``QuantLakeError`` naming file, member and line, before the first table.
    """
    found = _found(path)
    if isinstance(found, str):
        raise QuantLakeError(f"{path}: no importer for this format ({found})")
    yield from _tables(path, *found)


def _tables(path: Path, what: Kind, members: list[Member]) -> Iterator[tuple[Stream, pa.Table]]:
    tables = []
    with open_zip(path) as archive:
        for one in members:
            where = f"{path}: {one.name}"
            raw = content(archive, path, one.name)
            lines = text.lines(decoded(raw, where))
            stream, rows = (ticks if what.step == "tick" else bars).rows(lines, File(what, one, sha256(raw), where))
            tables.append((stream, typed(stream, rows)))
    yield from tables


def _found(path: Path) -> tuple[Kind, list[Member]] | str:
    """What a zip holds; or the name of a kind that has no importer.

    Raises ``QuantLakeError`` where one member is LEAN's and another is not, or is of another kind.
    """
    with open_zip(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        heads = {name: head(archive, path, name) for name in names if member(name)}
    found = {name: completed(parsed, path, heads[name]) for name in names if (parsed := member(name))}
    known = {name: kind(one, path, _longest(heads)) for name, one in found.items() if one}
    if not known:
        return "zip"
    first = next(iter(known))
    for name in names:
        if known.get(name) != known[first]:
            raise QuantLakeError(f"{path}: its member {first} is {_named(known[first])}, but {name} is {_named(known.get(name))}")
    what = known[first]
    return what if isinstance(what, str) else (what, [one for one in found.values() if one])


def _longest(heads: dict[str, list[str]]) -> list[str]:
    return max(heads.values(), key=len)


def _named(what: Kind | str | None) -> str:
    return what.name if isinstance(what, Kind) else what or "of no format of LEAN's"
