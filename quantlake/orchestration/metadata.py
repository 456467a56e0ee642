"""What a contract and its rows look like in the Dagster UI."""

import dagster as dg
import pyarrow as pa

from quantlake.contract import Dataset

PREVIEW_WIDTH = 40


def column_schema(dataset: Dataset) -> dg.TableSchema:
    """The contract's columns with their meaning and constraints."""
    columns = []
    for column in dataset.stored_columns:
        limits = [f"one of {', '.join(column.allowed)}"] if column.allowed else []
        limits += [f">= {column.minimum:g}"] if column.minimum is not None else []
        limits += [f"> {column.above:g}"] if column.above is not None else []
        constraints = dg.TableColumnConstraints(nullable=column.null, unique=dataset.key == (column.name,), other=limits)
        columns.append(dg.TableColumn(column.name, column.type.name, column.doc, constraints))
    return dg.TableSchema(columns=columns)


def preview(rows: pa.Table) -> str:
    """The first rows as a Markdown table, long values cut."""
    lines = [f"| {' | '.join(rows.column_names)} |", "|" + "---|" * rows.num_columns]
    for row in rows.to_pylist():
        cells = (str(v).replace("|", "\\|").replace("\n", " ") for v in row.values())
        lines.append(f"| {' | '.join(c if len(c) <= PREVIEW_WIDTH else c[: PREVIEW_WIDTH - 1] + '…' for c in cells)} |")
    return "\n".join(lines)
