"""Whatever a topic holds, landing goes on, and each record is in the table once: as it was sent, or as a dead letter with its bytes."""

import itertools
import random
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import Stream
from quantlake.landing.audit import audit
from quantlake.landing.follow import Follower
from quantlake.landing.redrive import redrive
from quantlake.ports import Message
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.landing.fuzzing import SAME, UNKNOWN, Fuzzed, hostile
from quantlake_tests.landing.hostile import Sent, fuzzed, require_landed
from quantlake_tests.landing.test_decode import DAMAGE, EVERY_ROW, SMALL_ROW, damaged, decoded, encoded, every, small

LIMIT = fuzzed.max_message_bytes
Damaged = tuple[str, Any]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.faults) for n in range(2, 60))])
def test_whatever_arrives_lands_once(fuzzing: Fuzzed, seed: int) -> None:
    chance = random.Random(seed)
    for count in (chance.randint(1, 3), 200, 100):
        fuzzing.send(hostile(seed + count).records(count))
        fuzzing.land(commit_rows=chance.choice([1_000_000, 37, 100]))
        assert len(fuzzing.sent) == fuzzing.lake.scan(fuzzing.stream.spec).collect().height
    fuzzing.require_all()


def test_whatever_is_redriven_is_there_once(fuzzing: Fuzzed) -> None:
    """First as it is, which changes nothing; then with the schema of an id that was unknown."""
    fuzzing.send(hostile(200).records(300))
    fuzzing.land()
    head = fuzzing.lake.last_commit(fuzzing.stream.spec)
    assert redrive(fuzzing.stream, registry=fuzzing.registry, lake=fuzzing.lake).rows == 0
    assert fuzzing.lake.last_commit(fuzzing.stream.spec) == head
    fuzzing.register(UNKNOWN[0])
    came = [place for place, s in fuzzing.sent.items() if s.dead == ("unknown_schema",) and (s.value or b"")[1:5] == UNKNOWN[0].to_bytes(4, "big")]
    assert redrive(fuzzing.stream, registry=fuzzing.registry, lake=fuzzing.lake).rows == len(came) > 0
    fuzzing.sent |= {place: replace(fuzzing.sent[place], dead=()) for place in came}
    fuzzing.require_all()


def test_whatever_arrives_is_followed(fuzzing: Fuzzed) -> None:
    told: list[str] = []
    follower = Follower(
        [fuzzing.stream], broker=fuzzing.broker, registry=fuzzing.registry, lake=fuzzing.lake, tell=lambda _, what: told.append(what),
        commit_seconds=0.1, commit_rows=150,
    )  # fmt: skip
    seen = follower.seen[fuzzing.stream.topic]
    follower.start()
    try:
        for seed in range(2):
            fuzzing.send(hostile(100 + seed).records(100))
            wait_for(lambda: seen.landed.rows + seen.landed.dead_letters == len(fuzzing.sent), 30)
    finally:
        follower.stop()
    assert not told
    fuzzing.require_all()


@pytest.mark.parametrize("schema_id", SAME)
def test_an_id_that_is_no_number_as_a_float(fuzzing: Fuzzed, schema_id: int) -> None:
    """First and alone, so that all are decoded at once; the audit is of no use here, since it would decode as wrongly."""
    own = hostile(schema_id)
    fuzzing.send(own.intact(schema_id) for _ in range(6))
    fuzzing.land()
    found = fuzzing.lake.read(fuzzing.stream.spec).to_pylist()
    require_landed(fuzzing.stream, found, fuzzing.sent)
    assert {r["_schema_id"] for r in found} == {schema_id}


def test_large_messages_are_rows_up_to_the_contract_s_limit(fuzzing: Fuzzed) -> None:
    """Beyond it they are dead letters with their bytes; large keys and headers are rows."""
    own, noise = hostile(3), random.Random(4).randbytes(10 << 20)

    def sized(size: int) -> Sent:
        row = {**(own.intact().row or {}), "c4": b""}
        sent = own.intact(**{**row, "c4": noise[: size - 3 - len(own.intact(**row).value or b"")]})  # its length is 3 bytes longer than that of nothing
        return replace(sent, dead=("oversized",), row=None) if size > LIMIT else sent

    sent = [
        own.intact(), sized(LIMIT), sized(LIMIT + 1), Sent(noise, dead=("oversized",)), own.intact(), sized(LIMIT - 1), Sent(noise[:LIMIT], dead=("framing",)),
        replace(own.intact(), key=noise[: 1 << 20]), replace(own.intact(), headers=((b"h", noise[: 3 << 20]), (b"n" * 30_000, b""))),
        replace(own.intact(), headers=tuple((b"h%d" % n, b"v") for n in range(20_000))), Sent(None, key=noise[: 1 << 20]), own.intact(),
    ]  # fmt: skip
    assert [len(s.value or b"") for s in sent[1:3]] == [8 << 20, (8 << 20) + 1]
    for partition in range(2):
        fuzzing.send_large((replace(s, key=s.key or b"k") for s in sent[partition::2]), partition)
    fuzzing.land()
    fuzzing.require_all()


