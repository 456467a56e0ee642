"""Skipped offsets, few or many: the audit's question is answered as by the set itself, in bounded space."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.landing.logs import PROPERTY, Log, Logs
from quantlake.landing.ranges import Ranges, clipped, covering, difference, intersection, ranges, size
from quantlake.landing.skips import Skip, added, marked, skip, told

END = 200
SETS = st.sets(st.integers(0, END - 1))
CUTS = st.lists(st.integers(0, END), max_size=6)
MOST = st.integers(1, 80)


def of(offsets: set[int]) -> Ranges:
    return covering(np.array(sorted(offsets), np.int64))[0]


def offsets_of(some: Ranges) -> set[int]:
    return {o for first, end in some.tolist() for o in range(first, end)}


def kept(offsets: set[int], cuts: list[int], most: int) -> tuple[Skip, ...]:
    """As reads find them, from cut to cut."""
    found: tuple[Skip, ...] = ()
    bounds = [0, *sorted(cuts), END]
    for first, end in pairwise(bounds):
        if len(some := clipped(of(offsets), first, end)):
            found = added(found, some, most)
    return found


@settings(deadline=None)
@given(SETS, CUTS, MOST)
def test_skips_are_bounded_and_hold_the_number_and_the_mark_of_all(offsets: set[int], cuts: list[int], most: int) -> None:
    found = kept(offsets, cuts, most)
    assert len(found) <= most and sum(s.count for s in found) == len(offsets)
    assert all(a.end <= b.first for a, b in pairwise(found)) and all(0 < s.count <= s.end - s.first for s in found)
    assert all(s.explains(intersection(of(offsets), ranges((s.first, s.end)))) for s in found)
    if len(of(offsets)) <= most:
        assert [(s.first, s.end) for s in found] == [tuple(r) for r in of(offsets).tolist()], "few are kept as they are"


@settings(deadline=None)
@given(SETS, SETS, CUTS)
def test_a_mark_adds_up_however_a_set_is_cut(one: set[int], other: set[int], cuts: list[int]) -> None:
    assert (marked(of(one)) == marked(of(other))) == (one == other)
    rest = other - one
    assert (marked(of(one)) + marked(of(rest))) % (1 << 64) == marked(of(one | rest))


@settings(deadline=None)
@given(SETS, CUTS, MOST, st.sets(st.integers(0, END - 1), max_size=4), st.sets(st.integers(0, END - 1), max_size=2))
def test_lost_rows_and_rows_that_nobody_sent_are_told_from_skipped_offsets(
    skipped: set[int], cuts: list[int], most: int, lost: set[int], invented: set[int]
) -> None:
    rows = (set(range(END)) - skipped - lost) | (invented & skipped)
    lost, invented = lost - skipped, invented & skipped
    missing = difference(ranges((0, END)), of(rows))
    found = told(kept(skipped, cuts, most), missing, of(rows))
    gaps = offsets_of(found.gaps)
    assert all(first < end for first, end in (*found.gaps.tolist(), *found.filled.tolist()))
    assert (not gaps and not found.doubtful and not len(found.filled)) == (not lost and not invented), "any difference is found"
    assert lost <= gaps, "and each lost row lies within the gaps"
    assert all(any(s.first <= o < s.end for s in found.doubtful) for o in gaps - lost), "what else is among them is said to be doubtful"
    if not invented:
        assert size(found.gaps) - found.skipped == len(lost), "how many are lost is known exactly"
    if not found.doubtful:
        assert gaps == lost and offsets_of(found.filled) == invented


def test_any_number_of_ranges_is_a_kilobyte_or_so_in_the_table() -> None:
    logs = Logs((Log("a"),))
    for n in range(50):
        markers = np.arange(n * 100_000, (n + 1) * 100_000, 10, dtype=np.int64)
        logs = logs.past("a", {p: np.stack([markers, markers + 1], axis=1) for p in range(12)})
    assert len(logs.text()) < 5000 and Logs.parse({PROPERTY: logs.text()}) == logs
    assert {p: sum(s.count for s in some) for p, some in logs["a"].skipped.items()} == dict.fromkeys(range(12), 500_000)


def test_a_whole_range_is_its_bounds_alone() -> None:
    logs = Logs((Log("a", offsets={0: 9}),)).past("a", {0: ranges((3, 5), (7, 8))})
    assert '"skipped": {"0": [[3, 5], [7, 8]]}' in logs.text()
    assert logs["a"].skipped[0] == (skip(ranges((3, 5))), skip(ranges((7, 8))))
    again = logs.past("a", {0: ranges((8, 9))})
    assert again["a"].skipped[0] == (skip(ranges((3, 5))), skip(ranges((7, 9)))), "what goes on is one range"
