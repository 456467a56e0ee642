"""A catalogue that does not take a commit: one line says so, nothing of it is seen, and the next landing loses and repeats nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from quantlake.contract import QuantLakeError
from quantlake.landing.follow import Follower
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.faults.tables import Raw


@contextmanager
def catalogue(raw: Raw) -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(raw.home / "lake" / "catalog.db", isolation_level=None)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def refusing(raw: Raw) -> Iterator[None]:
    with catalogue(raw) as connection:
        connection.execute("create trigger no before update on iceberg_tables begin select raise(abort, 'not today'); end")
        yield
        connection.execute("drop trigger no")


@contextmanager
def locked(raw: Raw, how: str = "immediate") -> Iterator[None]:
    """Written to by another process, which holds it longer than a client waits."""
    with catalogue(raw) as connection:
        connection.execute(f"begin {how}")
        yield
        connection.execute("rollback")


@contextmanager
def unreadable(raw: Raw) -> Iterator[None]:
    with locked(raw, "exclusive"):
        yield


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (refusing, "not today"),
        pytest.param(locked, "database is locked", marks=pytest.mark.faults),
        pytest.param(unreadable, "database is locked", marks=pytest.mark.faults),
    ],
)
def test_a_commit_that_is_refused_is_one_line_and_no_row(raw: Raw, trouble: Callable[[Raw], object], said: str) -> None:
    raw.send(60, 2)
    raw.land()
    raw.send(60, 2)
    before = raw.commits()
    with trouble(raw), pytest.raises(QuantLakeError) as error:  # type: ignore[attr-defined]
        raw.land()
    assert said in str(error.value) and "\n" not in str(error.value) and "UPDATE" not in str(error.value)
    assert raw.commits() == before
    raw.look()
    assert raw.missing() == 62
    raw.land()
    raw.whole()


@pytest.mark.faults
def test_a_follower_says_it_once_and_lands_when_the_catalogue_is_back(raw: Raw) -> None:
    a, heard = raw.adapters, []
    follower = Follower(
        [raw.stream], broker=a.broker, registry=a.registry, lake=a.lake, commit_seconds=0.1, tell=lambda _, what: heard.append(what)
    )
    with refusing(raw):
        follower.start()
        raw.send(60, 2)
        wait_for(lambda: heard, 30)
        files = len(list((raw.home / "lake").rglob("*.parquet")))
        wait_for(lambda: len(list((raw.home / "lake").rglob("*.parquet"))) > files, 30)  # it tries again
        wait_for(lambda: len(list((raw.home / "lake").rglob("*.parquet"))) > files + 1, 30)
        assert len(heard) == 1 and "not today" in heard[0]
    wait_for(lambda: follower.seen[raw.stream.topic].landed.rows == 60, 30)
    raw.send(40, 1)
    wait_for(lambda: follower.seen[raw.stream.topic].landed.rows == 100, 30)
    assert not follower.seen[raw.stream.topic].trouble
    follower.stop()
    raw.whole()
