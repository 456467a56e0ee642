"""Offsets that hold nothing for a consumer: transaction markers, aborted records, compacted ones; kept in bounded space.

A read that goes on past an offset without a record proves that there was none to see. Few such offsets are kept as they are; of many,
as on a topic with a marker every few records, spans are kept with how many there were and a mark of which: the audit can tell that
the offsets without a row are exactly these, or that they are not.
Here: arithmetic. Not here: how they are found (the broker's adapter), where they are kept (``logs``).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantlake.landing.ranges import EMPTY, Ranges, clipped, size

MOST = 64  # of a log's partitions together: they are in the summary of every snapshot


@dataclass(frozen=True)
class Skip:
    """Within [first, end) ``count`` offsets were skipped, and ``mark`` says which; where it is all of them, it is one range."""

    first: int
    end: int
    count: int
    mark: int

    @property
    def whole(self) -> bool:
        return self.count == self.end - self.first

    def __add__(self, later: "Skip") -> "Skip":
        return Skip(self.first, later.end, self.count + later.count, (self.mark + later.mark) % (1 << 64))

    def explains(self, missing: Ranges) -> bool:
        """Whether the offsets without a row within it are those that were skipped; false for any others but by a chance of 2**-64."""
        return size(missing) == self.count and marked(missing) == self.mark


def skip(some: Ranges) -> Skip:
    """All of some ranges, at least one, as one."""
    return Skip(int(some[0, 0]), int(some[-1, 1]), size(some), marked(some))


def marked(some: Ranges) -> int:
    """A sum over the edges of ranges: equal for equal sets however they are cut, and that of two disjoint sets is their sum."""
    edges = _mixed(some.astype(np.uint64))
    return int((edges[:, 0] - edges[:, 1]).sum(dtype=np.uint64))


def added(known: Iterable[Skip], some: Ranges, most: int = MOST) -> tuple[Skip, ...]:
    """Further skipped ranges, behind all that are known; where they are more than ``most``, neighbours are taken together, the older
    the more of them."""
    found: list[Skip] = []
    one_by_one = some[:, None] if len(some) <= most else np.array_split(some, most)
    for each in (*known, *map(skip, one_by_one)):
        touches = bool(found) and found[-1].end == each.first and found[-1].whole and each.whole
        found.append(found.pop() + each if touches else each)
    return bounded(found, most)


def bounded(found: Iterable[Skip], most: int) -> tuple[Skip, ...]:
    kept = list(found)
    while len(kept) > most:
        kept = [kept[n] + kept[n + 1] if n + 1 < len(kept) else kept[n] for n in range(0, len(kept), 2)]
    return tuple(kept)


@dataclass(frozen=True, eq=False)
class Told:
    """What skips say of the offsets without a row: ``gaps`` are not explained; of these, ``skipped`` were skipped, it is not known which,
    in ``doubtful`` spans. ``filled``: skipped, and yet there is a row."""

    gaps: Ranges
    skipped: int
    doubtful: tuple[Skip, ...]
    filled: Ranges


def told(skips: Iterable[Skip], missing: Ranges, covered: Ranges) -> Told:
    """Compare the offsets without a row, and those with one, with what was skipped."""
    gaps: list[Ranges] = []
    filled: list[Ranges] = []
    doubtful: list[Skip] = []
    reached, skipped = int(np.iinfo(np.int64).min), 0
    for each in skips:
        gaps.append(clipped(missing, reached, each.first))
        inside, reached = clipped(missing, each.first, each.end), each.end
        if each.whole:
            filled.append(clipped(covered, each.first, each.end))
        elif not each.explains(inside):
            doubtful.append(each)
            gaps.append(inside)
            skipped += min(each.count, size(inside) - (size(inside) >= each.count))
    gaps.append(clipped(missing, reached, int(np.iinfo(np.int64).max)))
    return Told(np.concatenate(gaps), skipped, tuple(doubtful), np.concatenate([EMPTY, *filled]))


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64: numbers that are near to one another become such as have nothing in common."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
