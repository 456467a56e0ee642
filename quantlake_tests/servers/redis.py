"""Redis, for tests: Debian's ``redis-server``, every write on disk before it is answered, a password, TLS where asked for."""

import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from quantlake_tests.servers.processes import Server

DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": '""'}


@dataclass(kw_only=True)
class RedisServer(Server):
    """``password`` is that of the user ``default``; ``tls``: only TLS is spoken, by a certificate that ``certificate`` signs."""

    name: ClassVar[str] = "redis"
    password: str = field(repr=False)
    tls: bool = False

    @classmethod
    def start(cls, folder: Path, *, tls: bool = False) -> "RedisServer":
        folder.mkdir(parents=True, exist_ok=True)
        server = cls(folder=folder, password=secrets.token_urlsafe(24), tls=tls)
        settings = {**DURABLE, "bind": "127.0.0.1", "dir": str(folder), "requirepass": server.password, "port": str(server.port)}
        if tls:
            server._certify()
            settings |= {"port": "0", "tls-port": str(server.port), "tls-auth-clients": "no"}
            settings |= {"tls-cert-file": str(server.certificate), "tls-key-file": str(folder / "key.pem"), "tls-ca-cert-file": str(server.certificate)}
        (folder / "redis.conf").touch(mode=0o600)  # a password in the command line would be everyone's to see
        (folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        server.run()
        return server

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def connection(self) -> str:
        """The connection string as Feast spells it."""
        return self.connection_of(self.password)

    def connection_of(self, password: str) -> str:
        tls = f",ssl=true,ssl_ca_certs={self.certificate}" if self.tls else ""
        return f"{self.address},password={password}{tls}" if password else f"{self.address}{tls}"

    def command(self) -> Sequence[str | Path]:
        return ["redis-server", self.folder / "redis.conf"]

    def answers(self) -> bool:
        from redis import RedisError

        with self.client() as client:
            try:
                return int(client.info("server")["process_id"]) == self.process.pid  # refused until the files are read
            except RedisError:
                return False

    def client(self) -> Any:
        """A client of its own, to be closed."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        tls = {"ssl": True, "ssl_ca_certs": str(self.certificate)} if self.tls else {}
        return Redis(host="127.0.0.1", port=self.port, password=self.password, retry=Retry(NoBackoff(), 0), **tls)

    def _certify(self) -> None:
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(self.folder / "key.pem")]
        command = ["openssl", "req", "-x509", *key, "-out", str(self.certificate), "-days", "2", *names]
        subprocess.run(command, check=True, capture_output=True)


def why_not() -> str | None:
    """Why Redis cannot be run here, if it cannot."""
    return None if shutil.which("redis-server") else "there is no `redis-server`: apt-get install redis-server"


def version() -> str:
    said = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
    return next(word.removeprefix("v=") for word in said.split() if word.startswith("v="))