@pytest.mark.parametrize("keys", [1, 20, 1000], ids=["one key", "few keys", "keys that hardly repeat"])
def test_keys_that_always_or_hardly_ever_repeat(fuzzing: Fuzzed, keys: int) -> None:
    """However rows are laid out by their keys, those of one key stand in the order in which they came."""
    own = hostile(5)
    rows = [own.intact(partition_date=date(2024, 1, 1)) if n % 10 else own.cut() for n in range(300)]
    mine = [replace(s, key=f"{n * 7919 % keys}".encode()) for n, s in enumerate(itertools.islice(itertools.cycle(rows), 1200))]
    fuzzing.send_large(mine, 1)
    fuzzing.land(commit_rows=500)
    fuzzing.require_all()
    of_keys: dict[bytes, list[int]] = {}
    seen: set[int] = set()
    for commit in fuzzing.lake.commits(fuzzing.stream.spec):
        stored = fuzzing.lake.read(fuzzing.stream.spec, columns=["_key", "_offset"], snapshot_id=commit.snapshot_id).to_pylist()
        for row in (r for r in stored if r["_offset"] not in seen):
            of_keys.setdefault(row["_key"], []).append(row["_offset"])
        seen |= {r["_offset"] for r in stored}
    assert len(of_keys) == keys and all(offsets == sorted(offsets) for offsets in of_keys.values())


def test_a_produced_message_may_be_anything(fuzzing: Fuzzed) -> None:
    """As the project's own producer sends it, to the partition that a key gives."""
    noise = random.Random(6)
    sent = [Message(noise.randbytes(n % 9) or None, None if n % 50 == 7 else noise.randbytes(n % 100), (("h", b""),) * (n % 3)) for n in range(500)]
    assert fuzzing.broker.produce(fuzzing.stream.topic, sent) == 500
    fuzzing.land(commit_rows=100)
    found = fuzzing.lake.read(fuzzing.stream.spec).to_pylist()
    assert sorted((r["_key"] or b"", r["_value"] or b"") for r in found) == sorted((m.key or b"", m.value or b"") for m in sent)
    assert all(a.clean and a.pending == 0 for a in audit(fuzzing.stream, lake=fuzzing.lake, broker=fuzzing.broker))


BODIES = st.one_of(DAMAGE, st.tuples(st.just("byte"), st.tuples(st.integers(0, 10_000), st.integers(0, 255))), st.tuples(st.just("bytes"), st.binary(max_size=30)))


def changed(value: bytes, how: str, detail: Any) -> bytes | None:
    if how == "byte":
        place = 5 + detail[0] % (len(value) - 5)
        return value[:place] + bytes([detail[1]]) + value[place + 1 :]
    return value[:5] + detail if how == "bytes" else damaged(value, how, detail)


def require_the_same_alone(stream: Stream, batch: list[tuple[dict[str, Any], Damaged]]) -> None:
    whole = encoded(stream, [row for row, _ in batch])
    values = [changed(value, *how) for value, (_, how) in zip(whole, batch, strict=True)]
    alone = [repr({**decoded(stream, [value])[0], "_offset": n}) for n, value in enumerate(values)]
    assert [repr(r) for r in decoded(stream, values)] == alone


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(EVERY_ROW, BODIES), min_size=2, max_size=8))
def test_what_a_message_becomes_does_not_depend_on_its_neighbours(batch: list[tuple[dict[str, Any], Damaged]]) -> None:
    require_the_same_alone(every, batch)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(SMALL_ROW, BODIES), min_size=2, max_size=40))
def test_nor_do_messages_of_few_bytes(batch: list[tuple[dict[str, Any], Damaged]]) -> None:
    require_the_same_alone(small, batch)
