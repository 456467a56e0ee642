"""The schema registry port, with the subset of Confluent's API that is used."""

from typing import Any, Protocol

from quantlake.contract import QuantLakeError


class UnknownSchemaError(QuantLakeError):
    """The registry answers, and knows no such schema id."""


class Registry(Protocol):
    """Subjects, versions and globally unique schema ids; Avro."""

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """Register a schema and return its id, the old id if it is there already.

        Raises ``QuantLakeError`` if readers of the new schema could not read data of the subject's newest one (BACKWARD).
        """
        ...

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema of an id. Raises ``UnknownSchemaError`` where the registry has no such id."""
        ...

    def latest(self, subject: str) -> tuple[int, dict[str, Any]]:
        """Id and schema of a subject's newest version. Raises ``QuantLakeError`` (unknown subject)."""
        ...
