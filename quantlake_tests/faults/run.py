"""A run of kills: rounds of some kills on a fresh table each, looked at after every kill, audited and sabotaged at the end of a round.

Here: the loop and what it found. Not here: kills (``plan``), processes (``landers``), the table (``tables``), the page (``record``).
"""

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quantlake.adapters.broker.kafka import Kafka
from quantlake.landing.logs import PROPERTY
from quantlake.orchestration.instance import open_instance, reap
from quantlake.orchestration.record import up_to_date
from quantlake_tests.faults import planted
from quantlake_tests.faults.landers import COMMIT_ROWS, Lander, Work
from quantlake_tests.faults.steps import RANDOM, Kill
from quantlake_tests.faults.tables import Raw, Transactions

ROUND = 25  # kills on one table, so that its metadata stays small
BACKLOG = 5 * COMMIT_ROWS
DEAD = 4
MEANWHILE, MOST_MEANWHILE, PAUSE_SECONDS = 24, 600, 0.2
AT_ONCE_SECONDS = 20
SPANS = {"batch": 0.5, "follow": 1.0, "dagster": 0.7}  # seconds in which a random instant falls, to begin with


@dataclass(frozen=True)
class Struck:
    """A kill: how many commits of the killed lander are in the table, and whether one had begun that is not."""

    kill: Kill
    survived: int
    in_flight: int
    seconds: float


@dataclass
class Run:
    """What a run found."""

    struck: list[Struck] = field(default_factory=list)
    rounds: int = 0
    transactional: int = 0  # of the rounds
    skipped: int = 0
    rows: int = 0
    dead_letters: int = 0
    lost: int = 0
    doubled: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    resumed_runs: int = 0
    left_behind: int = 0  # data files of killed landers that no snapshot has
    seconds: float = 0.0


def kills(
    home: Path, address: str, planned: Sequence[Kill], chance: random.Random, each_round: Callable[[Run], object] = lambda _: None,
    *, senders: Sequence[type[Kafka]] = (Kafka,),
) -> Run:  # fmt: skip
    """Carry them out; asserts after each kill that nothing is lost or doubled of what was committed, and of everything in the end.
    ``senders``: what the rounds' records are sent by, in turn."""
    run, began, spans = Run(), time.monotonic(), dict(SPANS)
    for at in range(0, len(planned), ROUND):
        sender = senders[run.rounds % len(senders)]
        raw = Raw.made(home / f"round{run.rounds}", address, f"kills.{uuid.uuid4().hex}.v1", sender)
        for kill in planned[at : at + ROUND]:
            run.struck.append(struck(raw, kill, spans))
        finished(raw, run, reported=any(k.mode == "dagster" for k in planned))
        planted.found(raw, chance, run.faults)
        run.rounds += 1
        run.transactional += sender is Transactions
        run.seconds = time.monotonic() - began
        each_round(run)
    return run


def struck(raw: Raw, kill: Kill, spans: dict[str, float]) -> Struck:
    """Let a lander come to its kill."""
    began = time.monotonic()
    while True:
        if kill.backlog:
            raw.send(max(0, BACKLOG - raw.missing()), DEAD)
        else:
            raw.land()
        before = raw.commits()
        lander = Lander(Work(kill.mode, raw.broker.address, raw.home, raw.stream.topic, raw.home / "dagster", kill))
        assert lander.wait(), f"{kill}: ended with {lander.ended()} before it landed"
        producing(raw, lander, kill.instant * spans[kill.mode] if kill.step == RANDOM else 60, looking=not kill.backlog)
        if kill.step == RANDOM:
            lander.kill()
        status, said = lander.ended(), lander.journal
        survived = raw.commits() - before
        raw.look()
        if kill.step == RANDOM:  # the span follows what a landing takes here
            spans[kill.mode] *= 0.9 if raw.missing() == 0 else 1.1 if said.begun == 0 and kill.instant > 0.5 else 1.0
            if status == 0:
                continue
        assert status == -9, f"{kill}: ended with {status}"
        # between the commit and the word of it there is time for a random instant alone
        assert said.done <= survived <= min(said.begun, said.done + (kill.step == RANDOM)), f"{kill}: {survived} of {said} survived"
        return Struck(kill, survived, said.begun - survived, time.monotonic() - began)


def producing(raw: Raw, lander: Lander, seconds: float, *, looking: bool) -> None:
    """Send on while it lands, and maybe look, until it ends or for so long."""
    began, sent = time.monotonic(), 0
    while (left := seconds - (time.monotonic() - began)) > 0 and lander.lives(min(left, PAUSE_SECONDS / 4)):
        if sent < MOST_MEANWHILE and time.monotonic() - began > sent / MEANWHILE * PAUSE_SECONDS:
            raw.send(MEANWHILE, 1)  # in two batches: a lander that is quick meets an end between them
            sent += MEANWHILE
        if looking:
            raw.look()


def finished(raw: Raw, run: Run, *, reported: bool) -> None:
    """The next landing takes up all that is left; by a Dagster run where those were killed, after which Dagster knows every date."""
    if reported:
        last = Lander(Work("dagster", raw.broker.address, raw.home, raw.stream.topic, raw.home / "dagster"))
        assert last.ended() == 0
    else:
        began = time.monotonic()
        raw.land()
        assert time.monotonic() - began < AT_ONCE_SECONDS, "the next landing waited for something"
    raw.look()
    run.lost += raw.missing()
    run.doubled += raw.doubled()
    found = raw.whole()
    run.left_behind += raw.left_behind()
    run.rows += sum(a.rows for a in found)
    run.dead_letters += sum(a.dead_letters for a in found)
    run.skipped += sum(a.skipped for a in found)
    assert PROPERTY in raw.lake.properties(raw.stream.spec)
    if reported:
        with open_instance(raw.home / "dagster") as instance:
            run.resumed_runs += len(reap(instance))
            dates = set(raw.lake.counts(raw.stream.spec))
            assert up_to_date(raw.stream, dates, raw.adapters, instance) == dates, "a date landed, and Dagster does not know"
