"""A pipe to a Kafka broker on loopback that takes so many bytes and no more, so that a producer stands still in its middle.

The broker's answers name its own address, to which a client would go past the gate: its port there is replaced by the gate's.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CHUNK = 16_384


@contextmanager
def gate(broker_port: int, takes: int) -> Iterator[int]:
    """The port of a gate that lets ``takes`` bytes in all through to the broker; answers pass freely."""
    opened: list[socket.socket] = []
    left = [takes]
    lock = threading.Lock()
    closed = threading.Event()

    def inwards(data: bytes) -> bytes:
        with lock:
            left[0] -= len(data)
        while left[0] <= 0 and not closed.wait(0.05):
            pass
        return b"" if closed.is_set() else data

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection(("127.0.0.1", broker_port))
                opened.extend((client, upstream))
                for source, target, passed in ((client, upstream, inwards), (upstream, client, outwards)):
                    threading.Thread(target=_pump, args=(source, target, passed), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        theirs, ours = (b"127.0.0.1" + p.to_bytes(4, "big") for p in (broker_port, port))

        def outwards(data: bytes) -> bytes:
            return data.replace(theirs, ours)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield port
        finally:
            closed.set()
            listener.shutdown(socket.SHUT_RDWR)
            for connection in opened:
                connection.close()


def _pump(source: socket.socket, target: socket.socket, passed: Callable[[bytes], bytes]) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(passed(data))
        target.shutdown(socket.SHUT_WR)
