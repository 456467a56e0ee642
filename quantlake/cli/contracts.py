"""Commands about contracts: check, show, diff, register."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from quantlake.cli import show
from quantlake.cli.embedded import register_contracts
from quantlake.contract import Column, Dataset, QuantLakeError, Stream
from quantlake.contract.catalog import Catalog
from quantlake.contract.history import Change, File, Version, files, refusal
from quantlake.contract.wire import subject, wire_schema
from quantlake.wiring import catalog, platform, uncontrolled_catalog

DATASET = Annotated[str, typer.Argument(help="layer/family/name, or family/name for all that its file defines.")]


def check(
    record: Annotated[bool, typer.Option("--record", help="Write compatible changes into the history files, to be committed with them.")] = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Also refuse what is not recorded yet: for CI.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects, one a change.")] = False,
) -> None:
    """Each dataset file against its recorded history: exit 1 where a change is refused, naming field and rule."""
    found = files(uncontrolled_catalog())
    refused = [c for file in found for c in file.refused]
    rows = []
    for file in found:
        state = f"{len(file.refused)} REFUSED" if file.refused else "compatible, not recorded" if file.changes else "unchanged"
        state = state if file.versions else "not recorded yet"
        if record and not refused and state not in ("unchanged",):
            state = f"recorded as version {file.record().number}"
        rows.append((_name(file), f"{len(file.versions) or ''}", len(file.changes), state))
    if as_json:
        show.json_array(vars(c) | {"compatible": not c.rule} for file in found for c in file.changes)
    else:
        show.table(["file", "version", "changes", ""], rows, right=["version", "changes"])
        _tell([c for file in found for c in file.changes])
        if not record and any(not file.versions or file.changes for file in found) and not refused:
            show.err.print("`quantlake contract check --record` writes what is new into the history", highlight=False)
    if refused:
        raise refusal(refused)
    if recorded and not record:
        _require_recorded([file for file in found if file.changes or not file.versions])


def _require_recorded(files: Sequence[File]) -> None:
    if files:
        raise QuantLakeError(f"{', '.join(map(_name, files))}: not recorded; run `quantlake contract check --record` and commit what it writes")


def shown(
    dataset: DATASET,
    schema: Annotated[bool, typer.Option("--schema", help="Only the stream's message schema, as it is registered.")] = False,
) -> None:
    """What a contract says: columns, types, limits, and of a stream its topic, subject and message schema."""
    found = _datasets(uncontrolled_catalog(), dataset)
    streams = [d for d in found if isinstance(d, Stream)]
    if schema:
        if not streams:
            raise QuantLakeError(f"{dataset} is no stream: it has no message schema")
        for stream in streams:
            text = wire_schema(stream).text
            print(json.dumps(json.loads(text), indent=2) if stream.wire == "avro" else text)
        return
    for d in found:
        rows = ((c.name, c.type.name, "null" if c.null else "", "key" if c.name in d.key else "", _limits(c), c.doc) for c in d.columns)
        show.table(["column", "type", "", "", "allowed", "meaning"], rows, title=f"{d.path} ({d.kind}, {d.owner}): {d.doc}")
        if isinstance(d, Stream):
            told = f"topic {d.topic}, {d.topic_partitions} partitions, key {d.message_key}; subject {subject(d)}, {wire_schema(d).kind}"
            show.out.print(told, highlight=False)
        if d.inputs:
            show.out.print(f"built from {', '.join(i.path for i in d.inputs)}", highlight=False)


def diff(
    dataset: DATASET,
    version: Annotated[int | None, typer.Option(min=1, help="A recorded version; default the newest.")] = None,
    registry: Annotated[bool, typer.Option("--registry", help="Also compare the stream's schema with the registry's newest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects, one a change.")] = False,
) -> None:
    """What a contract changes against its recorded history, each change with its rule; exit 1 where one is refused."""
    graph = uncontrolled_catalog()
    paths = {d.path for d in _datasets(graph, dataset)}
    (file,) = [f for f in files(graph) if paths & f.now.keys()]
    changes = [c for c in file.since(_version(file, version)) if c.dataset in paths] if file.versions else []
    if as_json:
        show.json_array(vars(c) | {"compatible": not c.rule} for c in changes)
    else:
        if not file.versions:
            show.out.print(f"{_name(file)} has no recorded history yet; `quantlake contract check --record` begins it", highlight=False)
        elif not changes:
            show.out.print(f"unchanged since version {_version(file, version).number}", highlight=False)
        _tell(changes)
        for stream in [d for d in _datasets(graph, dataset) if isinstance(d, Stream) and registry]:
            id_, newest = platform().registry.latest(subject(stream))
            same = "is the contract's" if newest.same(wire_schema(stream)) else "is NOT the contract's; run `quantlake contract register`"
            show.out.print(f"{subject(stream)}: schema {id_}, the newest, {same}", highlight=False)
    if refused := [c for c in changes if c.rule]:
        raise refusal(refused)


def register() -> None:
    """Evolve the tables, create the topics and register the subjects of every contract; nothing else ever does.

    Landers that run (`quantlake up`, `quantlake land --follow`) know contracts as they were at their start: restart them before this, or
    messages of a new schema are dead letters until `quantlake deadletters --redrive`.
    """
    graph, adapters = catalog(), platform()
    _require_recorded([file for file in files(graph) if file.changes])  # taken back later, they would be gone unnoticed
    rows = register_contracts(graph, adapters.broker, adapters.registry, adapters.lake)
    show.table(["stream", "topic", "", "schema id"], ((s.path, s.topic, "created" if new else "was there", i) for s, new, i in rows))


def _limits(column: Column) -> str:
    bounds = [f">= {column.minimum:g}"] if column.minimum is not None else []
    return ", ".join([*column.allowed, *bounds, *([f"> {column.above:g}"] if column.above is not None else [])])


def _datasets(graph: Catalog, name: str) -> list[Dataset]:
    found = [d for d in graph.datasets if name in (d.path, f"{d.family}/{d.name}")]
    if not found:
        raise QuantLakeError(f"there is no dataset {name!r}; there are {', '.join(graph.by_path)}")
    return found


def _name(file: File) -> str:
    return f"{file.path.parent.name}/{file.path.name.partition('.')[0]}"


def _version(file: File, number: int | None) -> Version:
    if number is None:
        return file.versions[-1]
    if number > len(file.versions):
        raise QuantLakeError(f"{_name(file)} has no version {number}: its newest is {len(file.versions)}")
    return file.versions[number - 1]


def _tell(changes: list[Change]) -> None:
    if changes:
        show.table(["dataset", "field", "rule", "change"], ((c.dataset, c.field, c.rule or "compatible", c.what) for c in changes))
