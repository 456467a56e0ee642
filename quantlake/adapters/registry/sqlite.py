"""The embedded schema registry: a SQLite file, with Confluent's BACKWARD rule."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from quantlake.contract import QuantLakeError
from quantlake.contract.schemas import Kind, Reference, Schema, require_backward
from quantlake.ports import UnknownSchemaError

TABLE = (
    "CREATE TABLE IF NOT EXISTS schemas (id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT, schema TEXT, "
    "kind TEXT DEFAULT 'AVRO', refers TEXT DEFAULT '[]')"
)
LATER = ("kind TEXT DEFAULT 'AVRO'", "refers TEXT DEFAULT '[]'")  # columns that a registry of an earlier release lacks


class SqliteRegistry:
    """Subjects, versions and ids in ``path``; several processes may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def register(self, subject: str, schema: Schema) -> int:
        refers = json.dumps([[r.name, r.subject, r.version] for r in schema.references])
        with self._database() as database:
            known = database.execute(
                "SELECT id FROM schemas WHERE subject = ? AND kind = ? AND schema = ? AND refers = ?", (subject, schema.kind, schema.text, refers)
            ).fetchone()  # fmt: skip
            if known:
                return int(known[0])
            schema = Schema(schema.kind, schema.text, self._references(database, refers))
            newest = self._newest(database, subject)
            require_backward(subject, newest[1] if newest else schema, schema)  # a first one has to read its own data
            values = (subject, schema.text, schema.kind, refers)
            added = database.execute("INSERT INTO schemas (subject, schema, kind, refers) VALUES (?, ?, ?, ?)", values)
            return int(added.lastrowid or 0)

    def schema(self, schema_id: int) -> Schema:
        with self._database() as database:
            found = database.execute("SELECT kind, schema, refers FROM schemas WHERE id = ?", (schema_id,)).fetchone()
            if found is None:
                raise UnknownSchemaError(f"the schema registry {self._path} knows no schema {schema_id}")
            return self._schema(database, *found)

    def latest(self, subject: str) -> tuple[int, Schema]:
        with self._database() as database:
            found = self._newest(database, subject)
        if found is None:
            raise QuantLakeError(f"subject {subject} is not registered in {self._path}; run `quantlake contract register`")
        return found

    def _newest(self, database: sqlite3.Connection, subject: str) -> tuple[int, Schema] | None:
        row = database.execute("SELECT id, kind, schema, refers FROM schemas WHERE subject = ? ORDER BY id DESC LIMIT 1", (subject,)).fetchone()
        return (int(row[0]), self._schema(database, *row[1:])) if row else None

    def _schema(self, database: sqlite3.Connection, kind: str, text: str, refers: str) -> Schema:
        return Schema(cast(Kind, kind), text, self._references(database, refers))

    def _references(self, database: sqlite3.Connection, refers: str) -> tuple[Reference, ...]:
        found = []
        for name, subject, version in json.loads(refers):
            row = database.execute(
                "SELECT kind, schema, refers FROM schemas WHERE subject = ? ORDER BY id LIMIT 1 OFFSET ?", (subject, version - 1)
            ).fetchone() if version > 0 else None  # fmt: skip
            if row is None:
                raise QuantLakeError(f"{name} refers to version {version} of {subject}, which is not in {self._path}; register that first")
            found.append(Reference(name, subject, version, self._schema(database, *row)))
        return tuple(found)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")  # two processes that register at once must not both insert
            with database:
                database.execute(TABLE)
                have = {row[1] for row in database.execute("PRAGMA table_info(schemas)")}
                for column in LATER:
                    if column.split()[0] not in have:
                        database.execute(f"ALTER TABLE schemas ADD COLUMN {column}")
                yield database
        finally:
            database.close()
