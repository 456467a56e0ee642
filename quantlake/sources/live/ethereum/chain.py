"""The chain as it was last seen: which block was its own at the newest heights, and what a new run of blocks changes in that.

Here: that bookkeeping, without asking anybody. Not here: finding the run (follow.py), rows (tables.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise


@dataclass(frozen=True)
class Header:
    """What a chain is made of."""

    number: int
    hash: str
    parent: str
    time: datetime


@dataclass(frozen=True)
class Change:
    """What a run made of the chain: its blocks are the chain's now, at ``gone`` heights above them none is; ``depth`` blocks no longer are."""

    headers: Sequence[Header]
    gone: tuple[int, ...] = ()
    depth: int = 0


class Chain:
    """The newest ``kept`` heights; empty: nothing is known, and any block may be the first."""

    def __init__(self, kept: int, known: Iterable[tuple[int, str]] = ()) -> None:
        self._kept = kept
        tail = sorted(known)
        self._hashes = dict(tail[-kept:])
        self._first = tail[0][0] if tail and len(tail) < kept else None  # where it began, if that is known

    @property
    def tip(self) -> int | None:
        """Its greatest height."""
        return next(reversed(self._hashes), None)

    @property
    def base(self) -> int:
        """The least height that it holds; 0: none."""
        return next(iter(self._hashes), 0)

    def hash_at(self, number: int) -> str | None:
        return self._hashes.get(number)

    def depth_of(self, number: int) -> int:
        """How many blocks would no longer be the chain's if another stood at this height."""
        return 0 if self.tip is None else max(self.tip - number + 1, 0)

    def follows(self, header: Header) -> bool:
        """Whether its parent is the chain's; also where the chain began no earlier."""
        below = self._hashes.get(header.number - 1)
        return below == header.parent or self.tip is None or (self._first is not None and header.number <= self._first)

    def take(self, run: Sequence[Header]) -> Change:
        """A run of linked blocks, ascending, whose first one ``follows``, takes the place of all from its height on."""
        if self.tip is None:
            self._first = run[0].number
        replaced = [n for n in self._hashes if n >= run[0].number]
        for n in replaced:
            del self._hashes[n]
        self._hashes |= {h.number: h.hash for h in run}
        for n in list(self._hashes)[: -self._kept]:
            del self._hashes[n]
        return Change(run, tuple(n for n in replaced if n > run[-1].number), len(replaced))


def linked(headers: Sequence[Header]) -> bool:
    """Whether each is the next one's parent."""
    return all(a.hash == b.parent and a.number + 1 == b.number for a, b in pairwise(headers))
