"""A server process of the tests: started on a free port with its output in a file, waited for, ended, started again.

Here: what is the same for every server. Not here: any one server's command, files and health.
"""

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import psutil

STOP_SECONDS = 20.0


def free_port() -> int:
    """A free port below those that the kernel gives to outgoing connections: one of these could take it while the server is down."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Server(ABC):
    """A server over ``folder``, on a port of 127.0.0.1. Errors are ``RuntimeError`` naming its output, ``folder/<name>.log``.

    It is in a session of its own: the terminal's Ctrl-C reaches only who started it.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    name: ClassVar[str]
    start_seconds: ClassVar[float] = 60.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The program and its arguments; it stays in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether this server, not another on its port, serves."""

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def account(self) -> tuple[int, int] | None:
        """The user and group it runs as; None: ours."""
        return None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that was started last."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self) -> None:
        """Start it on what is in ``folder``, and wait until it answers."""
        if self.running():
            raise RuntimeError(f"{self.name} runs already, as process {self.process.pid}")
        user, group = self.account() or (None, None)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.environment()), cwd="/",
                start_new_session=True, user=user, group=group, extra_groups=None if user is None else [],
            )  # fmt: skip
        try:
            self._wait(self._process)
        except BaseException:  # an interrupted wait too must not leave a server behind
            self.kill()
            raise

    def stop(self) -> None:
        """End it in order; one that does not end in 20 s is killed."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL it and its children: PostgreSQL's are in process groups of their own, and hold its data until they notice."""
        if self._process is None:
            return
        children: list[psutil.Process] = []
        if self.running():  # else its number may be another's by now
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, STOP_SECONDS)
        self._process.wait()

    def restart(self) -> None:
        """Start it again, stopped first if it runs, on the same data and port."""
        self.stop()
        self.run()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_seconds
        while process.poll() is None:
            if self.answers():
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not answer at {self.address} in {self.start_seconds:.0f} s; its output is in {self.log}")
            time.sleep(0.05)
        last = self.log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"{self.name} ended with status {process.returncode} ({last}); its output is in {self.log}")
