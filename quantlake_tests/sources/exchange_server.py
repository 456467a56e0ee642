"""A loopback exchange: plays scripts of recorded messages over websockets and answers REST, with TLS where it is given a certificate.

It runs in a thread of its own. Each connection plays the next script, the last one again and again, and then stays open and silent.
"""

import asyncio
import gzip
import http
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from quantlake_tests.recorded import recorded

CAPTURES = "market/cryptofeed_raw_ws"
INBOUND = re.compile(r"[0-9.]+: (.*)", re.DOTALL)
ANSWER = re.compile(r"https://[^/]+(\S+) -> [0-9.]+: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Cut:
    """The connection breaks, without a close frame; all that was sent before arrives."""


@dataclass(frozen=True)
class Ping:
    """Waits for the pong."""


@dataclass(frozen=True)
class Await:
    """Waits until the client has sent a message with these words."""

    words: str


Step = str | bytes | Pause | Cut | Ping | Await
Answer = tuple[int, dict[str, str], str]


def lines(name: str) -> list[str]:
    with gzip.open(recorded(f"{CAPTURES}/{name}.gz"), "rt", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


def inbound(name: str) -> list[str]:
    """The messages of a capture that were received, in order."""
    return [found[1] for line in lines(name) if (found := INBOUND.fullmatch(line))]


def snapshots() -> dict[str, str]:
    """Binance's depth snapshots by path and query."""
    return {found[1]: found[2] for line in lines("BINANCE.http.0.0") if (found := ANSWER.fullmatch(line))}


def answering(bodies: dict[str, str]) -> Callable[[str], Answer]:
    return lambda path: (200, {}, bodies[path]) if path in bodies else (400, {}, '{"code":-1121,"msg":"Invalid symbol."}')


@dataclass
class Seen:
    """One connection: what it was sent (handed to the network), what it said."""

    path: str
    sent: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    pongs: int = 0
    ended: bool = False


class ExchangeServer:
    """Context manager; ``connections`` and ``requests`` (time, path) are what it saw. ``refusals``: answers to the first attempts to connect;
    bytes in a script are sent as text, be they UTF-8 or not."""

    def __init__(
        self, scripts: Sequence[Iterable[Step]], rest: Callable[[str], Answer] | None = None, certificate: Path | None = None, *, forever: bool = False,
        refusals: Iterable[Answer] = (),
    ) -> None:  # fmt: skip
        self._scripts, self._rest, self._certificate, self._forever = scripts, rest or answering({}), certificate, forever
        self._refusals = iter(refusals)
        self.connections: list[Seen] = []
        self.requests: list[tuple[float, str]] = []
        self._up, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), name="exchange")

    def __enter__(self) -> "ExchangeServer":
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"{'wss' if self._certificate else 'ws'}://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def sent(self) -> list[str]:
        return [message for seen in self.connections for message in seen.sent]

    async def _serve(self) -> None:
        self._down = asyncio.Event()
        tls = None
        if self._certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self._certificate)
        async with serve(self._play, "127.0.0.1", 0, ssl=tls, process_request=self._answer, ping_interval=None, close_timeout=0.5) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._up.set()
            await self._down.wait()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        answer: Answer | None
        if request.headers.get("Upgrade"):
            answer = next(self._refusals, None)
        else:
            self.requests.append((time.monotonic(), request.path))
            answer = self._rest(request.path)
        if answer is None:
            return None
        status, headers, body = answer
        content = body.encode()
        headers = {"Content-Length": str(len(content)), "Content-Type": "application/json", "Connection": "close", **headers}
        return Response(status, http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Banned", Headers(headers), content)

    async def _play(self, socket: ServerConnection) -> None:
        assert socket.request
        seen = Seen(socket.request.path)
        script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
        self.connections.append(seen)
        listening = asyncio.ensure_future(self._listen(socket, seen))
        try:
            while True:
                for step in script:
                    await self._step(socket, seen, step)
                if not self._forever:
                    break
                await asyncio.sleep(0.001)  # a send need not yield, and the client's end has to be heard
            await socket.wait_closed()
        except (ConnectionClosed, ConnectionError):
            pass
        finally:
            seen.ended = True
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _step(self, socket: ServerConnection, seen: Seen, step: Step) -> None:
        if isinstance(step, str | bytes):
            await socket.send(step, text=True)
            seen.sent.append(str(step))
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Ping):
            await (await socket.ping())
            seen.pongs += 1
        elif isinstance(step, Await):
            while not any(step.words in said for said in seen.said):
                await asyncio.sleep(0.01)
        else:
            transport: Any = socket.transport
            transport.close()
            await socket.wait_closed()
            raise ConnectionError

    async def _listen(self, socket: ServerConnection, seen: Seen) -> None:
        async for message in socket:
            seen.said.append(str(message))
