"""A ClickHouse server, for tests: one that is there, named by ``QUANTLAKE_CLICKHOUSE_URL``.

Package registries have none that would do: Debian's ``clickhouse-server`` is 18.16 of 2018, before DateTime64 and Decimal256.
"""

import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

VARIABLE = "QUANTLAKE_CLICKHOUSE_URL"


@dataclass(frozen=True)
class ClickHouseServer:
    """What the address says; the server's life is its owner's business."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    secure: bool

    @classmethod
    def found(cls) -> "ClickHouseServer":
        """The one that the environment names, ``http(s)://user:password@host:port``. Raises ``RuntimeError`` (none, or no address)."""
        parts = urlsplit(os.environ.get(VARIABLE, ""))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RuntimeError(f"{VARIABLE} is no address; write http://user:password@host:port")
        secure = parts.scheme == "https"
        username, password = unquote(parts.username or "default"), unquote(parts.password or "")
        return cls(parts.hostname, parts.port or (8443 if secure else 8123), username, password, secure)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def why_not() -> str | None:
    """Why no ClickHouse server can be used here, if none can."""
    if os.environ.get(VARIABLE):
        return None
    start = "docker run -p 8123:8123 -e CLICKHOUSE_PASSWORD=secret clickhouse/clickhouse-server"
    return f"no ClickHouse server is named: start one (`{start}`) and set {VARIABLE}=http://default:secret@127.0.0.1:8123"
