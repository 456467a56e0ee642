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
from quantlake.contract.schemas import Reference, Schema, avro, message, resolved
from quantlake.contract.wire import avro_record, subject, wire_schema
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


def extended(stream: Stream, *, null: bool) -> Schema:
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
    schema = avro_record(news.raw)
    name = subject(news.raw)
    known = registry.register(name, avro(schema))
    fields = [{**f, "type": "long"} if f["name"] == "title" else f for f in schema["fields"]]
    with pytest.raises(QuantLakeError, match=name) as caught:
        registry.register(name, avro({**schema, "fields": fields}) if change == "type" else extended(news.raw, null=False))
    assert "\n" not in str(caught.value)
    assert registry.latest(name) == (known, avro(schema))


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
        "from quantlake.contract.schemas import Schema\n"
        "a = json.loads(sys.argv[1]); registry = R(Path(a[0]) if len(a) == 1 else a[0], *a[1:])\n"
        "print('ready', flush=True); sys.stdin.readline(); print(registry.register('s-value', Schema('AVRO', sys.argv[2])))"
    )
    arguments_json, schema = json.dumps([str(a) for a in arguments]), wire_schema(trades.raw).text
    children = [child(script, arguments_json, schema) for _ in range(3)]
    for c in children:
        assert said(c) == "ready"
    for c in children:
        told(c, "go")
    ids = {said(c) for c in children}
    assert [ended(c) for c in children] == [0, 0, 0]
    assert len(ids) == 1 and adapter(*arguments).latest("s-value")[0] == int(ids.pop())


def test_a_password_is_never_in_an_error() -> None:
    uses = [lambda r: r.schema(1), lambda r: r.latest("s"), lambda r: r.register("s", avro({"type": "string"}))]
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
    """One message framed with a JSON schema's id is one dead letter."""
    with confluent_api.serving() as (api, url):
        api.schemas += [("JSON", '{"type": "object"}', "[]")]
        with pytest.raises(UnknownSchemaError, match="is JSON; Avro and Protobuf are read"):
            ConfluentRegistry(url, confluent_api.USER, confluent_api.PASSWORD).schema(1)


QUOTES = 'syntax = "proto3";\npackage q;\nmessage Q { optional string bid = 1; optional int64 n = 2; }\n'


def test_protobuf_is_registered_and_evolves(registry: Registry) -> None:
    first = registry.register("q-value", Schema("PROTOBUF", QUOTES))
    assert registry.schema(first).same(Schema("PROTOBUF", QUOTES)) and registry.register("q-value", Schema("PROTOBUF", QUOTES)) == first
    for change, what in (("string bid = 1", "int64 bid = 1"), ("optional string bid = 1;", ""), ("string bid = 1", "string ask = 1")):
        with pytest.raises(QuantLakeError, match=r"new schema of q-value cannot read .*q\.Q\.bid: number 1"):
            registry.register("q-value", Schema("PROTOBUF", QUOTES.replace(change, what)))
    with pytest.raises(QuantLakeError, match="it was PROTOBUF, and would be AVRO"):
        registry.register("q-value", wire_schema(trades.raw))
    more = Schema("PROTOBUF", QUOTES.replace("= 2;", "= 2; optional string more = 3;"))
    assert registry.register("q-value", more) != first and registry.latest("q-value")[1].same(more)


def test_a_schema_may_refer_to_others(registry: Registry) -> None:
    side = avro({"type": "enum", "name": "Side", "namespace": "common", "symbols": ["buy", "sell"]})
    fields = [{"name": "a", "type": "common.Side"}, {"name": "b", "type": ["null", "common.Side"], "default": None}]
    order = avro({"type": "record", "name": "Order", "fields": fields}, (Reference("common.Side", "side-value", 1, side),))
    inner = Schema("PROTOBUF", 'syntax = "proto3"; package common; message Money { optional string amount = 1; }')
    text = 'syntax = "proto3"; import "common/money.proto"; message Fee { optional common.Money money = 1; }'
    fee = Schema("PROTOBUF", text, (Reference("common/money.proto", "money-value", 1, inner),))
    for subject_, schema, referred in (("order-value", order, side), ("fee-value", fee, inner)):
        (reference,) = schema.references
        with pytest.raises(QuantLakeError):
            registry.register(subject_, schema)
        registry.register(reference.subject, referred)
        found = registry.schema(registry.register(subject_, schema))
        assert found.same(schema) and found.references[0].schema.same(referred) and found.references[0].subject == reference.subject
        assert registry.latest(subject_)[1].same(schema)
    assert resolved(registry.latest("order-value")[1])["fields"][0]["type"]["symbols"] == ["buy", "sell"]
    assert message(registry.latest("fee-value")[1]).fields_by_name["money"].message_type.full_name == "common.Money"
