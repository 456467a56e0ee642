"""Which trades count by their sale conditions: flag by flag against the consolidated tape's rules, and flags together.

The rules are those of the CTS and UTP specifications' tables "sale condition update rules", consolidated columns: whether a condition
updates high and low, last, and volume. A trade's price counts here where it may always update all of high, low and last.
"""

from functools import reduce
from itertools import combinations
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlake.datasets.market.conditions import Policy, updates_ohlc, updates_volume


class Rule(NamedTuple):
    """A LEAN flag (its bit), the tape's code, and what it always updates: high and low, last, volume.

    Where the specifications say "only the first or the only eligible trade of the day", as for last of a seller's option, it is not always.
    """

    bit: int
    name: str
    code: str
    high_low: bool
    last: bool
    volume: bool


YES, NO = True, False
RULES = (
    Rule(0, "regular", "@", YES, YES, YES),
    Rule(1, "cash", "C", NO, NO, YES),
    Rule(2, "next day", "N", NO, NO, YES),
    Rule(3, "seller", "R", YES, NO, YES),
    Rule(4, "yellow flag", "Y", YES, YES, YES),
    Rule(5, "intermarket sweep", "F", YES, YES, YES),
    Rule(6, "opening prints", "O", YES, YES, YES),
    Rule(7, "closing prints", "6", YES, YES, YES),
    Rule(8, "reopening prints", "5", YES, YES, YES),
    Rule(9, "derivatively priced", "4", YES, NO, YES),
    Rule(10, "form T", "T", NO, NO, YES),
    Rule(11, "sold last", "L", YES, NO, YES),
    Rule(12, "stopped stock", "1", YES, YES, YES),
    Rule(13, "extended hours", "U", NO, NO, YES),
    Rule(14, "out of sequence", "Z", YES, NO, YES),
    Rule(15, "split", "S", YES, YES, YES),
    Rule(16, "acquisition", "A", YES, YES, YES),
    Rule(17, "bunched", "B", YES, YES, YES),
    Rule(18, "stock option", "V", NO, NO, YES),
    Rule(19, "distribution", "D", YES, YES, YES),
    Rule(20, "average price", "W", NO, NO, YES),
    Rule(21, "cross", "X", YES, YES, YES),
    Rule(22, "price variation", "H", NO, NO, YES),
    Rule(23, "rule 155", "K", YES, YES, YES),
    Rule(24, "official close", "M", NO, NO, NO),
    Rule(25, "prior reference price", "P", YES, NO, YES),
    Rule(26, "official open", "Q", NO, NO, NO),
    Rule(27, "cap election", "", YES, YES, YES),
    Rule(28, "auto execution", "E", YES, YES, YES),
    Rule(29, "trade through exempt", "", YES, YES, YES),
    Rule(30, "undocumented", "", YES, YES, YES),
    Rule(31, "odd lot", "I", NO, NO, YES),
)
BITS = st.sets(st.integers(0, 31))
LEAN_OHLC, LEAN_VOLUME = 0x344A2E, 0x5000000  # fitted to LEAN's own bars


def counts(mask: int | None, policy: Policy, size: int = 100) -> tuple[bool, bool]:
    """Whether a trade of these conditions counts for prices, and for volume."""
    trade = pl.DataFrame({"conditions": [None if mask is None else f"{mask:X}"], "size": [size]}, {"conditions": pl.String, "size": pl.Int64})
    return trade.select(updates_ohlc(policy).alias("ohlc"), updates_volume(policy).alias("volume")).row(0)


def of(bits: set[int]) -> int:
    return reduce(lambda mask, bit: mask | 1 << bit, bits, 0)


def test_the_table_says_something_of_every_flag() -> None:
    assert [rule.bit for rule in RULES] == list(range(32))


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_a_flag_of_the_tape(rule: Rule) -> None:
    assert counts(1 << rule.bit, Policy.sip) == (rule.high_low and rule.last, rule.volume)


def test_of_two_flags_the_stricter_decides() -> None:
    for one, other in combinations(RULES, 2):
        expected = (one.high_low and one.last and other.high_low and other.last, one.volume and other.volume)
        assert counts(1 << one.bit | 1 << other.bit, Policy.sip) == expected, (one.name, other.name)


@given(BITS)
def test_of_many_flags_each_must_allow_it(bits: set[int]) -> None:
    rules = [RULES[bit] for bit in bits]
    assert counts(of(bits), Policy.sip) == (all(r.high_low and r.last for r in rules), all(r.volume for r in rules))


@given(BITS)
def test_lean_has_two_masks(bits: set[int]) -> None:
    assert counts(of(bits), Policy.lean) == (not of(bits) & LEAN_OHLC, not of(bits) & LEAN_VOLUME)


@pytest.mark.parametrize("policy", Policy)
def test_no_conditions_hide_nothing_and_a_size_of_0_counts_for_nothing(policy: Policy) -> None:
    assert counts(None, policy) == counts(0, policy) == (True, True)
    assert counts(None, policy, size=0) == counts(1, policy, size=0) == (False, False)
