"""Kill -9 of landers at every commit step and at random instants: nothing is lost, nothing is there twice."""

import random
from pathlib import Path

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu
from quantlake_tests.faults import plan
from quantlake_tests.faults.planted import ALTERED, DOUBLED, DROPPED
from quantlake_tests.faults.record import put, section
from quantlake_tests.faults.run import Run, kills
from quantlake_tests.faults.steps import RANDOM
from quantlake_tests.faults.tables import Transactions
from quantlake_tests.servers.kafka import KafkaServer

SEED = 20240311
SENDERS = {"tansu": (Kafka,), "kafka": (Kafka, Transactions)}  # the embedded broker gives aborted records too


def test_twelve_kills_lose_nothing_and_repeat_nothing(home: Path, faults_broker: Tansu | KafkaServer) -> None:
    chance = random.Random(SEED)
    planned = plan.few(chance)
    assert len(planned) == 12 and {k.name.split(" ", 1)[1] for k in planned if k.step != RANDOM} == {k.step for k in plan.points("follow")}
    run = kills(home, faults_broker.address, planned, chance, senders=SENDERS[plan.broker()][-1:])
    right(run, len(planned))


@pytest.mark.faults
@pytest.mark.timeout(0)
def test_many_kills_lose_nothing_and_repeat_nothing(home: Path, faults_broker: Tansu | KafkaServer) -> None:
    chance, count, broker = random.Random(SEED), plan.asked(), plan.broker()

    def kept(run: Run) -> None:
        if count >= plan.LONG_RUN[broker]:
            put(broker, section(run, count, SEED, broker))

    run = kills(home, faults_broker.address, plan.many(count, chance), chance, kept, senders=SENDERS[broker])
    right(run, count)


def right(run: Run, count: int) -> None:
    assert len(run.struck) == count
    assert (run.lost, run.doubled) == (0, 0)
    assert all(run.faults[name] == run.rounds for name in (DROPPED, DOUBLED, ALTERED)), run.faults
    met = sum(s.survived for s in run.struck), sum(s.in_flight for s in run.struck)
    assert count < 10 or min(met) > 0, f"the kills met landers at work: {met}"
