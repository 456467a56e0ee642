"""A resident client that asks: each document after its time, what is new in it to Kafka, from start to stop.

Here: which such sources there are, asking in turns, sending each row only once. Not here: requests (fetching.py), sending until it is
acknowledged (outbox.py), what a document is and says (a module a source).
"""

import asyncio
import importlib
import ssl
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from quantlake.contract import Document, QuantLakeError, Stream
from quantlake.sources.importers import Read
from quantlake.sources.live.fetching import Fetcher, GoneError
from quantlake.sources.live.limits import Backoff, Rate, Tuning, unless
from quantlake.sources.live.outbox import Outbox, Send
from quantlake.sources.live.stats import AskedStats, Teller
from quantlake.sources.live.venue import Allowance

SOURCES = {"edgar": "quantlake.sources.live.edgar", "feeds": "quantlake.sources.live.feeds"}
"""By the name that ``quantlake ingest`` takes: a module with ``plan(settings: Settings) -> Plan``."""
SEEN_ROWS = 100_000  # a place's newest rows that are remembered, as 8 bytes each
Keep = Callable[[Document], None]


class Desk(Protocol):
    """What a look may use: it asks, and sends."""

    async def document(self, url: str, read: Callable[[bytes], Read], place: str = "") -> tuple[int, int] | None:
        """Ask for a document, send its rows that are new at its ``place`` (by default its address), after the documents they name.

        How many rows it has and how many were new; None: it has not changed. Raises ``QuantLakeError`` where the server has no such
        document, or ``read`` refuses it: it is not taken for seen then.
        """
        ...


@dataclass(frozen=True)
class Poll:
    """Something that is looked at again every so many ``seconds``."""

    name: str
    seconds: float
    look: Callable[[Desk], Awaitable[object]]


@dataclass(frozen=True)
class Plan:
    """What a source is to do. ``allowance`` holds over all requests; ``apart``: they go to servers that have nothing to do with each other;
    ``told`` is what the state file says of it."""

    streams: tuple[Stream, ...]
    polls: Sequence[Poll]
    headers: Mapping[str, str]
    allowance: Allowance
    told: Mapping[str, Any] = field(default_factory=dict)
    apart: bool = False


