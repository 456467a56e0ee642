"""Why a broker refuses us. The client tries again for ever, and says why only beside: to a callback, or not at all.

Here: hearing it, and saying in a line what to check. Never a password: the client's words have none.
"""

import socket
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.ports import LogBrokenError

CHECKS = {
    "_AUTHENTICATION": "QUANTLAKE_KAFKA_USERNAME, _PASSWORD, _SASL_MECHANISM and _SECURITY_PROTOCOL",
    "_SSL": "QUANTLAKE_KAFKA_CA_FILE, _SECURITY_PROTOCOL, and the broker's certificate: its names, and whether it has expired",
    "_INVALID_ARG": "QUANTLAKE_KAFKA_CA_FILE, _SASL_MECHANISM and _SECURITY_PROTOCOL",
}


class Refusals:
    """What the clients of one cluster heard last; ``heard`` is their callback."""

    def __init__(self, address: str, protocol: str) -> None:
        self._address, self._protocol = address, protocol
        self._last: Any = None

    def heard(self, error: Any) -> None:
        if error.name() in CHECKS:
            self._last = error

    def over(self) -> None:
        """It has answered."""
        self._last = None

    @property
    def any(self) -> bool:
        return self._last is not None

    def error(self, error: Exception) -> QuantLakeError:
        """What a person should read in place of a client's error."""
        if isinstance(error, LogBrokenError):
            return error
        kafka = error.args[0] if error.args and hasattr(error.args[0], "name") else None
        refused = kafka if kafka is not None and kafka.name() == "_INVALID_ARG" else self._last
        if refused is not None:
            told = " ".join(refused.str().split())
            return QuantLakeError(f"no connection to the broker at {self._address}: {told}; check {CHECKS[refused.name()]}")
        if isinstance(error, QuantLakeError):
            return error
        if kafka is not None and kafka.name().endswith("AUTHORIZATION_FAILED"):
            rights = "Describe on it, Read to land, Write to produce, Create to register"
            return QuantLakeError(f"the broker at {self._address} does not allow it: {kafka.str()}; a topic's user needs {rights}")
        detail = str(error.args[0]) if error.args else type(error).__name__
        if self._listens():
            return QuantLakeError(
                f"no broker answers at {self._address} ({detail}), though something listens there; does it speak {self._protocol}? "
                "Check QUANTLAKE_KAFKA_SECURITY_PROTOCOL"
            )
        return QuantLakeError(f"no broker answers at {self._address} ({detail}); start one with `quantlake up`, or set QUANTLAKE_KAFKA_BOOTSTRAP")

    def _listens(self) -> bool:
        for place in self._address.split(","):
            host, _, port = place.rpartition("://")[2].rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
                return True
            except (OSError, ValueError):
                continue
        return False
