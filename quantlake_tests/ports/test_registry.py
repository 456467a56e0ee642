"""What every schema registry does: ids, newest versions, refusals; a SQLite file and Confluent's API behave alike."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
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
from quantlake_tests.servers import apicurio
from quantlake_tests.servers.apicurio import ApicurioServer

PORT = "Registry"


@pytest.fixture(params=["sqlite", "confluent_api", pytest.param("apicurio", marks=pytest.mark.servers)])
def adapter_name(request: pytest.FixtureRequest) -> str:
    """``confluent_api`` is the adapter of servers against a stand-in of their documented API."""
    return str(request.param)


@pytest.fixture
def place(adapter_name: str, home: Path, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """How an adapter is opened, also by other processes."""
    if adapter_name == "sqlite":
        yield [str(home / "registry.db")]
    elif adapter_name == "confluent_api":
        with confluent_api.serving() as (_, url):
            yield [url, confluent_api.USER, confluent_api.PASSWORD]
    else:
        server: ApicurioServer = request.getfixturevalue("apicurio_server")
        yield [server.url, apicurio.USER, server.password]


def opened(place: list[str]) -> Registry:
    return SqliteRegistry(Path(place[0])) if len(place) == 1 else ConfluentRegistry(*place)


@pytest.fixture
def registry(place: list[str]) -> Registry:
    return opened(place)


@pytest.fixture
def named() -> Callable[[str], str]:
    """Subjects of this test's own: a server is shared by all tests."""
    own = uuid.uuid4().hex
    return lambda subject: f"{own}.{subject}"


def extended(stream: Stream, *, null: bool) -> Schema:
    return wire_schema(replace(stream, columns=(*stream.columns, Column("more", Text, "Another.", null=null))))


def test_a_schema_is_registered_once(registry: Registry, named: Callable[[str], str]) -> None:
    first = registry.register(named(subject(trades.raw)), wire_schema(trades.raw))
    other = registry.register(named(subject(news.raw)), wire_schema(news.raw))
    assert first != other and first > 0
    assert registry.register(named(subject(trades.raw)), wire_schema(trades.raw)) == first
    assert registry.schema(first).same(wire_schema(trades.raw)) and registry.schema(other).same(wire_schema(news.raw))
    id_, schema = registry.latest(named(subject(trades.raw)))
    assert id_ == first and schema.same(wire_schema(trades.raw))


def test_a_nullable_column_may_be_added(registry: Registry, named: Callable[[str], str]) -> None:
    name = named(subject(trades.raw))
    old = registry.register(name, wire_schema(trades.raw))
    new = registry.register(name, extended(trades.raw, null=True))
    assert new != old and registry.latest(name)[0] == new and registry.latest(name)[1].same(extended(trades.raw, null=True))
    assert registry.register(name, wire_schema(trades.raw)) == old
    assert registry.latest(name)[0] == new
    assert registry.schema(old).same(wire_schema(trades.raw))


@pytest.mark.parametrize("change", ["required", "type"])
def test_what_cannot_read_old_data_is_refused(registry: Registry, named: Callable[[str], str], change: str) -> None:
    schema = avro_record(news.raw)
    name = named(subject(news.raw))
    known = registry.register(name, avro(schema))
    fields = [{**f, "type": "long"} if f["name"] == "title" else f for f in schema["fields"]]
    with pytest.raises(QuantLakeError, match=name) as caught:
        registry.register(name, avro({**schema, "fields": fields}) if change == "type" else extended(news.raw, null=False))
    assert "\n" not in str(caught.value)
    assert registry.latest(name)[0] == known and registry.latest(name)[1].same(avro(schema))


def test_what_is_unknown(registry: Registry) -> None:
    for unknown in (0, 999_999, 2**32 - 1):
        with pytest.raises(UnknownSchemaError, match="knows no"):
            registry.schema(unknown)
    with pytest.raises(QuantLakeError, match="never"):
        registry.latest("never-value")


def text_of(name: str, *fields: dict[str, Any], **other: Any) -> Schema:
    return avro({"type": "record", "name": name, "fields": list(fields), **other})


