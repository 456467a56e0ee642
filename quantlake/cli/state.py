"""Commands that say how things stand: status, why."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from quantlake.cli import show
from quantlake.cli.asking import partition_of
from quantlake.contract import QuantLakeError
from quantlake.ports import UnknownSchemaError
from quantlake.wiring import Adapters, catalog, platform


def status(as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False) -> None:
    """Each asset: partitions, rows, what is missing or stale, lag to the broker, last commit, checks, failure; servers reachable or not."""
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.status import statuses

    adapters = platform()
    servers = _servers(adapters)
    with open_instance(adapters.settings.dagster_home) as instance:
        found = statuses(catalog(), adapters, instance, broker=servers["broker"] == "reachable")
    if as_json:
        print(json.dumps(show.plain({"home": str(adapters.settings.root), "profile": adapters.settings.profile, "servers": servers, "assets": [vars(s) for s in found]})))  # fmt: skip
        return
    show.table(
        ["asset", "dates", "rows", "newest", "missing", "stale", "lag", "last commit", "last checks"],
        (
            (s.asset, s.partitions, f"{s.rows:,}", s.last, s.missing, s.stale, s.lag, show.plain(s.last_commit), s.last_check)
            for s in found
        ),
        right=["dates", "rows", "missing", "stale", "lag"],
    )
    for s in found:
        if s.last_failure:
            show.out.print(f"{s.asset} failed on {s.last_failure}", highlight=False, markup=False)
    for name, answer in servers.items():
        show.out.print(f"{name}: {answer}", highlight=False)
    show.out.print(f"home: {adapters.settings.root} ({adapters.settings.profile})", highlight=False)


def why(
    asset: Annotated[str, typer.Argument(help="layer/family/name")],
    partition: Annotated[str | None, typer.Option(help="One date; default the newest that there is.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects, streams first.")] = False,
) -> None:
    """Explain a partition: built when, by whom, from which raw offsets and inputs, and what is newer now."""
    from quantlake.orchestration.build import store_of
    from quantlake.orchestration.instance import open_instance
    from quantlake.orchestration.why import why as explained

    adapters, graph = platform(), catalog()
    dataset = graph[asset]
    if partition:
        day = partition_of(partition, dataset)
    else:
        days = store_of(dataset, adapters).counts(dataset.spec) or {d: 1 for root in graph.roots(dataset) for d in adapters.lake.counts(root.spec)}
        if not days:
            raise QuantLakeError(f"{asset} has no partition, and nothing has landed for it")
        day = max(days)
    with open_instance(adapters.settings.dagster_home) as instance:
        found = explained(dataset, day, graph, adapters, instance)
    if as_json:
        show.json_array(
            vars(w) | {"inputs": [vars(i) | {"newer": i.newer} for i in w.inputs], "rejected": vars(w.rejected) if w.rejected else None}
            for w in found
        )
        return
    for w in reversed(found):
        show.out.print(f"[bold]{w.asset}[/bold] {w.partition}: {w.state}", highlight=False)
        for line in _lines(vars(w)):
            show.out.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _short(version: str) -> str:
    """A data version as a person compares it: its rows and the end of its hash."""
    return f"{version.partition('-')[0]}-{version[-10:]}"


def _lines(w: dict[str, Any]) -> list[str]:
    lines = []
    if w["built_at"]:
        changed = "its content changed" if w["content_changed"] else "its content was there already"
        lines.append(f"built {show.plain(w['built_at'])}, requested by {w['requested_by']}" + (f", run {w['run_id']}" if w["run_id"] else ""))
        what = f"data version {_short(w['data_version'])}" + (f", snapshot {w['snapshot_id']}" if w["snapshot_id"] else "")
        lines.append(f"{w['rows']:,} rows, {what}" + (f"; {changed}" if w["inputs"] else ""))
    for i in w["inputs"]:
        now = "unchanged since" if not i.newer else f"is {_short(i.now)} now" if i.now else "has nothing now"
        lines.append(f"from {i.asset} at {_short(i.used)}" + (f", snapshot {i.snapshot_id}" if i.snapshot_id else "") + f": {now}")
    for title, spans in (("raw", w["raw_offsets"]), ("landed since: raw", w["landed_since"])):
        lines += [f"{title} offsets {s['first']}-{s['last']} ({s['records']:,} records) of partition {s['partition']}, log {s['log']}" for s in spans]
    if failed := w["rejected"]:
        lines.append(f"REJECTED {show.plain(failed.at)} in run {failed.run_id}: {failed.check}: {failed.reason}")
    return lines


def _servers(adapters: Adapters) -> dict[str, str]:
    """Which servers answer now; an unreachable one costs at most its client's time-out, 5 s for the broker."""
    graph = catalog()
    stream = graph.streams[0]
    probes: dict[str, Callable[[], object]] = {
        "broker": lambda: adapters.broker.partitions(stream.topic),
        "registry": lambda: adapters.registry.schema(0),  # which there is in none
        "lake": lambda: adapters.lake.exists(stream.spec),
        "clickhouse": lambda: adapters.olap.exists(stream.spec),
        "postgres": lambda: adapters.vectors.exists(stream.spec),
    }
    answers = {}
    for name, probe in probes.items():
        try:
            probe()
            answers[name] = "reachable"
        except UnknownSchemaError:
            answers[name] = "reachable"
        except QuantLakeError as error:
            answers[name] = f"not reachable: {error}"
    return answers
