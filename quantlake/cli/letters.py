"""The command that looks at dead letters and redrives them."""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

import typer

from quantlake.cli import show
from quantlake.cli.asking import streams_of
from quantlake.contract import Stream
from quantlake.contract.catalog import Catalog
from quantlake.wiring import Adapters, catalog, platform

SHOWN = 50
LISTED = (
    '_topic AS topic, _partition AS "partition", _offset AS "offset", _timestamp AS "time", _error_class AS error_class, _error AS error, '
    "octet_length(_value) AS size_bytes, partition_date, _log AS log"
)
COLUMNS = ("topic", "partition", "offset", "time", "error_class", "error", "size_bytes")


def deadletters(
    topic: Annotated[str | None, typer.Option(help="Of one topic; default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects: every dead letter, or each topic's redrive.")] = False,
    redrive: Annotated[bool, typer.Option("--redrive", help="Decode them again; those that can be become rows of their own dates.")] = False,
) -> None:
    """List messages that could not be decoded; --redrive decodes them again after a fix. The SQL view deadletters has their bytes."""
    graph, adapters = catalog(), platform()
    streams = streams_of(graph, () if topic is None else (topic,))
    if redrive:
        _redrive(adapters, streams, as_json=as_json)
        return
    where = f"FROM deadletters WHERE _topic IN ({', '.join(_quoted(s.topic) for s in streams)})"
    if as_json:
        show.json_array(_ask(graph, adapters, f"SELECT {LISTED} {where} ORDER BY _topic, _log, _partition, _offset"))
        return
    grouped = list(_ask(graph, adapters, f"SELECT _topic AS topic, _error_class AS error_class, count(*) AS n {where} GROUP BY ALL ORDER BY ALL"))
    if not grouped:
        show.out.print("no dead letters", highlight=False)
        return
    show.table(["topic", "error class", "dead letters"], ((g["topic"], g["error_class"], g["n"]) for g in grouped), right=["dead letters"])
    newest = _ask(graph, adapters, f"SELECT {LISTED} {where} ORDER BY _timestamp DESC, _topic, _partition, _offset DESC LIMIT {SHOWN}")
    show.table([c.replace("_", " ") for c in COLUMNS], ([show.plain(r[c]) for c in COLUMNS] for r in newest), right=["partition", "offset", "size bytes"])
    more = sum(g["n"] for g in grouped) - SHOWN
    if more > 0:
        show.out.print(f"the newest {SHOWN}; {more:,} more: --json gives all", highlight=False)


def _redrive(adapters: Adapters, streams: list[Stream], *, as_json: bool) -> None:
    from quantlake.landing.redrive import redrive
    from quantlake.orchestration.assets import report_partitions
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.landed import landed_outcomes

    with open_instance(adapters.settings.dagster_home) as instance:

        def report(stream: Stream, dates: frozenset[date]) -> None:
            report_partitions(instance, stream, landed_outcomes(stream, sorted(dates), adapters), "a redrive")

        done = [(s, redrive(s, registry=adapters.registry, lake=adapters.lake, report=report)) for s in streams]
    done = [(s, r) for s, r in done if r.rows or r.still_dead]
    if as_json:
        show.json_array(
            {"topic": s.topic, "rows": r.rows, "still_dead": r.still_dead, "dates": sorted(r.dates), "outside": sorted(r.outside)} for s, r in done
        )
        return
    if not done:
        show.out.print("no dead letters", highlight=False)
    for stream, found in done:
        dates = ", ".join(map(str, sorted(found.dates))) or "none"
        show.out.print(f"{stream.topic}: {found.rows:,} came as rows, {found.still_dead:,} remain dead; dates touched: {dates}", highlight=False)
        if found.outside:
            outside = ", ".join(map(str, sorted(found.outside)))
            show.err.print(f"{stream.topic}: no partition has the dates {outside}", highlight=False)
    if any(r.dates for _, r in done):
        show.out.print("`quantlake refresh` builds what they change", highlight=False)


def _ask(graph: Catalog, adapters: Adapters, sql: str) -> Iterator[dict[str, Any]]:
    from quantlake.serving.query import QueryService

    for batch in QueryService(graph, adapters).run(sql):
        yield from batch.to_pylist()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
