"""Redis as Feast's online store: how it is reached, whose turn it is, and what is said when it refuses.

Here: what Feast leaves to its caller. Not here: rows.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from quantlake.contract import QuantLakeError

LIMITS = {"socket_connect_timeout": 5, "socket_timeout": 20}  # else a server that hangs is waited for without end
LOCK = "quantlake:feast:writer"
LEASE_SECONDS, WAIT_SECONDS = 60, 600  # a killed writer's turn ends with its lease


class RedisOnline:
    """``config`` is Feast's, of type ``redis``. Raises ``QuantLakeError`` where its connection string names no server."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        servers, options = [], {}
        for part in str(config.get("connection_string", "")).split(","):
            name, is_option, value = part.partition("=")
            if is_option:
                options[name] = value
            elif part.rpartition(":")[2].isdigit() and part.count(":") == 1:
                servers.append(part)
        if not servers:
            raise QuantLakeError("the Redis connection string names no server; write host:port, then options such as ,ssl=true,password=...")
        options |= {name: _text(options[name]) for name in ("username", "password") if name in options}
        options |= {name: str(limit) for name, limit in LIMITS.items() if name not in options}
        self._servers = ", ".join(servers)
        self._secret = json.loads(options["password"]) if "password" in options else ""
        # Feast's own comparison (dedup) drops corrections of the same event time
        self.config = {"skip_dedup": True, **config, "connection_string": ",".join([*servers, *("=".join(o) for o in options.items())])}

    @contextmanager
    def turn(self, client: Any) -> Iterator[None]:
        """Be the only writer, of any machine: what is online is read, compared and written. Its work must end within the lease."""
        with client.lock(LOCK, timeout=LEASE_SECONDS, blocking_timeout=WAIT_SECONDS):
            yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What the client raises, as one line with the address and without the password."""
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as error:
            said = " ".join(str(error).split())
            said = said.replace(self._secret, "***") if self._secret else said
            advice = "check that it answers there, whether it speaks TLS (ssl=true), and its password"
            raise QuantLakeError(f"Redis at {self._servers} cannot be used ({type(error).__name__}: {said}); {advice}") from None


def _text(value: str) -> str:
    """An option's value as JSON text, unless it is one: what Feast can read as JSON it does, so a password 1e5 would be 100000.0."""
    try:
        return value if isinstance(json.loads(value), str) else json.dumps(value)
    except ValueError:
        return json.dumps(value)
