"""Message schemas as a registry keeps them: Avro and Protobuf, with what they refer to.

Here: their text, what it means (resolved Avro, compiled Protobuf) and when two are the same. Not here: which schema a stream has
(``wire``), ids and subjects (the registry's port).
"""

import base64
import binascii
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quantlake.contract.errors import QuantLakeError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

Kind = Literal["AVRO", "PROTOBUF"]
FILE = "schema.proto"


@dataclass(frozen=True)
class Reference:
    """What a schema's text calls ``name`` (an Avro full name, a .proto file's name): a version of another subject."""

    name: str
    subject: str
    version: int
    schema: "Schema"


@dataclass(frozen=True)
class Schema:
    """A schema's text, as it was registered, with its references. Protobuf: a .proto file, or its descriptor in base64."""

    kind: Kind
    text: str
    references: tuple[Reference, ...] = ()

    def same(self, other: "Schema") -> bool:
        """Whether both say the same of messages: apart from their texts' layout, comments and names of files."""
        return self.kind == other.kind and _canonical(self) == _canonical(other)


def avro(record: Any, references: tuple[Reference, ...] = ()) -> Schema:
    """An Avro schema from its JSON."""
    return Schema("AVRO", json.dumps(record), references)


def resolved(schema: Schema) -> Any:
    """An Avro schema's JSON with all that it refers to in it: each named type where it is first met, and by its name after."""
    seen: set[str] = set()

    def once(node: Any) -> Any:
        if isinstance(node, list):
            return [once(n) for n in node]
        if not isinstance(node, dict):
            return node
        if node.get("name") in seen:
            return node["name"]
        seen.update([node["name"]] if "name" in node else [])
        inner = {key: once(node[key]) for key in ("items", "values") if key in node}
        return {**node, **inner} | ({"fields": [{**f, "type": once(f["type"])} for f in node["fields"]]} if "fields" in node else {})

    return once(expanded(schema))


@lru_cache(maxsize=256)
def expanded(schema: Schema) -> Any:
    """The same with each named type in full wherever it is used, as polars reads schemas.

    Raises ``QuantLakeError`` where it is no Avro schema.
    """
    import fastavro
    from fastavro.schema import SchemaParseException, UnknownType

    named: dict[str, Any] = {}
    try:
        for reference in _depth_first(schema):
            fastavro.parse_schema(json.loads(reference.schema.text), named_schemas=named)
        own = json.loads(schema.text)
        if isinstance(own, str) and own in named:  # a schema may be nothing but a reference
            return _expanded(named[own], named)
        return _expanded(fastavro.parse_schema(own, named_schemas=named, _write_hint=False), named)
    except (ValueError, KeyError, TypeError, RecursionError, SchemaParseException, UnknownType) as error:
        raise QuantLakeError(f"no Avro schema: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=256)
def message(schema: Schema, path: tuple[int, ...] = (0,)) -> "Descriptor":
    """The message type of a Protobuf schema at Confluent's message indexes: its place in the file, then within its parent.

    Raises ``QuantLakeError`` where the schema does not compile or has no such message.
    """
    found = _compiled(schema)
    types = list(found.message_types_by_name.values())
    try:
        if min(path) < 0:
            raise IndexError
        at = types[path[0]]
        for index in path[1:]:
            at = at.nested_types[index]
    except (IndexError, ValueError):
        raise QuantLakeError(f"the Protobuf schema has no message {list(path)}; it has {[t.name for t in types]}") from None
    return at


def require_backward(subject: str, old: Schema, new: Schema) -> None:
    """Raise ``QuantLakeError`` if a reader of ``new`` could not read what was written with ``old`` (Confluent's BACKWARD).

    Of Protobuf more is asked: a number keeps its name and type for ever, as its JSON and every store's column do.
    """
    if new.kind != old.kind:
        faults = [f"it was {old.kind}, and would be {new.kind}"]
    else:
        faults = _avro_faults(old, new) if new.kind == "AVRO" else _protobuf_faults(old, new)
    if faults:
        raise QuantLakeError(
            f"the new schema of {subject} cannot read what was written with the old one ({'; '.join(sorted(faults))}); "
            "add columns as nullable, never change or drop one"
        )


def _avro_faults(old: Schema, new: Schema) -> list[str]:
    import avro.schema
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    reader, writer = (avro.schema.parse(json.dumps(resolved(s)), validate_names=False) for s in (new, old))
    result = ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)  # type: ignore[no-untyped-call]
    return [] if result.compatibility is SchemaCompatibilityType.compatible else [str(m) for m in result.messages]


def _protobuf_faults(old: Schema, new: Schema) -> list[str]:
    now = {m.full_name: m for m in _messages(_compiled(new))}
    faults = []
    for message_ in _messages(_compiled(old)):
        if message_.full_name not in now:
            faults.append(f"message {message_.full_name} is gone")
            continue
        fields = now[message_.full_name].fields_by_number
        for number, field in message_.fields_by_number.items():
            if number not in fields:
                faults.append(f"{message_.full_name}.{field.name}: number {number} is gone")
            elif (was := f"{field_kind(field)} {field.name}") != (is_ := f"{field_kind(fields[number])} {fields[number].name}"):
                faults.append(f"{message_.full_name}.{field.name}: number {number} was {was}, and would be {is_}")
    return faults


