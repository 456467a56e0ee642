"""Whole numbers of 256 bits in SQL: shown to the last digit, and what is none is refused."""

import pytest

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import QuantLakeError
from quantlake_tests.serving.world import World

MOST = (1 << 256) - 1


def test_they_are_shown_to_the_last_digit(lake: Iceberg) -> None:
    ask = World(lake).sql
    values = f"(VALUES ('{MOST}'), ('7'), (NULL)) t(x)"
    assert ask(f"SELECT u256_sum(x), max(u256(x)), min(u256(x)) + u256('5'), count(u256(x)) FROM {values}") == [(f"{MOST + 7}", f"{MOST}", "12", 2)]
    assert ask(f"SELECT [i256('-{MOST}')] AS a, u256('9') > u256('10') AS b") == [([f"-{MOST}"], False)]


@pytest.mark.parametrize(("asked", "said"), [
    ("u256('1.5')", "no whole number of this kind: 1.5"), ("u256('-1')", "no whole number of this kind: -1"), ("u256_sum('0x1')", "0x1"),
    ("i256('1e3')", "1e3"), ("CAST('x' AS INTEGER)", "Could not convert string 'x'"),
])  # fmt: skip
def test_what_is_none_is_refused_in_one_line(lake: Iceberg, asked: str, said: str) -> None:
    with pytest.raises(QuantLakeError, match=said) as refused:
        World(lake).sql(f"SELECT {asked}")
    assert "\n" not in str(refused.value)
