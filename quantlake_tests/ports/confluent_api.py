"""A stand-in for tests, no product: the subset of Confluent's documented schema registry API that is used, on loopback.

After the public API reference: POST /subjects/{s}/versions, GET /schemas/ids/{id}, GET /subjects/{s}/versions/latest, errors
40401, 40403, 409 and 401, BACKWARD compatibility, one id for one schema.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

USER, PASSWORD = "reader", "s3cret-pässword"


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Api:
    """Schemas by id (kind and text), ids by subject."""

    def __init__(self) -> None:
        self.schemas: list[tuple[str, str]] = []
        self.subjects: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if (found := re.fullmatch(r"/schemas/ids/(\d+)", path)) and method == "GET":
                return self._schema(int(found[1]))
            if (found := re.fullmatch(r"/subjects/([^/]+)/versions/latest", path)) and method == "GET":
                return self._latest(unquote(found[1]))
            if (found := re.fullmatch(r"/subjects/([^/]+)/versions", path)) and method == "POST":
                return {"id": self._register(unquote(found[1]), body.get("schemaType", "AVRO"), body["schema"])}
        raise Refused(404, 404, f"HTTP 404 Not Found: {method} {path}")

    def _schema(self, schema_id: int) -> dict[str, Any]:
        if not 0 < schema_id <= len(self.schemas):
            raise Refused(404, 40403, f"Schema {schema_id} not found")
        kind, text = self.schemas[schema_id - 1]
        return {"schema": text} | ({} if kind == "AVRO" else {"schemaType": kind})

    def _latest(self, subject: str) -> dict[str, Any]:
        if subject not in self.subjects:
            raise Refused(404, 40401, f"Subject '{subject}' not found.")
        ids = self.subjects[subject]
        return {"subject": subject, "version": len(ids), "id": ids[-1], **self._schema(ids[-1])}

    def _register(self, subject: str, kind: str, text: str) -> int:
        ids = self.subjects.get(subject, [])
        if (kind, text) not in self.schemas:
            if kind == "AVRO" and ids and not compatible(text, self.schemas[ids[-1] - 1][1]):
                raise Refused(409, 409, f"Schema being registered is incompatible with an earlier schema for subject \"{subject}\"")
            self.schemas.append((kind, text))
        schema_id = self.schemas.index((kind, text)) + 1
        if schema_id not in ids:
            self.subjects[subject] = [*ids, schema_id]
        return schema_id


def compatible(reader: str, writer: str) -> bool:
    result = ReaderWriterCompatibilityChecker().get_compatibility(avro.schema.parse(reader), avro.schema.parse(writer))
    return result.compatibility is SchemaCompatibilityType.compatible


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

        do_GET = do_POST = _answer

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
