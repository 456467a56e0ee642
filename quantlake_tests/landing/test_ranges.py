"""Offset ranges against sets of offsets, one by one."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.landing.ranges import (
    HIGHEST,
    LOWEST,
    Ranges,
    clipped,
    contains,
    covering,
    difference,
    intersection,
    ranges,
    size,
    union,
)

OFFSETS = st.lists(st.integers(-5, 40), max_size=60)
BOUNDS = st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40)), max_size=8)


def offsets_of(found: Ranges) -> list[int]:
    """Every offset; the form is checked on the way: sorted, none empty, none adjacent."""
    assert found.shape == (len(found), 2) and found.dtype == np.int64
    edges = found.reshape(-1).tolist()
    assert edges == sorted(set(edges)), found
    return [n for first, end in found.tolist() for n in range(first, end)]


def of(offsets: list[int]) -> Ranges:
    return covering(np.array(offsets, np.int64))[0]


@settings(deadline=None)
@given(OFFSETS)
def test_offsets_become_ranges_and_repeats_are_told(offsets: list[int]) -> None:
    whole, repeated = covering(np.array(offsets, np.int64))
    assert offsets_of(whole) == sorted(set(offsets))
    assert offsets_of(repeated) == sorted(n for n, times in Counter(offsets).items() if times > 1)
    assert len(offsets) - size(whole) == sum(times - 1 for times in Counter(offsets).values())


@settings(deadline=None)
@given(BOUNDS)
def test_bounds_in_any_order_are_one_set(bounds: list[tuple[int, int]]) -> None:
    assert offsets_of(ranges(*bounds)) == sorted({n for first, end in bounds for n in range(first, end)})


@settings(deadline=None)
@given(st.lists(OFFSETS, max_size=5))
def test_a_union_tells_what_more_than_one_holds(parts: list[list[int]]) -> None:
    whole, repeated = union(*map(of, parts))
    held = Counter(n for part in parts for n in set(part))
    assert offsets_of(whole) == sorted(held)
    assert offsets_of(repeated) == sorted(n for n, times in held.items() if times > 1)


@settings(deadline=None)
@given(st.lists(OFFSETS, max_size=5), st.integers(0, 5))
def test_any_batching_gives_the_same_set_and_the_same_repeats(parts: list[list[int]], at: int) -> None:
    """What the audit does: a data file's offsets at a time, folded now and then; one that occurs three times is two repeats."""
    covered, repeated = ranges(), ranges()
    for chunk in (parts[:at], parts[at:]):
        found = [covering(np.array(part, np.int64)) for part in chunk]
        covered, again = union(covered, *(whole for whole, _ in found))
        repeated = union(repeated, again, *(twice for _, twice in found))[0]
    offsets = [n for part in parts for n in part]
    assert offsets_of(covered) == sorted(set(offsets))
    assert offsets_of(repeated) == sorted(n for n, times in Counter(offsets).items() if times > 1)
    assert len(offsets) - size(covered) == sum(times - 1 for times in Counter(offsets).values())


@settings(deadline=None)
@given(OFFSETS, OFFSETS)
def test_difference_and_intersection(a: list[int], b: list[int]) -> None:
    assert offsets_of(difference(of(a), of(b))) == sorted(set(a) - set(b))
    assert offsets_of(intersection(of(a), of(b))) == sorted(set(a) & set(b))
    unbounded = ranges((LOWEST, HIGHEST))
    assert offsets_of(intersection(of(a), unbounded)) == offsets_of(of(a)) and offsets_of(difference(of(a), unbounded)) == []


@settings(deadline=None)
@given(OFFSETS, st.integers(-5, 40), st.integers(-5, 40))
def test_gaps_within_bounds_are_a_difference(offsets: list[int], first: int, end: int) -> None:
    assert offsets_of(difference(ranges((first, end)), of(offsets))) == [n for n in range(first, end) if n not in offsets]


@settings(deadline=None)
@given(OFFSETS, st.integers(-5, 40), st.integers(-5, 40))
def test_what_is_clipped_is_the_intersection_with_bounds(offsets: list[int], first: int, end: int) -> None:
    assert offsets_of(clipped(of(offsets), first, end)) == [n for n in sorted(set(offsets)) if first <= n < end]


@settings(deadline=None)
@given(OFFSETS, OFFSETS)
def test_membership(a: list[int], asked: list[int]) -> None:
    assert contains(of(a), np.array(asked, np.int64)).tolist() == [n in a for n in asked]


def test_ranges_of_any_length_cost_nothing() -> None:
    huge = ranges((0, 1 << 60), (1 << 61, 1 << 62))
    assert size(difference(huge, ranges((1, 3)))) == (1 << 60) + (1 << 61) - 2
    assert contains(huge, np.array([0, 1 << 60, 1 << 61, -1])).tolist() == [True, False, True, False]
