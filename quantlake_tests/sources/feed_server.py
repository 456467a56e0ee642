"""A web server on loopback that plays what it is told: at each path one answer after the other, the last one again and again."""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Answer:
    """``etag``: with it, a request that has it already is answered 304."""

    content: bytes = b""
    status: int = 200
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class FeedServer:
    """``asked`` are the headers of the requests at each path, in order."""

    def __init__(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        self.answers = {path: list(listed) for path, listed in answers.items()}
        self.asked: dict[str, list[Mapping[str, str]]] = defaultdict(list)
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                served.asked[self.path].append(dict(self.headers))
                listed = served.answers.get(self.path, [Answer(b"nothing", 404)])
                answer = listed.pop(0) if len(listed) > 1 else listed[0]
                unchanged = bool(answer.etag) and self.headers.get("If-None-Match") == answer.etag
                content = b"" if unchanged else answer.content
                self.send_response(304 if unchanged else answer.status)
                for name, value in {**answer.headers, **({"ETag": answer.etag} if answer.etag else {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FeedServer":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
