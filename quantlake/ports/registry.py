"""The schema registry port, with the subset of Confluent's API that is used."""

from typing import Protocol

from quantlake.contract import QuantLakeError
from quantlake.contract.schemas import Schema


class UnknownSchemaError(QuantLakeError):
    """The registry answers, and knows no such schema id, or one that is neither Avro nor Protobuf."""


class Registry(Protocol):
    """Subjects, versions and globally unique schema ids; Avro and Protobuf, with references."""

    def register(self, subject: str, schema: Schema) -> int:
        """Register a schema and return its id, the old id if it is there already. What it refers to has to be registered before.

        Raises ``QuantLakeError`` if readers of the new schema could not read data of the subject's newest one (BACKWARD), or where
        a version that it refers to is not there.
        """
        ...

    def schema(self, schema_id: int) -> Schema:
        """The schema of an id, with its references. Raises ``UnknownSchemaError`` where the registry has no such id."""
        ...

    def latest(self, subject: str) -> tuple[int, Schema]:
        """Id and schema of a subject's newest version. Raises ``QuantLakeError`` (unknown subject)."""
        ...
