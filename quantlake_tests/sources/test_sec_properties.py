"""Whatever an SEC document holds: each of its records is a row, or the document is refused by name before its first row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.sources.importers import Rows
from quantlake.sources.sec import companyfacts, current, form_index, submissions
from quantlake.sources.sec.documents import EdgarDocument
from quantlake_tests.sources import sec_files as made

Read = Callable[[EdgarDocument], Rows]
Values = st.sampled_from([
    None, "", "x", "2009-09-26", "2009-13-01", 0, -1, 7, 2.5, 1e-30, 123456789012345678901234567890, "6.29", True, [], {}, "\ud800", "é\x00",
    "0001193125-09-214859", "2025-12-12T17:32:31-05:00", "2025-12-12T25:00:00Z", float("nan"), float("inf"),
])  # fmt: skip


def changed(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The record, mostly whole; now and then a field is another value, or is not there."""
    return st.one_of(
        st.just(record), st.just(record), st.builds(lambda name, value: record | {name: value}, st.sampled_from(sorted(record)), Values),
        st.builds(lambda gone: {k: v for k, v in record.items() if k != gone}, st.sampled_from(sorted(record))),
    )  # fmt: skip


def require_whole(read: Read, content: bytes, records: int | None, name: str = "CIK0000789019-submissions-001") -> None:
    """All records or, by name, none; of unknown many (None) just that."""
    landed, refused = 0, ""
    try:
        for _, table in read(EdgarDocument(content, "the document", name)):
            landed += table.num_rows
    except QuantLakeError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("the document") and not landed
    else:
        assert records is None or landed == records


@settings(max_examples=150, deadline=None)
@given(st.lists(changed(made.FACT | {"start": "2008-09-28"}), max_size=4), Values)
def test_facts(facts: list[dict[str, Any]], cik: Any) -> None:
    units = {"EarningsPerShareDiluted": {"units": {"USD/shares": facts[:2], "USD": facts[2:]}}}
    require_whole(companyfacts.rows, json.dumps({"cik": cik or 320193, "facts": {"us-gaap": units}}).encode(), len(facts))


@settings(max_examples=150, deadline=None)
@given(st.lists(changed(made.FILING), max_size=4), st.booleans())
def test_submissions(filings: list[dict[str, Any]], ragged: bool) -> None:
    columns = {name: [f[name] for f in filings if name in f or not ragged] if ragged else [f.get(name) for f in filings] for name in made.FILING}
    require_whole(submissions.rows, json.dumps(columns).encode(), len(filings))


Text = st.sampled_from(["", "x", "4 - A - B (C) (0000320193) (Filer)", "8-K - nobody", "é", "&amp;", "&lt;b&gt;", "<b/>", "]]>", "2025-12-12T17:32:31-05:00"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["title", "accession", "form", "updated", "filed"]), Text, max_size=1), max_size=4))
def test_current_filings(entries: list[dict[str, str]]) -> None:
    require_whole(current.rows, made.page(*(made.entry(**entry) for entry in entries)), len(entries))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([made.LINE, made.LINE, made.LINE.replace("20200318", "20201318"), made.LINE[:40], "", "x", "é" * 90, made.LINE.strip()]), max_size=5))
def test_index(lines: list[str]) -> None:
    records = len("\n".join(lines).rstrip().split("\n")) if any(line.strip() for line in lines) else 0
    require_whole(form_index.rows, made.index(*lines).encode("iso-8859-1"), records)


def whole(folder: Path) -> dict[str, tuple[Read, bytes]]:
    return {
        "facts": (companyfacts.rows, made.facts(folder / "facts.json", made.FACT, made.FACT).read_bytes()),
        "submissions": (submissions.rows, made.submitted(folder / "a.json", made.FILING, made.FILING).read_bytes()),
        "current": (current.rows, made.page(made.entry(), made.entry())),
        "index": (form_index.rows, made.index(made.LINE, made.LINE).encode()),
    }


@pytest.mark.parametrize("format", ["facts", "submissions", "current", "index"])
def test_a_document_cut_or_damaged_anywhere(tmp_path: Path, format: str) -> None:
    read, content = whole(tmp_path)[format]
    for at in range(0, len(content), 7):
        require_whole(read, content[:at], None)
        for byte in (0, 34, 60, 255):
            require_whole(read, content[:at] + bytes([byte]) + content[at + 1 :], None)
