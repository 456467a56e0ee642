"""Landers that race on one table, some of them killed: with the same locks, and with locks apart, as on two machines."""

import random
import time

import pytest

from quantlake.orchestration.instance import open_instance
from quantlake_tests.faults.landers import STALE, Lander, Work
from quantlake_tests.faults.steps import Kill
from quantlake_tests.faults.tables import Raw

EACH = 80
ONE, TWO = pytest.param("locks", id="one machine"), pytest.param("other-locks", id="two machines")
LATER = pytest.mark.faults


def lander(raw: Raw, mode: str, locks: str, kill: Kill | None = None) -> Lander:
    folder = raw.home / f"dagster-{locks}"
    with open_instance(folder):  # Dagster's own first use of a folder is none that two processes may race on
        pass
    return Lander(Work(mode, raw.broker.address, raw.home, raw.stream.topic, folder, kill, locks))


def landed(raw: Raw, seconds: float = 60) -> None:
    """Until all that was sent is in the table."""
    deadline = time.monotonic() + seconds
    while True:
        raw.look()
        if not raw.missing():
            return
        assert time.monotonic() < deadline, f"{raw.missing()} of {raw.ticks} are missing"
        time.sleep(0.05)


@pytest.mark.parametrize("locks", [pytest.param("locks", id="one machine", marks=LATER), TWO])
def test_two_followers_land_each_offset_once(raw: Raw, locks: str) -> None:
    both = [lander(raw, "follow", "locks"), lander(raw, "follow", locks)]
    assert all(each.wait() for each in both)
    for _ in range(3):
        raw.send(EACH, 2)
        landed(raw)
    for each in both:
        each.stop()
    assert [each.ended() for each in both] == [0, 0]
    raw.whole()


@pytest.mark.parametrize("locks", [ONE, pytest.param("other-locks", id="two machines", marks=LATER)])
def test_the_other_one_lands_on_when_one_is_killed_in_its_commit(raw: Raw, locks: str) -> None:
    raw.send(EACH, 2)
    killed = lander(raw, "follow", locks, Kill("follow", "catalog row update", False))  # it holds the lock, and the catalogue's row
    other = lander(raw, "follow", "locks")
    assert other.wait()
    landed(raw)
    raw.send(EACH, 2)
    landed(raw)
    killed.kill()
    assert killed.ended() == -9
    other.stop()
    assert other.ended() == 0
    raw.whole()


@pytest.mark.parametrize("locks", [ONE, pytest.param("other-locks", id="two machines", marks=LATER)])
def test_a_dagster_run_lands_beside_a_resident_follower(raw: Raw, locks: str) -> None:
    resident = lander(raw, "follow", "locks")
    assert resident.wait()
    ends = []
    for _ in range(3):
        raw.send(EACH, 2)
        run = lander(raw, "dagster", locks)
        ends.append(run.ended())
        raw.look()
    assert set(ends) <= {0, STALE}
    assert locks != "locks" or set(ends) == {0}, "one waits for the other's lock"
    landed(raw)
    resident.stop()
    assert resident.ended() == 0
    raw.whole()


@pytest.mark.faults
@pytest.mark.parametrize("locks", [ONE, TWO])
@pytest.mark.parametrize("seed", range(2))
def test_racers_that_are_killed_and_come_again_lose_nothing(raw: Raw, locks: str, seed: int) -> None:
    chance = random.Random(seed)
    resident = lander(raw, "follow", "locks")
    ends = []
    for _ in range(12):
        raw.send(EACH, 2)
        mode = chance.choice(["batch", "follow", "dagster"])
        rival = lander(raw, mode, locks)
        assert rival.wait()
        time.sleep(chance.uniform(0, 0.6))
        if chance.random() < 0.3:
            resident.kill()
            assert resident.ended() == -9
            resident = lander(raw, "follow", "locks")
        rival.kill()
        ends.append(rival.ended())
        raw.look()
    assert set(ends) <= {-9, 0, STALE} and -9 in ends
    landed(raw)
    resident.stop()
    assert resident.ended() == 0
    raw.whole()
