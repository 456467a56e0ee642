"""What a live client counts, and says.

Here: the counts and their JSON. Not here: where they are shown (the command line).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TOLD_SECONDS = 1.0


@dataclass
class Stats:
    """Counts since the start; times in nanoseconds since 1970.

    ``messages`` of ``characters`` were received, ``acknowledged`` of them taken by the broker, ``lost`` given up. ``gaps``: times that messages were found
    missing (a connection that broke is a ``reconnect``); ``resyncs``: snapshots asked for again; ``errors``: complaints of the exchange,
    failed requests, messages that are not understood; ``retries``: batches that were sent again.
    """

    messages: int = 0
    characters: int = 0
    acknowledged: int = 0
    lost: int = 0
    connections: int = 0
    reconnects: int = 0
    gaps: int = 0
    resyncs: int = 0
    snapshots: int = 0
    errors: int = 0
    retries: int = 0
    last_error: str = ""
    trouble: str = ""  # why nothing is delivered, while it is so
    paused: bool = False  # nothing is read, since the buffer is full
    acknowledged_to: int | None = None  # receive time of the newest acknowledged message
    oldest: int | None = None  # receive time of the oldest that is not

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest message that is not acknowledged; 0 where all are."""
        return max(time.time_ns() - self.oldest, 0) / 1e9 if self.oldest else 0.0

    @property
    def state(self) -> str:
        """How it stands beside the messages, in words."""
        return f"{self.connections} connections, {self.reconnects:,} reconnects, {self.gaps:,} gaps, {self.errors:,} errors"

    def shown(self) -> dict[str, Any]:
        """Of JSON's types."""
        times = {name: _time(getattr(self, name)) for name in ("acknowledged_to", "oldest")}
        return vars(self) | times | {"lag_seconds": round(self.lag_seconds, 3)}


@dataclass
class AskedStats(Stats):
    """Of a client that asks: ``messages`` are rows, ``unchanged`` the requests whose answer was the one before."""

    requests: int = 0
    unchanged: int = 0

    @property
    def state(self) -> str:
        return f"{self.requests:,} requests, {self.unchanged:,} unchanged, {self.errors:,} errors"


@dataclass
class ChainStats(AskedStats):
    """Of a client that follows a chain: ``blocks`` were sent, up to the height ``tip``, where the nodes are at ``head``.

    ``reorganisations``: times that the chain lost blocks, ``deepest`` of them at most.
    """

    chain_id: int | None = None
    blocks: int = 0
    tip: int | None = None
    head: int | None = None
    reorganisations: int = 0
    deepest: int = 0

    @property
    def state(self) -> str:
        newest = "" if self.head is None else f" of {self.head:,}"
        at = f"no block yet{newest}" if self.tip is None else f"block {self.tip:,}{newest}"
        return f"{at}, {self.blocks:,} blocks, {self.reorganisations:,} reorganisations, {self.requests:,} requests, {self.errors:,} errors"


def _time(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat().replace("+00:00", "Z")


class Teller:
    """Counts what goes wrong and says it, each kind once a second at most: all are counted, and the next line says how many were not said."""

    def __init__(self, stats: Stats, say: Callable[[str], None]) -> None:
        self.stats, self.say = stats, say
        self._told: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def gap(self, words: str) -> None:
        self.stats.gaps += 1
        self._tell("gap", words)

    def error(self, words: str) -> None:
        self.stats.errors += 1
        self.stats.last_error = words
        self._tell("error", words)

    def _tell(self, kind: str, words: str) -> None:
        now = time.monotonic()
        if now - self._told.get(kind, -TOLD_SECONDS) < TOLD_SECONDS:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        more = self._unsaid.pop(kind, 0)
        self._told[kind] = now
        self.say(f"{kind}: {words}" + (f" (and {more:,} more before)" if more else ""))
