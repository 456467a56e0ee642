"""A loopback HTTP proxy between a client and a server, for tests: it forwards, and on order it fails as networks and servers do.

It answers errors or cuts the connection before or after the server has had the request, and goes away and comes back. Chunked bodies
are passed on whole. Not here: what the server is.
"""

import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP = {"connection", "keep-alive", "expect", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What happens to requests whose line ("POST /v1/config", with AWS's target behind it where there is one) matches ``pattern``."""

    pattern: str
    status: int | None = None  # the answer; None: the connection is cut
    forwarded: bool = False  # whether the server has had the request
    times: int = 1
    body: bytes = b""
    held: threading.Event | None = None  # answered no sooner
    after: "Fault | None" = None  # only once that one was hit
    hit: int = 0


@dataclass
class Proxy:
    """Forwards to ``upstream`` (host, port); ``port`` stays the same over ``cut`` and ``reconnect``. Its threads end with ``stop``."""

    upstream: tuple[str, int]
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def start(cls, port: int) -> "Proxy":
        """A proxy on a free port to a port of this machine."""
        proxy = cls(("127.0.0.1", port))
        proxy.reconnect()
        return proxy

    def reconnect(self) -> None:
        """Listen, again after ``cut`` on the same port."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    stop = cut

    def fail(
        self, pattern: str, status: int | None = None, *, forwarded: bool = False, times: int = 1, body: bytes = b"",
        held: threading.Event | None = None, after: Fault | None = None,
    ) -> Fault:  # fmt: skip
        """The next ``times`` requests that match fail so; gives the order, which counts them in ``hit``."""
        fault = Fault(pattern, status, forwarded, times, body, held, after)
        self.faults.append(fault)
        return fault

    def fault_for(self, line: str) -> Fault | None:
        with self._server.lock:
            self.seen.append(line)
            for fault in self.faults:
                if fault.hit < fault.times and (fault.after is None or fault.after.hit) and re.search(fault.pattern, line):
                    fault.hit += 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], proxy: Proxy) -> None:
        self.proxy, self.lock, self.open = proxy, threading.Lock(), set[socket.socket]()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self.lock:
            for request in self.open:
                _shut(request)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self._body()
        line = f"{self.command} {self.path} {self.headers.get('X-Amz-Target', '')}".rstrip()
        fault = self.server.proxy.fault_for(line)
        answer = None
        if fault is None or fault.forwarded:
            try:
                answer = self._forwarded(body)
            except (OSError, HTTPException):  # the server is not there: neither is this
                self._cut()
                return
        if fault is not None:
            if fault.held is not None:
                fault.held.wait(60)
            if fault.status is None:
                self._cut()
                return
            answer = (fault.status, [("Content-Type", "application/xml")], fault.body)
        assert answer is not None
        self._answer(*answer)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = HTTPConnection(*self.server.proxy.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the host too, as what was signed
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
            headers = [(n, v) for n, v in response.getheaders() if n.lower() not in HOP]
            if self.command == "HEAD" and (length := response.getheader("Content-Length")):
                headers.append(("Content-Length", length))
            return response.status, headers, content
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers) and status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _cut(self) -> None:
        self.close_connection = True
        _shut(self.connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was shut by the other end
        connection.shutdown(socket.SHUT_RDWR)
