"""Filings, parties and facts: what several lists say becomes one row, and since when it was known."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from quantlake.adapters.quality.great_expectations import GreatExpectations
from quantlake.contract.compute import compute
from quantlake.contract.versions import viewed
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.reference import filing_index, filing_parties, filings, fundamentals

ACCESSION, DAY = "0001193125-26-027207", date(2026, 1, 28)
ACCEPTED = datetime(2026, 1, 28, 21, 7, 34, tzinfo=UTC)
LISTED = {"accession": ACCESSION, "form": "10-Q", "filed": DAY, "accepted_at": ACCEPTED, "cik": "0000789019", "name": "MICROSOFT CORP", "source_name": "sec/submissions/x"}
ENTERED = LISTED | {"role": "filer", "items": "2.02", "source_name": "sec/current/x"}
FACT = {
    "cik": "0000320193", "taxonomy": "us-gaap", "concept": "Assets", "unit": "USD", "start": None, "end": date(2025, 12, 31), "filed": DAY,
    "value": Decimal(1), "accn": ACCESSION, "source": "sec", "source_name": "sec/companyfacts/0000320193",
}  # fmt: skip


def received(stream: Any, *rows: dict[str, Any]) -> pl.LazyFrame:
    """Messages as a producer fills them."""
    return stream.filler(pl.DataFrame(list(rows), schema=pl.DataFrame(wire_arrow(stream).empty_table()).schema)).lazy()


def curated(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    raw = received(filings.raw, *rows)
    days = raw.select(pl.col("partition_date").unique()).collect().to_series().to_list()
    return [row for day in sorted(days) for row in pl.DataFrame(compute(filings.filings, [raw.filter(partition_date=day)], day)).to_dicts()]


@pytest.mark.parametrize("rows", [
    (ENTERED, LISTED | {"report_date": DAY, "primary_document": "a.htm"}), (LISTED | {"report_date": DAY, "primary_document": "a.htm"}, ENTERED),
])
def test_a_list_that_knows_less_blanks_nothing(rows: tuple[dict[str, Any], ...]) -> None:
    (row,) = curated(*rows, ENTERED | {"cik": "0000000001", "role": "subject"})
    assert (row["report_date"], row["primary_document"], row["items"]) == (DAY, "a.htm", "2.02")
    assert row["ciks"] == ["0000000001", "0000789019"] and row["superseded_at"] is None
    assert row["known_at"] == row["event_time"] == row["accepted_at"] == ACCEPTED and row["known_at_precision"] == "exact"


def test_the_last_word_on_a_filing_stands() -> None:
    (row,) = curated(ENTERED, ENTERED | {"items": "2.02,9.01"})
    assert row["items"] == "2.02,9.01"


def test_a_filing_without_acceptance_is_known_on_the_day_after() -> None:
    (row,) = curated(LISTED | {"accepted_at": None})
    assert (row["partition_date"], row["known_at"], row["known_at_precision"]) == (DAY, datetime(2026, 1, 29, 5, tzinfo=UTC), "day")
    late = curated(LISTED | {"accepted_at": datetime(2026, 1, 29, 2, tzinfo=UTC)})
    assert late[0]["partition_date"] == date(2026, 1, 29)


def test_parties_are_those_with_a_role() -> None:
    raw = received(filings.raw, ENTERED, ENTERED, ENTERED | {"role": "issuer"}, LISTED, ENTERED | {"cik": None})
    rows = pl.DataFrame(compute(filing_parties.parties, [raw], DAY)).select("cik", "role", "name", "known_at").rows()
    assert rows == [("0000789019", role, "MICROSOFT CORP", ACCEPTED) for role in ("filer", "issuer")]


def test_a_line_of_the_index_is_known_on_the_day_after() -> None:
    line = {"accession": ACCESSION, "cik": "0000000001", "name": "A", "form": "4", "filed": date(2025, 3, 9), "document": "edgar/data/1/x.txt"}
    raw = received(filing_index.raw, line, line)
    (row,) = pl.DataFrame(compute(filing_index.index, [raw], date(2025, 3, 9))).to_dicts()
    assert (row["event_time"], row["known_at"]) == (datetime(2025, 3, 9, 5, tzinfo=UTC), datetime(2025, 3, 10, 4, tzinfo=UTC))
    assert row["known_at_precision"] == "day"


def facts(*rows: dict[str, Any], filed: pl.LazyFrame | None = None) -> pl.DataFrame:
    known = pl.DataFrame({"accession": [ACCESSION, ACCESSION], "accepted_at": [ACCEPTED, datetime(2026, 1, 29, tzinfo=UTC)]})
    raw = received(fundamentals.raw, *rows)
    return pl.DataFrame(compute(fundamentals.facts, [raw, known.lazy() if filed is None else filed], DAY))


def test_a_fact_is_known_at_the_acceptance_of_its_filing() -> None:
    first, other = facts(FACT, FACT | {"accn": "0001193125-26-000001"}).sort("accn", descending=True).to_dicts()
    assert (first["known_at"], first["known_at_precision"], first["partition_date"]) == (ACCEPTED, "exact", DAY)
    assert (other["known_at"], other["known_at_precision"]) == (datetime(2026, 1, 29, 5, tzinfo=UTC), "day")
    assert first["event_time"] == datetime(2025, 12, 31, tzinfo=UTC)


def test_instants_and_periods_are_facts_of_their_own_and_a_fact_sent_again_is_one() -> None:
    period = FACT | {"start": date(2025, 1, 1)}
    assert len(facts(FACT, period, FACT, period, period | {"start": date(2025, 10, 1)})) == 3
    corrected = facts(FACT, FACT | {"value": Decimal(2)})
    assert corrected["value"].to_list() == [1, 2] and corrected["superseded_at"].is_null().to_list() == [False, True]


def test_of_a_period_the_fact_known_last_is_shown_with_its_conflict() -> None:
    rows = facts(FACT, FACT | {"accn": "0001193125-26-000001", "value": Decimal(3)}, FACT | {"accn": "0001193125-26-000002", "value": Decimal(4)})
    (view,) = fundamentals.facts.views
    (shown,) = viewed(rows.lazy(), view).collect().to_dicts()
    assert (shown["value"], shown["accn"], shown["conflict"]) == (4, "0001193125-26-000002", True)


def test_checks_find_what_cannot_be() -> None:
    good = facts(FACT, FACT | {"concept": "Cash"})
    bad = {
        "not_null": facts(FACT | {"value": None}), "ordered": facts(FACT | {"start": date(2026, 1, 1)}),
        "one_value_a_filed_date": facts(FACT, FACT | {"accn": "0001193125-26-000001", "value": Decimal(3)}, FACT | {"concept": "Cash"}),
        "unique_key": pl.concat([good, good]),
    }  # fmt: skip
    schema = pa.schema([f.with_nullable(True) for f in fundamentals.facts.spec.arrow])
    for check, rows in ({"": good} | bad).items():
        judged = GreatExpectations().judge(fundamentals.facts, rows.to_arrow().cast(schema), [DAY])[DAY]
        found = {r.check: (r.blocking, len(r.failing)) for r in judged if not r.passed}
        failing = {"not_null": 1, "ordered": 1, "one_value_a_filed_date": 2, "unique_key": 4}
        assert found == ({check: (check != "one_value_a_filed_date", failing[check])} if check else {})
