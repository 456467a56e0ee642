"""Commands that ask: sql, audit, fingerprint."""

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

import pyarrow as pa
import typer

from quantlake.cli import show
from quantlake.contract import Dataset, QuantLakeError, Stream
from quantlake.wiring import catalog, embedded_broker, platform

TABLE_ROWS = 1000


class Format(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    arrow = "arrow"


def sql(
    query: Annotated[str, typer.Argument(help="SQL in DuckDB's dialect over layer_family_name, ..._versions, rejected_..., deadletters.")],
    as_known_at: Annotated[str | None, typer.Option(help="Answer as known at this time (ISO 8601; UTC where it has no offset); not embeddings.")] = None,
    format: Annotated[Format, typer.Option(help="table, json (one array of objects), csv, or arrow (an IPC stream).")] = Format.table,
) -> None:
    """Ask the tables a question; the answer streams."""
    from quantlake.serving.as_known import moment
    from quantlake.serving.query import QueryService

    reader = QueryService(catalog(), platform()).run(query, None if as_known_at is None else moment(as_known_at))
    if format is Format.arrow:
        with pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
    elif format is Format.json:
        show.json_array(_rows(reader))
    elif format is Format.csv:
        writer_ = csv.writer(sys.stdout)
        writer_.writerow(reader.schema.names)
        for row in _rows(reader):
            writer_.writerow(["" if v is None else show.plain(v) for v in row.values()])
    else:
        rows: list[list[Any]] = []
        cut = False
        for row in _rows(reader):
            if len(rows) == TABLE_ROWS:
                cut = True
                break
            rows.append([show.plain(v) for v in row.values()])
        show.table(reader.schema.names, rows)
        if cut:
            show.err.print(f"the first {TABLE_ROWS} rows; --format csv, json or arrow gives all", highlight=False)


def audit(as_json: Annotated[bool, typer.Option("--json", help="One array of objects.")] = False) -> None:
    """Offsets on the broker against rows and dead letters, per log, topic and partition; exit 1 on any gap or duplicate."""
    from quantlake.landing.audit import audit as audited

    adapters = platform()
    try:
        if adapters.embedded:
            embedded_broker(adapters.settings)
        broker = adapters.broker
    except QuantLakeError:
        broker = None
    found = [row for stream in catalog().streams for row in audited(stream, lake=adapters.lake, broker=broker)]
    if as_json:
        show.json_array(vars(row) | {"clean": row.clean} for row in found)
    else:
        names = ["topic", "partition", "status", "offsets", "rows", "dead letters", "duplicates", "gaps", "pending"]
        for log in dict.fromkeys((r.topic, r.log) for r in found):
            rows = [r for r in found if (r.topic, r.log) == log]
            show.table(
                names,
                ((r.topic, r.partition, r.status, f"[{r.first}, {r.end})", r.rows, r.dead_letters, r.duplicates, r.gaps, r.pending) for r in rows),
                right=names[4:], title=f"log {log[1]}",
            )
        for reason in sorted({f"{r.topic}: {r.log}: {r.reason}" for r in found if r.reason}):
            show.out.print(reason, highlight=False)
        show.out.print("clean" if all(r.clean for r in found) else "NOT clean", highlight=False)
    if not all(row.clean for row in found):
        raise typer.Exit(1)


def fingerprint(
    asset: Annotated[str, typer.Argument(help="layer/family/name")],
    partition: Annotated[str | None, typer.Option(help="One date; default all.")] = None,
) -> None:
    """A hash of the multiset of business columns, event_time and known_at, whatever the file layout."""
    from quantlake.contract.fingerprint import fingerprint as hashed
    from quantlake.orchestration.build import store_of

    dataset = catalog()[asset]
    dates = [partition_of(partition, dataset)] if partition else None
    names = [c.name for c in dataset.fingerprint_columns]
    if isinstance(dataset, Stream):
        names += ["_error_class"]
    rows = store_of(dataset, platform()).read(dataset.spec, dates, names)
    if isinstance(dataset, Stream):
        rows = rows.filter(pa.compute.is_null(rows["_error_class"]))
    if partition and not rows.num_rows:
        raise QuantLakeError(f"{asset} has no rows of {partition}; `quantlake status` lists what there is")
    print(hashed(rows, dataset.fingerprint_columns).hash)


def _rows(reader: pa.RecordBatchReader) -> Iterator[dict[str, Any]]:
    names: list[str] = []
    for name in reader.schema.names:  # `select a, a` has two columns of one name
        names.append(name if name not in names else f"{name}_{len(names)}")
    for batch in reader:
        yield from batch.rename_columns(names).to_pylist()


def partition_of(text: str, dataset: Dataset) -> date:
    """The partition that a person means. Raises ``QuantLakeError`` where the dataset has none of that date."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise QuantLakeError(f"{text!r} is no date; write it as 2024-03-05") from None
    if not dataset.start <= day <= datetime.now(UTC).date():
        raise QuantLakeError(f"{dataset.path} has no partition {text}: its dates are {dataset.start} to today")
    return day