class Settings:
    """A configuration file (TOML), read once; every error names it and what it is to say."""

    def __init__(self, where: str, said: Mapping[str, Any]) -> None:
        self._path, self._said = where, said

    @classmethod
    def of(cls, path: Path) -> "Settings":
        """Raises ``QuantLakeError`` where it cannot be read."""
        try:
            return cls(str(path), tomllib.loads(path.read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise QuantLakeError(f"--config {path}: {why}; it is to be a TOML file") from None

    def only(self, *names: str) -> None:
        """Raises ``QuantLakeError`` for a setting of another name."""
        if wrong := sorted(self._said.keys() - set(names)):
            raise QuantLakeError(f"{self._path}: there is no setting {wrong[0]!r}; there are {', '.join(names)}")

    def text(self, name: str, default: str | None = None) -> str:
        """Raises ``QuantLakeError`` where it is not text, or missing without a default."""
        found = self._said.get(name, default)
        if not isinstance(found, str) or not found.strip():
            raise QuantLakeError(f'{self._path}: {name} is {found!r}; write it as {name} = "..."')
        return found.strip()

    def maybe(self, name: str) -> str | None:
        """None: it is not there. Raises ``QuantLakeError`` where it is not text."""
        return self.text(name) if name in self._said else None

    def number(self, name: str, default: float, least: float) -> float:
        """Raises ``QuantLakeError`` where it is no number of at least ``least``."""
        found = self._said.get(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not found >= least:
            raise QuantLakeError(f"{self._path}: {name} is {found!r}; it is to be a number of at least {least:g}")
        return float(found)

    def flag(self, name: str, default: bool) -> bool:
        """Raises ``QuantLakeError`` where it is neither true nor false."""
        found = self._said.get(name, default)
        if not isinstance(found, bool):
            raise QuantLakeError(f"{self._path}: {name} is {found!r}; it is to be true or false")
        return found

    def listed(self, name: str) -> list[Any]:
        """Raises ``QuantLakeError`` where it is no list; none where it is not there."""
        found = self._said.get(name, [])
        if not isinstance(found, list):
            raise QuantLakeError(f"{self._path}: {name} is {found!r}; write it as {name} = [..., ...]")
        return found

    def parts(self, name: str) -> list["Settings"]:
        """The tables ``[[name]]``. Raises ``QuantLakeError`` where they are none."""
        found = self.listed(name)
        if not all(isinstance(part, dict) for part in found):
            raise QuantLakeError(f"{self._path}: {name} are no tables; write each as [[{name}]]")
        return [Settings(f"{self._path} {name} {n}", part) for n, part in enumerate(found, 1)]

    def refused(self, name: str, found: object, wanted: str) -> QuantLakeError:
        """The error to raise for a value that cannot be."""
        return QuantLakeError(f"{self._path}: {name}: {found!r} is not {wanted}")


def plan(name: str, config: Path) -> Plan:
    """What a source is to do by its configuration file. Raises ``QuantLakeError`` naming the file and what is wrong in it."""
    made: Plan = importlib.import_module(SOURCES[name]).plan(Settings.of(config))
    return made


class PartlyReadError(QuantLakeError):
    """Some of a document's items are refused; all others were read, and asking again at once would change nothing."""


class Poller:
    """Looks at all of a plan's documents; hands their new rows to ``send``, and what these name before to ``keep``, both of which may block."""

    def __init__(
        self, plan: Plan, send: Send, keep: Keep, say: Callable[[str], None], trust: ssl.SSLContext, tuning: Tuning | None = None
    ) -> None:
        self._plan, self._keep, self._trust, self._tuning = plan, keep, trust, tuning or Tuning()
        self.stats = AskedStats()
        self._teller = Teller(self.stats, say)
        self._outbox = Outbox(send, self._teller, self._tuning)
        self._seen: dict[str, pl.Series] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``, then until what was read is delivered or given up (``stats.lost``)."""
        self._fetcher = Fetcher(self._plan.headers, Rate(self._plan.allowance), self._trust, self._teller, self.stats, self._tuning, self._plan.apart)
        try:
            await asyncio.gather(*(self._poll(poll, stop) for poll in self._plan.polls))
        finally:
            stop.set()
            await self._outbox.settle()
            await self._fetcher.close()

    def abandon(self) -> None:
        """End without waiting for the broker."""
        self._outbox.abandon()

    async def document(self, url: str, read: Callable[[bytes], Read], place: str = "") -> tuple[int, int] | None:
        """See ``Desk``."""
        document = await self._fetcher.get(url)
        if document is None:
            return None
        rows, new = 0, 0
        named: list[Document] = []
        try:
            for found in read(document.content):
                if isinstance(found, Document):
                    named.append(found)
                    continue
                stream, table = found
                hashes = _hashes(stream, table)
                fresh = table.filter(self._fresh(place or url, hashes).to_arrow())
                if fresh.num_rows:
                    await self._outbox.deliver([(stream, fresh)], partial(self._kept, named))
                named = []
                self._remember(place or url, hashes)
                rows, new = rows + table.num_rows, new + fresh.num_rows
        except PartlyReadError as error:
            self._teller.error(str(error))
        self._fetcher.keep(document)
        return rows, new

    async def _poll(self, poll: Poll, stop: asyncio.Event) -> None:
        backoff = Backoff(max(self._tuning.first_delay, min(poll.seconds, 1.0)), max(self._tuning.longest_delay, poll.seconds))
        while not stop.is_set():
            wait = poll.seconds
            try:
                await unless(stop, poll.look(self))
                backoff.reset()
            except GoneError as error:
                self.stats.errors += 1
                self._teller.say(f"{poll.name}: {error}; it is not looked at again")
                return
            except QuantLakeError as error:
                wait = backoff.next()
                self._teller.error(f"{poll.name}: {error}; looked at again in {wait:.1f} s")
            await unless(stop, asyncio.sleep(wait))

    def _kept(self, named: Sequence[Document]) -> None:
        for document in named:
            self._keep(document)

    def _fresh(self, place: str, hashes: pl.Series) -> pl.Series:
        seen = self._seen.get(place)
        return hashes.is_first_distinct() & (~hashes.is_in(seen.implode()) if seen is not None else True)

    def _remember(self, place: str, hashes: pl.Series) -> None:
        before = self._seen.get(place, hashes.clear())
        kept = pl.concat([hashes.unique(), before.filter(~before.is_in(hashes.implode()))])
        self._seen[place] = kept.head(max(SEEN_ROWS, len(hashes)))


def _hashes(stream: Stream, table: pa.Table) -> pl.Series:
    """Of each row what it says, whichever document says it, whenever it was asked."""
    said = [c.name for c in stream.columns if not c.provenance and c.name != "known_at"]
    return pl.DataFrame(table).select(said).hash_rows()

