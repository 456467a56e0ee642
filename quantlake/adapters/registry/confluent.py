"""A Confluent-API schema registry (Confluent, Redpanda, Apicurio's compatibility API) through confluent-kafka's client."""

import json
from typing import Any
from urllib.parse import unquote, urlsplit

from quantlake.contract import QuantLakeError
from quantlake.ports import UnknownSchemaError

SCHEMA_NOT_FOUND = 40403


class ConfluentRegistry:
    """The registry at ``url``. Raises ``QuantLakeError`` naming the address, never the password."""

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        parts = urlsplit(url)  # a password in the address goes where no error shows it
        if parts.username and not username:
            username, password = unquote(parts.username), unquote(parts.password or "")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._settings = {"url": self._url} | ({"basic.auth.user.info": f"{username}:{password}"} if username else {})
        self._schemas: dict[int, dict[str, Any]] = {}

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        from confluent_kafka.schema_registry import Schema

        with _Errors(self._url), self._client() as client:
            return int(client.register_schema(subject, Schema(json.dumps(schema), "AVRO")))

    def schema(self, schema_id: int) -> dict[str, Any]:
        if schema_id not in self._schemas:
            with _Errors(self._url), self._client() as client:
                found = client.get_schema(schema_id)
            schema = json.loads(found.schema_str) if found.schema_type == "AVRO" else None
            if not isinstance(schema, dict):  # a message that names it is a dead letter, no reason to stop landing
                raise UnknownSchemaError(f"schema {schema_id} of registry {self._url} is no Avro record ({found.schema_type})")
            self._schemas[schema_id] = schema
        return self._schemas[schema_id]

    def latest(self, subject: str) -> tuple[int, dict[str, Any]]:
        with _Errors(self._url), self._client() as client:
            found = client.get_latest_version(subject)
        return int(found.schema_id), dict(json.loads(found.schema.schema_str))

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
        if isinstance(error, Exception):
            raise QuantLakeError(f"schema registry {self._url}: {type(error).__name__}: {error}") from error
