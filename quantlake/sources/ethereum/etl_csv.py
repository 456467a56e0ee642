"""Tables of ethereum-etl as CSV: header and records.

Here: reading a table. Not here: what its columns are (etl.py). A last line without an end is taken as it is: editors leave it out, and a
number that is cut cannot be told from one that is not.
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
    """Raises ``QuantLakeError`` naming the line: no CSV, or another number of columns than the header's."""
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
    return found
