"""A stand-in for tests, no product: the subset of Confluent's documented schema registry API that is used, on loopback.

After the public API reference: POST /subjects/{s}/versions and /subjects/{s}, GET /schemas/ids/{id}, /subjects/{s}/versions/{v},
GET and PUT /config/{s}, GET /config, errors 40401, 40402, 40403, 40408, 409 and 401, BACKWARD compatibility, references, one id for
one schema. Its rule for Protobuf is ours.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from quantlake.contract import QuantLakeError
from quantlake.contract.schemas import Reference, Schema, require_backward

USER, PASSWORD = "reader", "s3cret-pässword"


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Api:
    """Schemas by id (kind, text and references as they were sent), ids by subject, levels by subject."""

    def __init__(self) -> None:
        self.schemas: list[tuple[str, str, str]] = []
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        ways: list[tuple[str, str, Callable[..., dict[str, Any]]]] = [
            ("GET", r"/schemas/ids/(\d+)", lambda id_: self._schema(int(id_))),
            ("GET", r"/subjects/([^/]+)/versions/(latest|\d+)", self._version),
            ("POST", r"/subjects/([^/]+)/versions", lambda s: {"id": self._register(s, *_sent(body))}),
            ("POST", r"/subjects/([^/]+)", lambda s: self._lookup(s, *_sent(body))),
            ("GET", r"/config/([^/]+)", self._level),
            ("PUT", r"/config/([^/]+)", lambda s: self.levels.update({s: body["compatibility"]}) or body),
            ("GET", r"/config", lambda: {"compatibilityLevel": "BACKWARD"}),
        ]
        with self._lock:
            for known, pattern, way in ways:
                if method == known and (found := re.fullmatch(pattern, path)):
                    return way(*map(unquote, found.groups()))
        raise Refused(404, 404, f"HTTP 404 Not Found: {method} {path}")

    def _schema(self, schema_id: int) -> dict[str, Any]:
        if not 0 < schema_id <= len(self.schemas):
            raise Refused(404, 40403, f"Schema {schema_id} not found")
        kind, text, refers = self.schemas[schema_id - 1]
        more = ({} if kind == "AVRO" else {"schemaType": kind}) | ({"references": json.loads(refers)} if refers != "[]" else {})
        return {"schema": text, **more}

    def _version(self, subject: str, version: str) -> dict[str, Any]:
        if subject not in self.subjects:
            raise Refused(404, 40401, f"Subject '{subject}' not found.")
        ids = self.subjects[subject]
        number = len(ids) if version == "latest" else int(version)
        if not 0 < number <= len(ids):
            raise Refused(404, 40402, f"Version {version} not found.")
        return {"subject": subject, "version": number, "id": ids[number - 1], **self._schema(ids[number - 1])}

    def _lookup(self, subject: str, *sent: str) -> dict[str, Any]:
        ids = self.subjects.get(subject)
        if ids is None:
            raise Refused(404, 40401, f"Subject '{subject}' not found.")
        for number, id_ in enumerate(ids, 1):
            if self.schemas[id_ - 1] == sent:
                return self._version(subject, str(number))
        raise Refused(404, 40403, "Schema not found")

    def _level(self, subject: str) -> dict[str, Any]:
        if subject not in self.levels:
            raise Refused(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured")
        return {"compatibilityLevel": self.levels[subject]}

    def _register(self, subject: str, *sent: str) -> int:
        ids = self.subjects.get(subject, [])
        new = self._understood(*sent)
        if sent not in self.schemas:
            try:
                if ids:
                    require_backward(subject, self._understood(*self.schemas[ids[-1] - 1]), new)
            except QuantLakeError as error:
                raise Refused(409, 409, f"Schema being registered is incompatible with an earlier schema for subject \"{subject}\": {error}") from error
            self.schemas.append(sent)  # type: ignore[arg-type]
        schema_id = self.schemas.index(sent) + 1  # type: ignore[arg-type]
        if schema_id not in ids:
            self.subjects[subject] = [*ids, schema_id]
        return schema_id

    def _understood(self, kind: str, text: str, refers: str) -> Schema:
        found = []
        for r in json.loads(refers):
            there = self._version(r["subject"], str(r["version"]))
            inner = self._understood(there.get("schemaType", "AVRO"), there["schema"], json.dumps(there.get("references", [])))
            found.append(Reference(r["name"], r["subject"], r["version"], inner))
        return Schema(kind, text, tuple(found))  # type: ignore[arg-type]


def _sent(body: dict[str, Any]) -> tuple[str, str, str]:
    return body.get("schemaType", "AVRO"), body["schema"], json.dumps(body.get("references") or [])


@contextmanager
def serving() -> Iterator[tuple[Api, str]]:
    """The API and its address, behind basic authentication of ``USER`` and ``PASSWORD``."""
    api = Api()
    allowed = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            try:
                if self.headers.get("Authorization") != allowed:
                    raise Refused(401, 401, "Unauthorized")
                status, answer = 200, api.answer(self.command, urlsplit(self.path).path, body)
            except Refused as error:
                status, answer = error.status, {"error_code": error.code, "message": str(error)}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
