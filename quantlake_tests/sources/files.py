"""Small made files of the formats that importers know, and what an importer reads of a file."""

import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa

from quantlake.contract import Document, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.sources.importers import Read

EQUITY = "14430270,1815200,283,P,20002020,0\n14450472,1818000.5,500,P,,1"
CRYPTO = "0,611.78,0.00000001\n86399999,611.9,1.5"
ITEM = {"title": "A", "link": "https://www.nasdaq.com/a", "guid": "g", "pubDate": "Wed, 05 Aug 2020 20:47:04 -0400"}


def zipped(path: Path, member: str, content: str | bytes) -> Path:
    """A zip of one member at ``path``."""
    return zipped_all(path, {member: content})


def zipped_all(path: Path, members: dict[str, str] | dict[str, bytes] | dict[str, str | bytes]) -> Path:
    """A zip of these members at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


def table(stream: Stream, rows: Read) -> pa.Table:
    """A file's rows of this stream; all have their streams' types, and the documents they name came before them."""
    parts, kept = [], set()
    for part in rows:
        if isinstance(part, Document):
            kept.add(part.uri)
        else:
            parts.append(part)
            assert kept >= set(part[1].column("object_uri").drop_null().to_pylist() if "object_uri" in part[1].column_names else ())
    assert all(part.schema == wire_arrow(s) for s, part in parts)
    return pa.concat_tables([part for s, part in parts if s is stream])


def frame(stream: Stream, rows: Read) -> pl.DataFrame:
    return pl.DataFrame(table(stream, rows))


def lines_of(path: Path) -> list[list[str]]:
    """The cells of every record of a zip's members, one after the other."""
    with zipfile.ZipFile(path) as archive:
        return [line.split(",") for name in archive.namelist() for line in archive.read(name).decode().splitlines()]


def require_counted(rows: pl.DataFrame) -> None:
    """``source_records`` is what it says, and no row is without its place."""
    assert rows.filter(pl.col("source_records") != pl.len().over("source_name", "partition_date")).is_empty()
    assert not rows.select("source_name", "line_number", "item_index").is_duplicated().any()
    assert rows["source_version"].str.contains("^[0-9a-f]{64}$").all()
