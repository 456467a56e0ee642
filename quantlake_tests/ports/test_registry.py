"""What every schema registry does: ids, newest versions, refusals; a SQLite file and Confluent's API behave alike."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantlake.adapters.broker.tansu import free_port
from quantlake.adapters.registry.confluent import ConfluentRegistry
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Column, QuantLakeError, Stream, Text
from quantlake.contract.wire import subject, wire_schema
from quantlake.datasets.alt import news
from quantlake.datasets.market import trades
from quantlake.ports import Registry, UnknownSchemaError
from quantlake_tests.ports import confluent_api
from quantlake_tests.ports.children import child, ended, said, told

OPENED = "adapters.registry.sqlite import SqliteRegistry as R", "adapters.registry.confluent import ConfluentRegistry as R"


@pytest.fixture(params=["sqlite", "confluent"])
def place(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """An adapter and how it is opened: other processes open it again."""
    if request.param == "sqlite":
        yield SqliteRegistry, (home / "registry.db",)
    else:
        with confluent_api.serving() as (_, url):
            yield ConfluentRegistry, (url, confluent_api.USER, confluent_api.PASSWORD)


@pytest.fixture
def registry(place: tuple[Any, tuple[Any, ...]]) -> Registry:
    adapter, arguments = place
    opened: Registry = adapter(*arguments)
    return opened


def extended(stream: Stream, *, null: bool) -> dict[str, Any]:
    return wire_schema(replace(stream, columns=(*stream.columns, Column("more", Text, "Another.", null=null))))


def test_a_schema_is_registered_once(registry: Registry) -> None:
    first = registry.register(subject(trades.raw), wire_schema(trades.raw))
    other = registry.register(subject(news.raw), wire_schema(news.raw))
    assert first != other and first > 0
    assert registry.register(subject(trades.raw), wire_schema(trades.raw)) == first
    assert registry.schema(first) == wire_schema(trades.raw) and registry.schema(other) == wire_schema(news.raw)
    assert registry.latest(subject(trades.raw)) == (first, wire_schema(trades.raw))


def test_a_nullable_column_may_be_added(registry: Registry) -> None:
    name = subject(trades.raw)
    old = registry.register(name, wire_schema(trades.raw))
    new = registry.register(name, extended(trades.raw, null=True))
    assert new != old and registry.latest(name) == (new, extended(trades.raw, null=True))
    assert registry.register(name, wire_schema(trades.raw)) == old
    assert registry.schema(old) == wire_schema(trades.raw)


@pytest.mark.parametrize("change", ["required", "type"])
def test_what_cannot_read_old_data_is_refused(registry: Registry, change: str) -> None:
    schema = wire_schema(news.raw)
    name = subject(news.raw)
    known = registry.register(name, schema)
    fields = [{**f, "type": "long"} if f["name"] == "title" else f for f in schema["fields"]]
    with pytest.raises(QuantLakeError, match=name) as caught:
        registry.register(name, {**schema, "fields": fields} if change == "type" else extended(news.raw, null=False))
    assert "\n" not in str(caught.value)
    assert registry.latest(name) == (known, schema)


def test_what_is_unknown(registry: Registry) -> None:
    for unknown in (0, 999, 2**32 - 1):
        with pytest.raises(UnknownSchemaError, match="knows no"):
            registry.schema(unknown)
    with pytest.raises(QuantLakeError, match="never"):
        registry.latest("never-value")


def test_two_processes_that_register_at_once_get_one_id(place: tuple[Any, tuple[Any, ...]]) -> None:
    adapter, arguments = place
    opened = OPENED[adapter is ConfluentRegistry]
    script = (
        f"import sys, json; from pathlib import Path; from quantlake.{opened}\n"
        "a = json.loads(sys.argv[1]); registry = R(Path(a[0]) if len(a) == 1 else a[0], *a[1:])\n"
        "print('ready', flush=True); sys.stdin.readline(); print(registry.register('s-value', json.loads(sys.argv[2])))"
    )
    arguments_json, schema = json.dumps([str(a) for a in arguments]), json.dumps(wire_schema(trades.raw))
    children = [child(script, arguments_json, schema) for _ in range(3)]
    for c in children:
        assert said(c) == "ready"
    for c in children:
        told(c, "go")
    ids = {said(c) for c in children}
    assert [ended(c) for c in children] == [0, 0, 0]
    assert len(ids) == 1 and adapter(*arguments).latest("s-value")[0] == int(ids.pop())


def test_a_password_is_never_in_an_error() -> None:
    uses = [lambda r: r.schema(1), lambda r: r.latest("s"), lambda r: r.register("s", {"type": "string"})]
    with confluent_api.serving() as (_, url):
        refused = ConfluentRegistry(url, confluent_api.USER, "hunter2-hünter")
        in_address = ConfluentRegistry(url.replace("//", f"//{confluent_api.USER}:hunter2@"))
        unreachable = ConfluentRegistry(f"http://127.0.0.1:{free_port()}", "u", "hunter2")
        for registry, use in [*((r, u) for r in (refused, in_address) for u in uses), (unreachable, uses[0])]:
            with pytest.raises(QuantLakeError, match=r"127\.0\.0\.1") as caught:
                use(registry)
            assert "hunter2" not in str(caught.value) + repr(registry) and "\n" not in str(caught.value)
            assert not isinstance(caught.value, UnknownSchemaError)


def test_an_id_of_another_kind_of_schema_is_no_reason_to_stop_landing() -> None:
    """One message framed with a Protobuf schema's id is one dead letter."""
    with confluent_api.serving() as (api, url):
        api.schemas += [("PROTOBUF", 'syntax = "proto3"; message M { string a = 1; }'), ("AVRO", '"string"'), ("AVRO", '["null", "long"]')]
        registry = ConfluentRegistry(url, confluent_api.USER, confluent_api.PASSWORD)
        for schema_id in (1, 2, 3):
            with pytest.raises(UnknownSchemaError, match="no Avro record"):
                registry.schema(schema_id)
