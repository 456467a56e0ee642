"""Commands that ask: sql, audit, status, fingerprint."""

import csv
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

import pyarrow as pa
import typer

from quantlake.cli import show
from quantlake.contract import Dataset, QuantLakeError, Stream
from quantlake.contract.wire import subject
from quantlake.wiring import Adapters, catalog, embedded_broker, platform

TABLE_ROWS = 1000


class Format(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    arrow = "arrow"


def sql(
    query: Annotated[str, typer.Argument(help="SQL in DuckDB's dialect over layer_family_name, ..._versions, rejected_..., deadletters.")],
    as_known_at: Annotated[str | None, typer.Option(help="Answer as known at this time (ISO 8601; UTC where it has no offset).")] = None,
    format: Annotated[Format, typer.Option(help="table, json (one array of objects), csv, or arrow (an IPC stream).")] = Format.table,
) -> None:
    """Ask the tables a question; the answer streams."""
    from quantlake.serving.query import QueryService

    reader = QueryService(catalog(), platform()).run(query, _moment(as_known_at))
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


def status(as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False) -> None:
    """Each asset: partitions, rows, last commit, last check result; servers reachable or not."""
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.status import statuses

    adapters = platform()
    servers = _servers(adapters)
    with open_instance(adapters.settings.dagster_home) as instance:
        found = statuses(catalog(), adapters, instance)
    if as_json:
        import json

        print(json.dumps(show.plain({"home": str(adapters.settings.root), "profile": adapters.settings.profile, "servers": servers, "assets": [vars(s) for s in found]})))  # fmt: skip
        return
    show.table(
        ["asset", "partitions", "rows", "first", "last", "last commit", "last checks"],
        ((s.asset, s.partitions, f"{s.rows:,}", s.first, s.last, show.plain(s.last_commit), s.last_check) for s in found),
        right=["partitions", "rows"],
    )
    for name, answer in servers.items():
        show.out.print(f"{name}: {answer}", highlight=False)
    show.out.print(f"home: {adapters.settings.root} ({adapters.settings.profile})", highlight=False)


def fingerprint(
    asset: Annotated[str, typer.Argument(help="layer/family/name")],
    partition: Annotated[str | None, typer.Option(help="One date; default all.")] = None,
) -> None:
    """A hash of the multiset of business columns, event_time and known_at, whatever the file layout."""
    from quantlake.contract.fingerprint import fingerprint as hashed
    from quantlake.orchestration.build import store_of

    dataset = catalog()[asset]
    dates = [_date(partition, dataset)] if partition else None
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


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise QuantLakeError(f"--as-known-at {text!r} is no time; write it as 2024-03-05T14:30:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _date(text: str, dataset: Dataset) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise QuantLakeError(f"{text!r} is no date; write it as 2024-03-05") from None
    if not dataset.start <= day <= datetime.now(UTC).date():
        raise QuantLakeError(f"{dataset.path} has no partition {text}: its dates are {dataset.start} to today")
    return day


def _servers(adapters: Adapters) -> dict[str, str]:
    """Which servers answer now; an unreachable one costs at most its client's time-out, 5 s for the broker."""
    graph = catalog()
    stream = graph.streams[0]
    probes: dict[str, Callable[[], object]] = {
        "broker": lambda: adapters.broker.partitions(stream.topic),
        "registry": lambda: adapters.registry.latest(subject(stream)),
        "lake": lambda: adapters.lake.exists(stream.spec),
        "clickhouse": lambda: adapters.olap.exists(stream.spec),
        "postgres": lambda: adapters.vectors.exists(stream.spec),
    }
    answers = {}
    for name, probe in probes.items():
        try:
            probe()
            answers[name] = "reachable"
        except QuantLakeError as error:
            answers[name] = f"not reachable: {error}"
    return answers
