"""Clocks that jump: landing neither waits for them nor trusts them."""

import time

import pytest

from quantlake_tests.faults.landers import Lander, Work
from quantlake_tests.faults.steps import Kill
from quantlake_tests.faults.tables import Raw


def lander(raw: Raw, mode: str, kill: Kill | None = None) -> Lander:
    return Lander(Work(mode, raw.broker.address, raw.home, raw.stream.topic, raw.home / "dagster", kill, jumps=True))


@pytest.mark.parametrize("mode", ["batch", "follow", pytest.param("dagster", marks=pytest.mark.faults)])
def test_a_lander_whose_clocks_jump_by_hours_lands_all(raw: Raw, mode: str) -> None:
    raw.send(200, 4)
    killed = lander(raw, mode, Kill(mode, "catalog commit", True, 2))
    assert killed.ended() == -9
    raw.look()
    raw.send(50, 1)
    last = lander(raw, mode)
    if mode == "follow":
        pending = sum(n for n in (raw.missing(),))
        assert pending > 0
        deadline = time.monotonic() + 60
        while raw.missing():
            assert time.monotonic() < deadline, "it does not land"
            last.wait(done=last.journal.done + 1)
            raw.look()
        last.stop()
    assert last.ended() == 0
    raw.whole()
