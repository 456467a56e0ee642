"""A Confluent-API schema registry (Confluent, Redpanda, Apicurio's compatibility API) through confluent-kafka's client."""

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from quantlake.contract import QuantLakeError
from quantlake.contract.schemas import Kind, Reference, Schema, require_backward
from quantlake.ports import UnknownSchemaError

SCHEMA_NOT_FOUND = 40403
NOT_FOUND = 404
NOT_COMPARABLE = 422  # what Apicurio answers where the subject's schemas are of another kind
AS_STRICT = ("BACKWARD", "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")


class ConfluentRegistry:
    """The registry at ``url``. Raises ``QuantLakeError`` naming the address, never the password."""

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        parts = urlsplit(url)  # a password in the address goes where no error shows it
        if parts.username and not username:
            username, password = unquote(parts.username), unquote(parts.password or "")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._settings = {"url": self._url} | ({"basic.auth.user.info": f"{username}:{password}"} if username else {})
        self._schemas: dict[int, Schema] = {}

    def register(self, subject: str, schema: Schema) -> int:
        from confluent_kafka.schema_registry import Schema as Registered
        from confluent_kafka.schema_registry import SchemaReference

        refers = [SchemaReference(r.name, r.subject, r.version) for r in schema.references]
        with _Errors(self._url), self._client() as client:
            new = Registered(schema.text, schema.kind, refers)
            self._guard(client, subject)
            id_ = self._known(client, subject, new)
            if id_ is None:
                newest = self._newest(client, subject)
                # versions that an absent rule let in, and Protobuf, of which we ask more; a first one has to read its own data
                require_backward(subject, newest[1] if newest else schema, schema)
                id_ = int(client.register_schema(subject, new))
        return id_

    def schema(self, schema_id: int) -> Schema:
        if schema_id not in self._schemas:
            with _Errors(self._url), self._client() as client:
                found = client.get_schema(schema_id)
                self._schemas[schema_id] = self._understood(client, found, f"schema {schema_id}")
        return self._schemas[schema_id]

    def latest(self, subject: str) -> tuple[int, Schema]:
        with _Errors(self._url), self._client() as client:
            found = self._newest(client, subject)
        if found is None:
            raise QuantLakeError(f"subject {subject} is not registered in {self._url}; run `quantlake contract register`")
        return found

    def _guard(self, client: Any, subject: str) -> None:
        """Have the registry refuse what is not BACKWARD, which Apicurio does not at first; before the first version, so that of two
        clients that register at once one is refused."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        if self._level(client, subject) in AS_STRICT:
            return
        try:
            client.set_compatibility(subject, "BACKWARD")
        except SchemaRegistryError:
            if self._level(client, subject) not in AS_STRICT:  # else another client was first
                raise

    @staticmethod
    def _known(client: Any, subject: str, schema: Any) -> int | None:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return int(client.lookup_schema(subject, schema).schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code not in (NOT_FOUND, NOT_COMPARABLE):
                raise
            return None

    def _newest(self, client: Any, subject: str) -> tuple[int, Schema] | None:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            found = client.get_latest_version(subject)
        except SchemaRegistryError as error:
            if error.http_status_code != NOT_FOUND:
                raise
            return None
        return int(found.schema_id), self._understood(client, found.schema, f"subject {subject}")

    def _understood(self, client: Any, found: Any, what: str) -> Schema:
        kind = found.schema_type or "AVRO"
        if kind not in ("AVRO", "PROTOBUF"):  # a message that names it is a dead letter, no reason to stop landing
            raise UnknownSchemaError(f"{what} of registry {self._url} is {kind}; Avro and Protobuf are read")
        return Schema(cast(Kind, kind), found.schema_str, self._references(client, found.references or (), what))

    def _references(self, client: Any, refers: Sequence[Any], what: str) -> tuple[Reference, ...]:
        found = []
        for refer in refers:
            inner = client.get_version(refer.subject, refer.version)
            schema = self._understood(client, inner.schema, f"{refer.name}, to which {what} refers,")
            found.append(Reference(refer.name, refer.subject, int(refer.version), schema))
        return tuple(found)

    @staticmethod
    def _level(client: Any, subject: str) -> str:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return str(client.get_compatibility(subject))
        except SchemaRegistryError as error:
            if error.http_status_code != NOT_FOUND:
                raise
            return str(client.get_compatibility())

    def _client(self) -> Any:
        from confluent_kafka.schema_registry import SchemaRegistryClient

        return SchemaRegistryClient(self._settings)


class _Errors:
    """What the client raises, as one line."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if getattr(error, "error_code", None) == SCHEMA_NOT_FOUND:
            raise UnknownSchemaError(f"schema registry {self._url} knows no such schema") from error
        if isinstance(error, Exception) and not isinstance(error, QuantLakeError):
            raise QuantLakeError(f"schema registry {self._url}: {type(error).__name__}: {' '.join(str(error).split())}") from error
