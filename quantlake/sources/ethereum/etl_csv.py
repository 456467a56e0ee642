"""Tables of ethereum-etl as CSV: header, records, and whether a file is cut.

Here: that a table is whole. Not here: what its columns are (etl.py).
"""

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from quantlake.contract import QuantLakeError
from quantlake.sources.ethereum.documents import Document


@dataclass(frozen=True)
class Table:
    """A header, the records, and the line on which each of these ends."""

    header: list[str]
    cells: list[list[str]]
    lines: list[int]


def is_csv(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".csv")


def table(document: Document) -> Table:
    """Raises ``QuantLakeError`` naming the line: no CSV, another number of columns than the header's, a file that is cut."""
    csv.field_size_limit(sys.maxsize)  # a transaction's input may be longer than the default of 128 KiB
    reader = csv.reader(io.StringIO(document.text, newline=""), strict=True)
    found = Table([], [], [])
    try:
        found.header.extend(next(reader, []))
        for row in reader:
            if row and len(row) != len(found.header):
                raise QuantLakeError(f"{document.path} line {reader.line_num} has {len(row)} columns, not {len(found.header)}; a cut file? Fetch it again")
            if row:
                found.cells.append(row)
                found.lines.append(reader.line_num)
    except csv.Error as error:
        raise QuantLakeError(f"{document.path} line {reader.line_num} is not CSV ({error}); a cut file? Fetch it again") from None
    if found.cells and not document.text.endswith(("\n", "\r", '"')) and not _is_whole(found.header[-1], dict(zip(found.header, found.cells[-1], strict=True))):
        raise QuantLakeError(f"{document.path} line {reader.line_num} is cut: its last line has no end, so {found.cells[-1][-1]!r} may go on; fetch it again")
    return found


def _is_whole(last: str, record: dict[str, str]) -> bool:
    """Whether no more can follow: nothing does a 0, and no withdrawals a block without their root. Editors take the end of the last line away."""
    return record[last] == "0" or (last == "withdrawals" and not record[last] and not record.get("withdrawals_root"))
