"""Which kills there are: every step of a commit, before and after, in every mode, and random instants; so many as ``KILLS`` asks for."""

import os
import random

from quantlake_tests.faults.steps import RANDOM, STEPS, Kill

LONG_RUN = {"tansu": 1000, "kafka": 200}  # from here on the run's record is kept under docs/
DAGSTER_EVERY = 10
RANDOM_EVERY = 4
MOST_TIMES = 3  # a kill strikes in the first, second or third commit


def asked() -> int:
    """``make faults KILLS=...``"""
    return int(os.environ.get("KILLS", "100"))


def broker() -> str:
    """``make faults BROKER=...``: tansu or kafka."""
    return os.environ.get("BROKER", "tansu")


def points(mode: str) -> list[Kill]:
    """Before and after every step that a lander of this mode comes to."""
    return [Kill(mode, step.name, before) for step in STEPS if mode in step.modes for before in (True, False)]


def few(chance: random.Random) -> list[Kill]:
    """Twelve: each step once, half of them in either mode, half before it and half after, and a random instant in either mode."""
    steps = [kill for kill in points("batch") if kill.before]
    kinds = [(mode, before) for mode in ("batch", "follow") for before in (True, False)] * 3
    chance.shuffle(steps)
    found = [Kill(mode, step.step, before, chance.randint(1, MOST_TIMES)) for step, (mode, before) in zip(steps, kinds, strict=False)]
    return found + [Kill(mode, RANDOM, instant=chance.random()) for mode in ("batch", "follow")]


def many(count: int, chance: random.Random) -> list[Kill]:
    """One in ten through a Dagster run, the others in turn on a lander that follows and one that ends; a quarter at random instants,
    the others at each point in turn."""
    waiting: dict[str, list[Kill]] = {"batch": [], "follow": [], "dagster": []}
    found = []
    for n in range(count):
        mode = "dagster" if n % DAGSTER_EVERY == DAGSTER_EVERY - 1 else ("batch", "follow")[n % 2]
        backlog = mode != "follow" or chance.random() < 0.5
        if chance.randrange(RANDOM_EVERY) == 0:
            found.append(Kill(mode, RANDOM, instant=chance.random(), backlog=backlog))
            continue
        if not waiting[mode]:
            waiting[mode] = points(mode)
            chance.shuffle(waiting[mode])
        point = waiting[mode].pop()
        found.append(Kill(mode, point.step, point.before, chance.randint(1, MOST_TIMES if backlog else 3 * MOST_TIMES), backlog=backlog))
    return found
