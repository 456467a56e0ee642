"""A loopback HTTP server: answers GET by a function of path and headers, and keeps what it was asked."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from quantlake_tests.sources.loopback import Loopback


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]  # names in lower case
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def validated(asked: Asked, body: bytes, etag: str) -> Answer:
    """A document with its ETag; 304 where the one who asks has it."""
    return Answer(304) if asked.headers.get("if-none-match") == etag else Answer(200, body, {"ETag": etag})


class DocumentServer(Loopback):
    """Context manager; ``asked`` is every request in order."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
                server.asked.append(asked)
                found = answer(asked)
                self.send_response(found.status)
                for name, value in {"Content-Length": str(len(found.body)), **found.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(found.body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)


def played(answers: Mapping[str, Sequence[Answer]]) -> DocumentServer:
    """A server of these paths (404 elsewhere): at each one answer after the other, the last one again and again; 304 to who has its ETag."""
    left = {path: list(listed) for path, listed in answers.items()}

    def answer(asked: Asked) -> Answer:
        listed = left.get(asked.path, [Answer(404, b"nothing")])
        found = listed.pop(0) if len(listed) > 1 else listed[0]
        etag = found.headers.get("ETag")
        return validated(asked, found.body, etag) if etag else found

    return DocumentServer(answer)
