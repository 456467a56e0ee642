"""Drawn logs: of the decoded events and others, laid out well, and in ways that none of them is."""

from hypothesis import strategies as st

from quantlake_tests.evm.plain import (
    BATCH,
    EVENTS,
    PAIR_CREATED,
    POOL_CREATED,
    SINGLE,
    TRANSFER,
    V2_SWAP,
    V3_SWAP,
    Log,
    a_log,
    topic,
    word,
)

LAYOUTS = {TRANSFER: [(3, 1), (4, 0)], SINGLE: [(4, 2)], V2_SWAP: [(3, 4)], V3_SWAP: [(3, 5)], PAIR_CREATED: [(3, 2)], POOL_CREATED: [(4, 2)]}
numbers = st.one_of(st.integers(0, 1 << 24), st.integers(0, (1 << 160) - 1), st.integers(0, (1 << 256) - 1), st.integers(1, 1 << 20).map(lambda n: (1 << 256) - n))


@st.composite
def batch_data(draw: st.DrawFn) -> str:
    """Two arrays, mostly well; or with offsets and lengths of any kind."""
    ids, values = draw(st.lists(numbers, max_size=4)), draw(st.lists(numbers, max_size=4))
    if draw(st.booleans()):
        values = (values + ids)[: len(ids)]
    gap = draw(st.sampled_from([0, 0, 0, 32, 1]))
    heads = [64, 64 + gap + 32 * (1 + len(ids))]
    if draw(st.integers(0, 3)) == 0:
        heads[draw(st.integers(0, 1))] = draw(st.sampled_from([0, 1, 32, 63, 96, 1 << 31, 1 << 63, (1 << 256) - 32, 10_000]))
    lengths = [len(ids), len(values)]
    if draw(st.integers(0, 3)) == 0:
        lengths[draw(st.integers(0, 1))] = draw(st.sampled_from([0, 1, 5, 1 << 31, 1 << 59, (1 << 256) - 1]))
    parts = [*map(word, heads), word(lengths[0]), *map(word, ids), "00" * gap, word(lengths[1]), *map(word, values)]
    return "0x" + "".join(parts)


@st.composite
def one(draw: st.DrawFn) -> Log:
    event = draw(st.sampled_from([*EVENTS, topic(1)]))
    topics, words = draw(st.sampled_from(LAYOUTS.get(event, [(4, 2)])) if draw(st.integers(0, 4)) else st.tuples(st.integers(1, 4), st.integers(0, 6)))
    data = draw(batch_data()) if event == BATCH else "0x" + "".join(map(word, draw(st.lists(numbers, min_size=words, max_size=words))))
    spoiled = draw(st.sampled_from(["", "", "", "", "", "", "cut", "odd", "no hex", "upper", "more", "bare", "none"]))
    data = {"cut": data[:-2], "odd": data[:-1], "no hex": data[:-1] + "g", "upper": "0x" + data[2:].upper(), "more": data + "00", "bare": data[2:], "none": "0x"}.get(spoiled, data)  # fmt: skip
    indexed = [topic(n) for n in draw(st.lists(numbers, min_size=topics - 1, max_size=topics - 1))]
    if indexed and draw(st.integers(0, 15)) == 0:
        indexed[-1] = draw(st.sampled_from(["0x", "0x12", indexed[-1] + "00", "0x" + "z" * 64]))
    return a_log([] if draw(st.integers(0, 30)) == 0 else [event, *indexed], data)


columns = st.lists(one(), min_size=1, max_size=25).map(lambda rows: [{**row, "log_index": n} for n, row in enumerate(rows)])
