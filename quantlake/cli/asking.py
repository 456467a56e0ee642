"""Commands that ask: sql, audit, fingerprint, object."""

import csv
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer

from quantlake.cli import show
from quantlake.contract import Dataset, QuantLakeError, Stream
from quantlake.contract.catalog import Catalog
from quantlake.contract.fingerprint import EMPTY, Fingerprint, fingerprints
from quantlake.wiring import Adapters, catalog, embedded_broker, platform

if TYPE_CHECKING:
    from quantlake.landing.audit import Audited

TABLE_ROWS = 1000
PLAIN: dict[str, Any] = {"highlight": False, "markup": False}


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


def audit(
    topic: Annotated[list[str] | None, typer.Option(help="Of this topic; may be repeated. Default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects, one a log, topic and partition.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode what is still on the broker again, and compare it with the rows.")] = False,
) -> None:
    """Every offset against rows and dead letters, per log, topic and partition; exit 1 on anything missing, repeated, wrong or unknown."""
    from quantlake.landing.audit import audit as audited
    from quantlake.landing.deep import deep as compared

    adapters = platform()
    try:
        if adapters.embedded:
            embedded_broker(adapters.settings)
        broker = adapters.broker
    except QuantLakeError:
        broker = None
    found: list[Audited] = []
    with show.progress() as bar:
        for stream in streams_of(catalog(), topic or ()):
            task = bar.add_task(stream.topic, total=None)
            parts = audited(stream, lake=adapters.lake, broker=broker, progress=partial(bar.advance, task))
            if deep:
                bar.update(task, description=f"{stream.topic}, deep")
                parts = compared(
                    stream, parts, lake=adapters.lake, broker=broker, registry=adapters.registry, progress=partial(bar.advance, task)
                )
            found += parts
            bar.remove_task(task)
    if as_json:
        show.json_array(part.figures() for part in found)
    else:
        _tell(found)
    if not all(part.clean for part in found):
        raise typer.Exit(1)


def _tell(found: "Sequence[Audited]") -> None:
    from quantlake.landing.audit import shown

    names = ["partition", "status", "offsets", "ranges", "rows", "dead letters", "skipped", "duplicates", "gaps", "pending"]
    names += ["compared", "not compared", "mismatches"] if any(part.content for part in found) else []
    for log in dict.fromkeys((part.topic, part.log) for part in found):
        rows = []
        for part in (part for part in found if (part.topic, part.log) == log):
            told = part.figures() | {"offsets": f"[{part.first}, {part.end})", "ranges": shown(part.ranges)}
            rows.append([told.get(name.replace(" ", "_")) for name in names])
        show.table(names, rows, right=names[4:], title=f"{log[0]}, log {log[1]}")
    for part in found:
        for loss in part.losses:
            span = f"from {loss.first} on" if loss.end is None else f"[{loss.first}, {loss.end})"
            show.out.print(f"{part.topic} partition {part.partition}: {loss.why} {span}, accepted {loss.accepted_at}, log {part.log}", **PLAIN)
    # a reason is the same for every partition of a log that nobody can reach
    reasons: dict[tuple[str, str], list[int]] = {}
    for part in found:
        if part.reason:
            reasons.setdefault((part.topic, part.reason), []).append(part.partition)
    for (topic, reason), partitions in reasons.items():
        show.out.print(f"{topic} partition {', '.join(map(str, partitions))}: {reason}", **PLAIN)
    for part in found:
        for mismatch in part.content.mismatched if part.content else ():
            where = f"{part.topic} partition {part.partition} offset {mismatch.offset}"
            show.out.print(f"{where}: the row differs from its record in {', '.join(mismatch.columns)}", **PLAIN)
    show.out.print("clean" if all(part.clean for part in found) else "NOT clean", highlight=False)


def object_(uri: Annotated[str, typer.Argument(help="A row's object_uri: objects/ab/ab...")]) -> None:
    """Write a document that a row names, as it was received, to standard output."""
    sys.stdout.buffer.write(platform().objects.get(uri))


def fingerprint(
    asset: Annotated[str | None, typer.Argument(help="layer/family/name; default every asset and partition, a line each.")] = None,
    partition: Annotated[str | None, typer.Option(help="One date; default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects, one an asset and partition.")] = False,
) -> None:
    """A hash of the multiset of business columns, event_time and known_at, whatever the file layout; null columns do not count."""
    graph, adapters = catalog(), platform()
    dates = None
    if asset is not None and partition is not None:
        dates = [partition_of(partition, graph[asset])]
    elif partition is not None:
        raise QuantLakeError("--partition is of one asset: name it before, as layer/family/name")
    found: list[tuple[str, date, Fingerprint]] = []
    with show.progress() as bar:
        for dataset in [graph[asset]] if asset else bar.track(graph.datasets, description="fingerprints"):
            found += [(dataset.path, day, f) for day, f in sorted(_fingerprints(dataset, adapters, dates).items())]
    if dates and not found:
        raise QuantLakeError(f"{asset} has no rows of {partition}; `quantlake status` lists what there is")
    if as_json:
        show.json_array({"asset": path, "partition": day, "rows": f.rows, "fingerprint": f.hash} for path, day, f in found)
    elif asset is None:
        show.table(["asset", "partition", "rows", "fingerprint"], ((p, d, f"{f.rows:,}", f.hash) for p, d, f in found), right=["rows"])
    else:
        print(sum((f for _, _, f in found), EMPTY).hash)


def _fingerprints(dataset: Dataset, adapters: Adapters, dates: Sequence[date] | None) -> dict[date, Fingerprint]:
    """Of each partition; of a raw table its rows without dead letters."""
    from quantlake.orchestration.build import store_of

    names = [c.name for c in dataset.fingerprint_columns]
    if isinstance(dataset, Stream):
        names += ["_error_class"]
    rows = store_of(dataset, adapters).read(dataset.spec, dates, names)
    if isinstance(dataset, Stream):
        rows = rows.filter(pa.compute.is_null(rows["_error_class"]))
    return fingerprints(rows, dataset.fingerprint_columns)


def _rows(reader: pa.RecordBatchReader) -> Iterator[dict[str, Any]]:
    names: list[str] = []
    for name in reader.schema.names:  # `select a, a` has two columns of one name
        names.append(name if name not in names else f"{name}_{len(names)}")
    for batch in reader:
        yield from batch.rename_columns(names).to_pylist()


def streams_of(graph: Catalog, topics: Collection[str] = ()) -> list[Stream]:
    """The streams of some topics, of none: all. Raises ``QuantLakeError`` where a topic is no stream's."""
    known = [s.topic for s in graph.streams]
    for topic in topics:
        if topic not in known:
            raise QuantLakeError(f"no stream has the topic {topic!r}; there are {', '.join(known)}")
    return [s for s in graph.streams if not topics or s.topic in topics]


def partition_of(text: str, dataset: Dataset) -> date:
    """The partition that a person means. Raises ``QuantLakeError`` where the dataset has none of that date."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise QuantLakeError(f"{text!r} is no date; write it as 2024-03-05") from None
    if not dataset.start <= day <= datetime.now(UTC).date():
        raise QuantLakeError(f"{dataset.path} has no partition {text}: its dates are {dataset.start} to today")
    return day