def optional(name: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", "string"], "default": None, **other}


@pytest.mark.parametrize("subject_", ["東京 🚀", "a/b c?d#e%20f&g=h", "é", "e\u0301", "x" * 200, "..", "schema'; DROP TABLE schemas --"])
def test_a_subject_is_any_text(registry: Registry, named: Callable[[str], str], subject_: str) -> None:
    schema = text_of("T", optional("a", doc="東京 🚀 \"\\ שלום"), doc="é\nline")
    id_ = registry.register(named(subject_), schema)
    found = registry.latest(named(subject_))
    assert found[0] == id_ and json.loads(found[1].text) == json.loads(schema.text)
    assert json.loads(registry.schema(id_).text) == json.loads(schema.text)
    with pytest.raises(QuantLakeError, match="not registered"):
        registry.latest(named(subject_ + "x"))


@pytest.mark.parametrize("text", ["{nonsense", '{"type": "record"}', '{"type": "unknown"}', ""])
def test_what_is_no_schema_is_refused_and_leaves_no_subject(registry: Registry, named: Callable[[str], str], text: str) -> None:
    with pytest.raises(QuantLakeError) as caught:
        registry.register(named("s-value"), Schema("AVRO", text))
    assert "\n" not in str(caught.value)
    with pytest.raises(QuantLakeError, match="not registered"):
        registry.latest(named("s-value"))
    id_ = registry.register(named("s-value"), text_of("T", optional("a")))
    assert registry.latest(named("s-value"))[0] == id_


def test_a_large_schema_and_many_versions(registry: Registry, named: Callable[[str], str]) -> None:
    fields = [optional(f"f{n}", doc="d" * 300) for n in range(800)]
    versions = [text_of("T", *fields[: 788 + n]) for n in range(12)]
    ids = [registry.register(named("large"), schema) for schema in versions]
    assert len(set(ids)) == 12 and ids == sorted(ids)
    assert registry.latest(named("large"))[0] == ids[-1] and registry.latest(named("large"))[1].same(versions[-1])
    assert all(registry.schema(id_).same(schema) for id_, schema in zip(ids[::4], versions[::4], strict=True))
    assert registry.register(named("large"), versions[3]) == ids[3]


WRITER = """
import json, sys
from quantlake.contract import QuantLakeError
from quantlake_tests.ports.test_registry import Schema, opened
registry = opened(json.loads(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(registry.register(sys.argv[2], Schema("AVRO", sys.argv[3])))
except QuantLakeError as error:
    print(error)
"""


def at_once(place: list[str], subject_: str, schemas: list[Schema]) -> list[str]:
    """What each of several processes says that register at the same time."""
    children = [child(WRITER, json.dumps(place), subject_, schema.text) for schema in schemas]
    for c in children:
        assert said(c) == "ready"
    for c in children:
        told(c, "go")
    heard = [said(c) for c in children]
    assert [ended(c) for c in children] == [0] * len(children)
    return heard


def test_processes_that_register_the_same_at_once_get_one_id(place: list[str], named: Callable[[str], str]) -> None:
    ids = set(at_once(place, named("s-value"), [wire_schema(trades.raw)] * 4))
    assert len(ids) == 1 and str(opened(place).latest(named("s-value"))[0]) in ids


def test_processes_that_register_different_schemas_at_once_get_each_its_own(place: list[str], named: Callable[[str], str]) -> None:
    opened(place).register(named("s-value"), text_of("T", optional("a")))
    schemas = [text_of("T", optional("a"), optional(f"f{n}")) for n in range(4)]
    ids = at_once(place, named("s-value"), schemas)
    assert len(set(ids)) == 4, ids
    registry = opened(place)
    assert all(registry.schema(int(id_)).same(schema) for id_, schema in zip(ids, schemas, strict=True))


@pytest.mark.parametrize("new", [False, True], ids=["known subject", "new subject"])
def test_of_schemas_that_exclude_each_other_one_is_registered(place: list[str], named: Callable[[str], str], new: bool) -> None:
    if not new:
        opened(place).register(named("s-value"), text_of("T"))
    kinds = [("string", ""), ("long", 0), ("boolean", False), ({"type": "map", "values": "string"}, {})]
    heard = at_once(place, named("s-value"), [text_of("T", {"name": "a", "type": kind, "default": default}) for kind, default in kinds])
    assert sum(h.isdigit() for h in heard) == 1, heard
    assert all("s-value" in h for h in heard if not h.isdigit())


@pytest.mark.parametrize("adapter_name", ["confluent_api", pytest.param("apicurio", marks=pytest.mark.servers)])
def test_a_subject_keeps_the_rule_for_other_clients_too(place: list[str], named: Callable[[str], str]) -> None:
    """Apicurio has no rule at first; what is registered through us is BACKWARD from then on."""
    from confluent_kafka.schema_registry import Schema as Other
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    opened(place).register(named("s-value"), text_of("T", optional("a")))
    with SchemaRegistryClient({"url": place[0], "basic.auth.user.info": f"{place[1]}:{place[2]}"}) as client:
        assert ConfluentRegistry._level(client, named("s-value")) == "BACKWARD"
        with pytest.raises(SchemaRegistryError) as caught:
            client.register_schema(named("s-value"), Other(text_of("T", {"name": "a", "type": "long"}).text, "AVRO"))
        assert caught.value.http_status_code == 409
        client.set_compatibility(named("s-value"), "FULL")
        opened(place).register(named("s-value"), text_of("T", optional("a"), optional("b")))
        assert client.get_compatibility(named("s-value")) == "FULL"  # a stricter one stays


@pytest.mark.parametrize("adapter_name", ["confluent_api", pytest.param("apicurio", marks=pytest.mark.servers)])
def test_a_password_is_never_in_an_error(place: list[str]) -> None:
    uses = [lambda r: r.schema(1), lambda r: r.latest("s"), lambda r: r.register("s", avro({"type": "string"}))]
    url, user, _ = place
    refused = [ConfluentRegistry(url, user, "hunter2-hünter"), ConfluentRegistry(url.replace("//", f"//{user}:hunter2@")), ConfluentRegistry(url)]
    unreachable = ConfluentRegistry(f"http://127.0.0.1:{free_port()}", "u", "hunter2")
    for registry, use in [*((r, u) for r in refused for u in uses), (unreachable, uses[0])]:
        with pytest.raises(QuantLakeError, match=r"127\.0\.0\.1") as caught:
            use(registry)
        assert "hunter2" not in str(caught.value) + repr(registry) and "\n" not in str(caught.value)
        assert not isinstance(caught.value, UnknownSchemaError)
        assert registry is unreachable or "401" in str(caught.value)


@pytest.mark.parametrize("adapter_name", [pytest.param("apicurio", marks=pytest.mark.servers)])
def test_a_registry_that_is_open_goes_on_after_its_server_was_killed(
    place: list[str], named: Callable[[str], str], apicurio_server: ApicurioServer
) -> None:
    registry = opened(place)
    side = avro({"type": "enum", "name": "Side", "namespace": "common", "symbols": ["buy", "sell"]})
    order = text_of("Order", {"name": "a", "type": "common.Side"})
    order = replace(order, references=(Reference("common.Side", named("side-value"), 1, side),))
    registry.register(named("side-value"), side)
    id_ = registry.register(named("order-value"), order)
    apicurio_server.kill()
    try:
        with pytest.raises(QuantLakeError, match=f"schema registry {re.escape(place[0])}") as caught:
            registry.latest(named("order-value"))
        assert "\n" not in str(caught.value) and not isinstance(caught.value, UnknownSchemaError)
    finally:
        apicurio_server.run()
    for after in (registry, opened(place)):
        assert after.latest(named("order-value"))[0] == id_ and after.schema(id_).same(order)
        with pytest.raises(QuantLakeError):
            after.register(named("order-value"), text_of("Order", {"name": "a", "type": "long"}))
    assert registry.register(named("order-value"), order) == id_


def test_an_id_of_another_kind_of_schema_is_no_reason_to_stop_landing() -> None:
    """One message framed with a JSON schema's id is one dead letter."""
    with confluent_api.serving() as (api, url):
        api.schemas += [("JSON", '{"type": "object"}', "[]")]
        with pytest.raises(UnknownSchemaError, match="is JSON; Avro and Protobuf are read"):
            ConfluentRegistry(url, confluent_api.USER, confluent_api.PASSWORD).schema(1)


QUOTES = 'syntax = "proto3";\npackage q;\nmessage Q { optional string bid = 1; optional int64 n = 2; }\n'


def test_protobuf_is_registered_and_evolves(registry: Registry, named: Callable[[str], str]) -> None:
    first = registry.register(named("q-value"), Schema("PROTOBUF", QUOTES))
    assert registry.schema(first).same(Schema("PROTOBUF", QUOTES)) and registry.register(named("q-value"), Schema("PROTOBUF", QUOTES)) == first
    for change, what in (("string bid = 1", "int64 bid = 1"), ("optional string bid = 1;", ""), ("string bid = 1", "string ask = 1")):
        with pytest.raises(QuantLakeError, match=r"new schema of \S+q-value cannot read .*q\.Q\.bid: number 1"):
            registry.register(named("q-value"), Schema("PROTOBUF", QUOTES.replace(change, what)))
    with pytest.raises(QuantLakeError, match="it was PROTOBUF, and would be AVRO"):
        registry.register(named("q-value"), wire_schema(trades.raw))
    more = Schema("PROTOBUF", QUOTES.replace("= 2;", "= 2; optional string more = 3;"))
    assert registry.register(named("q-value"), more) != first and registry.latest(named("q-value"))[1].same(more)


def test_a_schema_may_refer_to_others(registry: Registry, named: Callable[[str], str]) -> None:
    side = avro({"type": "enum", "name": "Side", "namespace": "common", "symbols": ["buy", "sell"]})
    fields = [{"name": "a", "type": "common.Side"}, {"name": "b", "type": ["null", "common.Side"], "default": None}]
    order = avro({"type": "record", "name": "Order", "fields": fields}, (Reference("common.Side", named("side-value"), 1, side),))
    inner = Schema("PROTOBUF", 'syntax = "proto3"; package common; message Money { optional string amount = 1; }')
    text = 'syntax = "proto3"; import "common/money.proto"; message Fee { optional common.Money money = 1; }'
    fee = Schema("PROTOBUF", text, (Reference("common/money.proto", named("money-value"), 1, inner),))
    for subject_, schema, referred in ((named("order-value"), order, side), (named("fee-value"), fee, inner)):
        (reference,) = schema.references
        with pytest.raises(QuantLakeError):
            registry.register(subject_, schema)
        registry.register(reference.subject, referred)
        found = registry.schema(registry.register(subject_, schema))
        assert found.same(schema) and found.references[0].schema.same(referred) and found.references[0].subject == reference.subject
        assert registry.latest(subject_)[1].same(schema)
    assert resolved(registry.latest(named("order-value"))[1])["fields"][0]["type"]["symbols"] == ["buy", "sell"]
    assert message(registry.latest(named("fee-value"))[1]).fields_by_name["money"].message_type.full_name == "common.Money"
