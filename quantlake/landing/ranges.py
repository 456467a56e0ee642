"""Sets of offsets as ranges: int64 arrays of [first, end) rows, sorted, disjoint and not adjacent; ``end`` is exclusive.

Here: pure arithmetic, as large as the ranges and never as the offsets between their bounds. Not here: what an offset means.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Ranges = npt.NDArray[np.int64]

EMPTY: Ranges = np.empty((0, 2), np.int64)
LOWEST, HIGHEST = (int(limit) for limit in (np.iinfo(np.int64).min, np.iinfo(np.int64).max))


def ranges(*bounds: tuple[int, int]) -> Ranges:
    """The union of some [first, end), in any order, overlapping or not; an empty one adds nothing."""
    return _reached(1, [np.array([b for b in bounds if b[0] < b[1]], np.int64).reshape(-1, 2)])


def covering(offsets: npt.NDArray[np.int64]) -> tuple[Ranges, Ranges]:
    """The set of these offsets, and the set of those that are there more than once; repeats are ``len(offsets) - size(set)``."""
    ordered = np.sort(offsets)
    return _runs(ordered), _runs(ordered[1:][np.diff(ordered) == 0])


def union(*sets: Ranges) -> tuple[Ranges, Ranges]:
    """What is in any of these sets, and what is in more than one."""
    return _reached(1, sets), _reached(2, sets)


def difference(a: Ranges, b: Ranges) -> Ranges:
    """What is in ``a`` and not in ``b``; the gaps of ``b`` within ``a``."""
    return _reached(1, [a], [b])


def intersection(a: Ranges, b: Ranges) -> Ranges:
    """What is in both."""
    return _reached(2, [a, b])


def size(a: Ranges) -> int:
    """How many offsets are in the set."""
    return int((a[:, 1] - a[:, 0]).sum())


def clipped(a: Ranges, first: int, end: int) -> Ranges:
    """What of the set lies in [first, end), at the cost of that alone."""
    if first >= end:
        return EMPTY
    inside = a[np.searchsorted(a[:, 1], first, side="right") : np.searchsorted(a[:, 0], end, side="left")]
    return np.clip(inside, first, end)


def contains(a: Ranges, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of these offsets are in the set."""
    at: npt.NDArray[np.bool_] = np.searchsorted(a.reshape(-1), offsets, side="right") % 2 == 1
    return at


def _runs(ordered: npt.NDArray[np.int64]) -> Ranges:
    """The set of these offsets, which ascend; equal ones may follow each other."""
    apart = np.diff(ordered) > 1
    edge = np.ones(min(len(ordered), 1), np.bool_)
    return np.stack([ordered[np.concatenate([edge, apart])], ordered[np.concatenate([apart, edge])] + 1], axis=1)


def _reached(depth: int, added: Iterable[Ranges], taken: Iterable[Ranges] = ()) -> Ranges:
    """Where at least ``depth`` of ``added`` lie above one another, each of ``taken`` counted as one less."""
    up, down = np.concatenate([EMPTY, *added]), np.concatenate([EMPTY, *taken])
    edges = np.concatenate([up[:, 0], down[:, 1], up[:, 1], down[:, 0]])
    places, place = np.unique(edges, return_inverse=True)
    changes = np.where(np.arange(len(edges)) < len(up) + len(down), 1, -1)
    there = np.cumsum(np.bincount(place, changes, len(places))) >= depth
    turns = np.diff(there.astype(np.int8), prepend=0)
    return np.stack([places[turns == 1], places[turns == -1]], axis=1)