def field_kind(field: "FieldDescriptor") -> str:
    """A Protobuf field's type as a .proto file spells it; ``enum`` for any enumeration."""
    names = {v: k.removeprefix("TYPE_").lower() for k, v in vars(type(field)).items() if k.startswith("TYPE_")}
    kind = field.message_type.full_name if field.message_type else names[field.type]
    return f"repeated {kind}" if field.is_repeated else kind


def _messages(found: "FileDescriptor | Descriptor") -> "Iterator[Descriptor]":
    for inner in found.message_types_by_name.values() if hasattr(found, "message_types_by_name") else found.nested_types:
        yield inner
        yield from _messages(inner)


@lru_cache(maxsize=256)
def _canonical(schema: Schema) -> str:
    if schema.kind == "AVRO":
        from fastavro.schema import to_parsing_canonical_form

        return str(to_parsing_canonical_form(resolved(schema)))
    from google.protobuf import descriptor_pb2

    found = descriptor_pb2.FileDescriptorProto()
    _compiled(schema).CopyToProto(found)
    found.name = ""
    return str(found.SerializeToString(deterministic=True).hex())


def _expanded(node: Any, named: dict[str, Any], within: tuple[str, ...] = ()) -> Any:
    if isinstance(node, str):
        return _expanded(named[node], named, within) if node in named and node not in within else node
    if isinstance(node, list):
        return [_expanded(n, named, within) for n in node]
    inner = (*within, node["name"]) if "name" in node and "type" in node else within
    found = {k: v for k, v in node.items() if not k.startswith("__")}
    if "fields" in node:
        found["fields"] = [{**f, "type": _expanded(f["type"], named, inner)} for f in node["fields"]]
    for key in ("items", "values"):
        if key in node:
            found[key] = _expanded(node[key], named, inner)
    return found


def _depth_first(schema: Schema) -> Iterator[Reference]:
    for reference in schema.references:
        yield from _depth_first(reference.schema)
        yield reference


@lru_cache(maxsize=256)
def _compiled(schema: Schema) -> "FileDescriptor":
    from google.protobuf import descriptor_pool
    from google.protobuf.message import DecodeError

    pool = descriptor_pool.DescriptorPool()
    try:
        for file in _files(schema, FILE).values():
            pool.Add(file)
        return pool.FindFileByName(FILE)
    except (TypeError, KeyError, DecodeError) as error:
        raise QuantLakeError(f"no Protobuf schema: {' '.join(str(error).split())}") from error


def _files(schema: Schema, name: str) -> dict[str, Any]:
    """The descriptors of a schema, under this name, and of all that it imports, which come first."""
    from google.protobuf import descriptor_pb2

    found: dict[str, Any] = {}
    for reference in schema.references:
        found |= {n: f for n, f in _files(reference.schema, reference.name).items() if n not in found}
    serialized = _serialized(schema.text)
    if serialized is None:
        packed = _protoc(name, schema.text, found)
        return {f.name: f for f in descriptor_pb2.FileDescriptorSet.FromString(packed).file}
    own = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    own.name = name
    for dependency in own.dependency:
        found |= {} if dependency in found else _well_known(dependency)
    return found | {name: own}


def _protoc(name: str, text: str, known: dict[str, Any]) -> bytes:
    """A descriptor set of a .proto file and all that it imports, of which some are known."""
    from google.protobuf import descriptor_pb2

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "in", name).resolve()
        if not place.is_relative_to(Path(folder).resolve()):
            raise QuantLakeError(f"no Protobuf schema: it refers to a file outside: {name!r}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        Path(folder, "known").write_bytes(descriptor_pb2.FileDescriptorSet(file=known.values()).SerializeToString())
        includes = [f"-I{folder}/in", f"-I{resources.files('grpc_tools')}/_proto"]
        # a process of its own: protoc writes what is wrong to its standard error
        command = [sys.executable, "-m", "grpc_tools.protoc", *includes, "--include_imports", f"--descriptor_set_out={folder}/out", name]
        command += [f"--descriptor_set_in={folder}/known"] if known else []
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise QuantLakeError(f"no Protobuf schema: {' '.join(done.stderr.replace(f'{folder}/in/', '').split())}")
        return Path(folder, "out").read_bytes()


def _serialized(text: str) -> bytes | None:
    """A descriptor in base64, as some clients register it; None: it is a .proto text."""
    if any(mark in text for mark in ";{"):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _well_known(name: str) -> dict[str, Any]:
    """The descriptors of one of Protobuf's own files, and of those that it imports; {}: it is none."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    if not name.startswith("google/protobuf/"):
        return {}
    importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    file = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    found: dict[str, Any] = {}
    for dependency in file.dependency:
        found |= _well_known(dependency)
    return found | {name: file}
