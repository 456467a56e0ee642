"""The embedded schema registry: a SQLite file, with Confluent's BACKWARD rule."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.ports import UnknownSchemaError


class SqliteRegistry:
    """Subjects, versions and ids in ``path``; several processes may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        text = json.dumps(schema, sort_keys=True)
        with self._database() as database:
            known = database.execute("SELECT id FROM schemas WHERE subject = ? AND schema = ?", (subject, text)).fetchone()
            if known:
                return int(known[0])
            newest = database.execute("SELECT schema FROM schemas WHERE subject = ? ORDER BY id DESC LIMIT 1", (subject,)).fetchone()
            if newest:
                _require_backward(subject, json.loads(newest[0]), schema)
            return int(database.execute("INSERT INTO schemas (subject, schema) VALUES (?, ?)", (subject, text)).lastrowid or 0)

    def schema(self, schema_id: int) -> dict[str, Any]:
        with self._database() as database:
            found = database.execute("SELECT schema FROM schemas WHERE id = ?", (schema_id,)).fetchone()
        if found is None:
            raise UnknownSchemaError(f"the schema registry {self._path} knows no schema {schema_id}")
        return dict(json.loads(found[0]))

    def latest(self, subject: str) -> tuple[int, dict[str, Any]]:
        with self._database() as database:
            found = database.execute("SELECT id, schema FROM schemas WHERE subject = ? ORDER BY id DESC LIMIT 1", (subject,)).fetchone()
        if found is None:
            raise QuantLakeError(f"subject {subject} is not registered in {self._path}; run `quantlake contract register`")
        return int(found[0]), dict(json.loads(found[1]))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")  # two processes that register at once must not both insert
            with database:
                database.execute("CREATE TABLE IF NOT EXISTS schemas (id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT, schema TEXT)")
                yield database
        finally:
            database.close()


def _require_backward(subject: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    import avro.schema
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    reader, writer = (avro.schema.parse(json.dumps(s), validate_names=False) for s in (new, old))
    result = ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)  # type: ignore[no-untyped-call]
    if result.compatibility is not SchemaCompatibilityType.compatible:
        raise QuantLakeError(
            f"the new schema of {subject} cannot read what was written with the old one ({'; '.join(sorted(map(str, result.messages)))}); "
            "add columns as nullable, never change or drop one"
        )
