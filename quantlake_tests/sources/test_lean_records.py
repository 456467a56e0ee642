"""Every kind of LEAN file, made at random: its rows are its records, or it is refused by file and line; a copy reads the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.sources import lean
from quantlake_tests.sources.files import zipped

NUMBER = st.from_regex(r"[0-9]{1,7}(\.[0-9]{1,8})?", fullmatch=True).filter(str.isascii)
BAD = st.sampled_from(["", "x", "-", "1.2.3", "nan", "9" * 25, "é"])
STEPS = {"tick": "20131007_{s}_tick_{w}{c}.csv", "minute": "20131007_{s}_minute_{w}{c}.csv", "daily": "{s}_{w}{c}.csv"}
KINDS = [
    (market, step, what, columns)
    for market, whats in {
        "equity/usa": {"trade": {"tick": "nnxhf", "bar": "nnnnn"}, "quote": {"tick": "nnnnxhf", "bar": "nnnnnnnnnn"}},
        "crypto/coinbase": {"trade": {"tick": "nn", "bar": "nnnnn"}, "quote": {"tick": "nnnn", "bar": "nnnnnnnnnn"}},
        "forex/fxcm": {"quote": {"tick": "nn", "bar": "nnnnnnnnnn"}},
        "future/comex": {
            "trade": {"tick": "nnxhf", "bar": "nnnnn"}, "quote": {"tick": "nnnnxf", "bar": "nnnnnnnnnn"}, "openinterest": {"tick": "n", "bar": "n"}
        },
    }.items()
    for what, by_step in whats.items()
    for step in STEPS
    for columns in [by_step["tick" if step == "tick" else "bar"]]
]  # fmt: skip
CELLS = {"n": NUMBER, "x": st.sampled_from(["P", "", "usa"]), "h": st.sampled_from(["", "1", "20002020", "fF"]), "f": st.sampled_from("01")}


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, list[str], bool]:
    """A path, a member, its lines, and whether all of them are right."""
    market, step, what, columns = draw(st.sampled_from(KINDS))
    contract = "_201312" if market.startswith("future") else ""
    member = STEPS[step].format(s="abc", w=what, c=contract)
    daily = step == "daily"
    times = st.sampled_from(["20131007 00:00", "20131008 00:00"]) if daily else st.integers(0, 86_399_999).map(str)
    lines = draw(st.lists(st.tuples(times, *(CELLS[c] for c in columns)).map(",".join), min_size=1 if daily else 0, max_size=15))
    wrong = draw(st.booleans()) and len(lines) > daily  # the first line of a daily file tells what it is
    if wrong:
        at, cells = draw(st.integers(int(daily), len(lines) - 1)), ["0", *"1" * len(columns)]
        number = draw(st.sampled_from([0, *(i for i, c in enumerate(columns, 1) if c == "n")]))
        cells[number] = draw(BAD)
        lines[at] = ",".join(cells) if draw(st.booleans()) else ",".join([*cells, "1"])
    folder = f"{market}/{step}" if daily else f"{market}/{step}/abc"
    return f"{folder}/a.zip", member, lines, not wrong


@settings(max_examples=150, deadline=None)
@given(files(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_rows_are_the_records_or_the_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[str, str, list[str], bool], newline: str, last: bool
) -> None:
    path, member, lines, good = made
    at = zipped(tmp_path_factory.mktemp("lean") / path, member, newline.join(lines) + newline * (last and bool(lines)))
    items = 2 if "quote" in member and "tick" not in member else 1
    try:
        parts, refused = [part for _, part in lean.read(at)], ""
    except QuantLakeError as error:
        parts, refused = [], str(error)
    assert good == (not refused)
    if refused:
        assert f"{at}: {member} line " in refused
        return
    numbers = [(n, i) for part in parts for n, i in zip(part["line_number"].to_pylist(), part["item_index"].to_pylist(), strict=True)]
    assert numbers == [(n, i) for n in range(1, len(lines) + 1) for i in range(items)]
    assert sum(part["source_records"].to_pylist().count(None) for part in parts) == 0
