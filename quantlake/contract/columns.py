"""Columns and tables as stores see them."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from quantlake.contract.types import Date, Integer, Text, Type

StoragePartition = Literal["day", "month", "year"]


@dataclass(frozen=True)
class Column:
    """One column: its meaning, its unit and its limits stand together.

    ``minimum`` is inclusive, ``above`` exclusive; ``allowed`` lists the legal values of a text column.
    ``provenance`` marks where a row came from (file, line): two versions of a key that differ only there are the same.
    """

    name: str
    type: Type
    doc: str
    null: bool = False
    allowed: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    provenance: bool = False


@dataclass(frozen=True)
class TableSpec:
    """What a store needs to know of one table: its place (``layer``, ``family``, ``name``), its columns, its layout.

    ``key`` orders and identifies rows where a store wants to know (ClickHouse ORDER BY, PostgreSQL indexes).
    """

    layer: str
    family: str
    name: str
    columns: tuple[Column, ...]
    storage_partition: StoragePartition = "day"
    key: tuple[str, ...] = ()
    doc: str = ""

    @property
    def sql_name(self) -> str:
        """The name by which SQL knows the table: ``layer_family_name``."""
        return f"{self.layer}_{self.family}_{self.name}"

    @property
    def arrow(self) -> pa.Schema:
        """The table's Arrow schema, every field nullable as its column says."""
        return pa.schema([pa.field(c.name, c.type.arrow, nullable=c.null) for c in self.columns])


PARTITION_DATE = Column("partition_date", Date, "The daily partition, by the source's own rule.")

SOURCE_COLUMNS = (
    Column("source_name", Text, "The source's own name for the file or feed, never a folder on disk.", provenance=True),
    Column("source_version", Text, "sha256 of the file's uncompressed content; null for feeds.", null=True, provenance=True),
    Column("source_records", Integer, "Records that version has for this partition_date.", null=True, provenance=True),
    Column("line_number", Integer, "Record number in the file, from 1.", null=True, provenance=True),
)
