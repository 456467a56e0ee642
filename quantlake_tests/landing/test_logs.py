"""What a table knows of its logs: kept as text without loss, and what each transition says."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quantlake.landing.logs import PROPERTY, Log, Logs, Loss
from quantlake.ports import Last

AT = "2024-03-05T00:00:00+00:00"
A, B = "cluster/a", "cluster/b"
OFFSETS = st.dictionaries(st.integers(0, 3), st.integers(0, 2**62), max_size=3)
LAST = st.dictionaries(st.integers(0, 3), st.builds(Last, st.integers(0, 2**62), st.integers(0, 2**31 - 1)), max_size=3)
TWO = Logs((Log(A, "open", {0: 10, 2: 7}, {2: 3}),))


def parsed(logs: Logs) -> Logs:
    return Logs.parse({PROPERTY: logs.text()})


Step = tuple[str, Sequence[Any]]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("entered"), st.just(())), st.tuples(st.just("moved"), st.tuples(OFFSETS, st.none() | OFFSETS, st.none() | LAST)),
    st.tuples(st.sampled_from(["closed", "lost"]), st.just(())), st.tuples(st.just("given_up"), st.tuples(st.sampled_from(["ended", "reset"]))),
    st.tuples(st.just("expired"), st.tuples(st.integers(0, 3), st.integers(0, 2**62))), st.tuples(st.just("restarted"), st.just(())),
    st.tuples(st.just("truncated"), st.just(())),
)  # fmt: skip


def stepped(logs: Logs, broker_id: str, step: Step) -> Logs:
    """As landing and mending do it: to the newest generation of a log that was entered before."""
    name, arguments = step
    current = logs.current(broker_id)
    logs = logs if any(log.id == current for log in logs.logs) else logs.entered(current)
    if name == "truncated":
        return logs.truncated(current, {p: o // 2 for p, o in logs[current].offsets.items() if p % 2}, AT)
    at = (AT,) if name in ("given_up", "expired", "restarted") else ()
    return getattr(logs, name)(current, *arguments, *at)


@given(st.lists(st.tuples(st.sampled_from([A, B]), STEPS), max_size=12))
def test_any_history_is_kept_as_text(steps: list[tuple[str, Step]]) -> None:
    logs = Logs()
    for broker_id, step in steps:
        before, logs = logs, stepped(logs, broker_id, step)
        assert parsed(logs) == logs
        assert [log.id for log in logs.logs][: len(before.logs)] == [log.id for log in before.logs], "none goes, and their order stays"
        assert len({log.id for log in logs.logs}) == len(logs.logs)
        for log in before.logs:
            assert logs[log.id].losses[: len(log.losses)] == log.losses, "what a person accepted stays on record"
            assert log.broker_id == broker_id or logs[log.id] == log, "another log is not touched"
    for broker_id in (A, B):
        own = [log.id for log in logs.logs if log.broker_id == broker_id]
        assert logs.current(broker_id) == (own[-1] if own else broker_id)
        assert own == [broker_id, *(f"{broker_id}#{n}" for n in range(2, len(own) + 1))][: len(own)]


def test_nothing_known_is_no_log() -> None:
    for properties in ({}, {PROPERTY: ""}, {PROPERTY: "[]"}, {"other": "x"}):
        assert Logs.parse(properties) == Logs()
    assert Logs()[A] == Log(A) and Logs().current(A) == A and Logs().open_elsewhere(A) == ()
    assert Logs().text() == "[]"


def test_what_is_empty_is_not_said() -> None:
    assert json.loads(Logs((Log(A, offsets={1: 5}),)).text()) == [{"log": A, "status": "open", "offsets": {"1": 5}}]
    assert parsed(TWO).text() == TWO.text() and json.loads(TWO.text())[0]["begins"] == {"2": 3}


def test_a_log_is_entered_once_and_is_open_then() -> None:
    logs = TWO.entered(B)
    assert [(log.id, log.status, dict(log.offsets)) for log in logs.logs] == [(A, "open", {0: 10, 2: 7}), (B, "open", {})]
    assert logs.entered(B) == logs and logs.order(B) == 1
    change: Callable[[Logs], Logs]
    for change in (lambda found: found.closed(A), lambda found: found.lost(A)):
        again = change(logs).entered(A)
        assert again == logs, "written to after its close, it is open again, with all that is known of it"


def test_offsets_move_on_by_partition() -> None:
    moved = TWO.moved(A, {0: 12, 1: 4}, {1: 2})
    assert moved[A] == Log(A, "open", {0: 12, 2: 7, 1: 4}, {2: 3, 1: 2})
    assert moved.moved(A, {}) == moved


def test_a_log_that_may_have_held_more_is_open_elsewhere() -> None:
    logs = TWO.entered(B)
    assert [log.id for log in logs.open_elsewhere(B)] == [A] and [log.id for log in logs.open_elsewhere(A)] == [B]
    assert logs.closed(A).open_elsewhere(B) == logs.lost(A).open_elsewhere(B) == logs.given_up(A, "ended", AT).open_elsewhere(B) == ()
    assert [log.id for log in TWO.restarted(A, AT).open_elsewhere(A)] == [], "a later generation is the same broker's"


def test_a_log_given_up_says_from_where_on() -> None:
    given_up = TWO.given_up(A, "ended", AT)[A]
    assert (given_up.status, given_up.losses) == ("given_up", (Loss(0, 10, None, "ended", AT), Loss(2, 7, None, "ended", AT)))
    assert (given_up.offsets, given_up.begins) == (TWO[A].offsets, TWO[A].begins)


def test_expired_offsets_are_skipped() -> None:
    skipped = TWO.expired(A, 0, 15, AT).expired(A, 1, 4, AT)[A]
    assert (skipped.status, skipped.offsets) == ("open", {0: 15, 2: 7, 1: 4})
    assert skipped.losses == (Loss(0, 10, 15, "expired", AT), Loss(1, 0, 4, "expired", AT)), "one never landed lost all from its begin"
    assert skipped.begins == {2: 3}


def test_a_truncated_log_goes_on_as_its_next_generation() -> None:
    logs = TWO.truncated(A, {0: 6}, AT)
    before, after = logs.logs
    assert (before.id, before.status, before.losses, before.offsets) == (A, "given_up", (Loss(0, 6, 10, "truncated", AT),), {0: 10, 2: 7})
    assert after == Log(f"{A}#2", "open", {0: 6, 2: 7}, {0: 6, 2: 7}) and logs.current(A) == after.id
    third = logs.truncated(after.id, {0: 0, 2: 1}, AT)
    assert [log.id for log in third.logs] == [A, f"{A}#2", f"{A}#3"] and third[f"{A}#3"] == Log(f"{A}#3", "open", {0: 0, 2: 1}, {2: 1})


def test_a_reset_begins_with_nothing() -> None:
    logs = TWO.restarted(A, AT)
    assert [log.id for log in logs.logs] == [A, f"{A}#2"] and logs.current(A) == f"{A}#2"
    assert logs[A].status == "given_up" and {loss.why for loss in logs[A].losses} == {"reset"}
    assert logs[f"{A}#2"] == Log(f"{A}#2") and logs[f"{A}#2"].broker_id == A
    assert logs.restarted(f"{A}#2", AT).current(A) == f"{A}#3"
