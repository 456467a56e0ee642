"""Whatever a message says, parsers neither raise nor lose what its neighbours say."""

import json
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake import exchanges
from quantlake_tests.exchanges import venue_messages

JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
    | st.sampled_from(["buy", "0", "-1", "1e-30", "1e999", "2021-07-22T22:36:10Z", "9" * 40, "", "0.1234567890123456789"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], junk)
    return copy


@st.composite
def hostile(draw: st.DrawFn, good: list[str]) -> str:
    """A good message with one value replaced, or cut, or with a comma too many; or anything."""
    payload = draw(st.sampled_from(good))
    kind = draw(st.sampled_from(["replaced", "replaced", "replaced", "cut", "comma", "anything"]))
    if kind == "replaced":
        value = json.loads(payload)
        return json.dumps(changed(value, draw(st.sampled_from(places(value))), draw(JUNK)))
    if kind == "cut":
        return payload[: draw(st.integers(0, len(payload) - 1))]
    return payload[:-1] + "," + payload[-1] if kind == "comma" else draw(st.text(max_size=30))


@pytest.mark.parametrize("source", sorted(exchanges.MODULES))
def test_parsers_never_raise_and_good_neighbours_keep_their_rows(source: str) -> None:
    module: ModuleType = exchanges.MODULES[source]
    good = venue_messages.GOOD[source]
    alone = [parse(venue_messages.frame(source, *good)) for parse in (module.trades, module.quotes, module.book_deltas)]
    assert alone[0].height and alone[2].height

    @settings(max_examples=40, deadline=None)
    @given(st.lists(hostile([payload for _, payload in good]), min_size=1, max_size=30))
    def holds(bad: list[str]) -> None:
        request = next((request for request, _ in good if request), "")
        between = [(request if i % 2 else "", payload) for i, payload in enumerate(bad)]
        mixed = venue_messages.frame(source, *(message for i in range(len(good)) for message in (good[i], *(between if i == 0 else ()))))
        own = pl.Series("row", [0, *range(len(bad) + 1, len(bad) + len(good))], dtype=pl.UInt32)
        for parse, rows in zip((module.trades, module.quotes, module.book_deltas), alone, strict=True):
            found = parse(mixed)
            renumbered = found.filter(pl.col("row").is_in(own.implode())).with_columns(
                row=pl.when(pl.col("row") == 0).then(0).otherwise(pl.col("row") - len(bad)).cast(pl.UInt32)
            )
            assert found.schema == rows.schema
            assert renumbered.equals(rows)
        assert mixed.select(module.channel(pl.col("payload"))).height == mixed.height

    holds()
