"""Recorded SEC documents through the real commands: replayed, landed, built, and asked as they were known at a time."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from quantlake.contract import Built
from quantlake.datasets.reference import filing_index, filing_parties, filings, fundamentals
from quantlake.landing.audit import audit
from quantlake.landing.land import land
from quantlake.orchestration.build import Outcome, build
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.recorded import recorded

AAPL, MRVL = "0000320193", "0001835632"
FACTS = "curated_reference_fundamentals"
STREAMS = (fundamentals.raw, filings.raw, filing_index.raw)
TABLES: tuple[Built, ...] = (filings.filings, filing_parties.parties, filing_index.index, fundamentals.facts)
APPLE_2009 = ("EarningsPerShareDiluted", AAPL, "2008-09-28", "2009-09-26")
MARVELL_2021 = ("AmortizationOfIntangibleAssets", MRVL, "2021-01-31", "2021-05-01")


@pytest.fixture(scope="module")
def built() -> Iterator[tuple[Commands, list[Outcome]]]:
    """A home that has replayed and built all recorded documents, and what became of each date."""
    with commands() as ql, announced(ql):
        yield ql, replayed_and_built(ql)


@pytest.fixture(scope="module")
def home(built: tuple[Commands, list[Outcome]]) -> Commands:
    return built[0]


def replayed_and_built(ql: Commands) -> list[Outcome]:
    """Builds in this process without Dagster, whose runs over 20 years of scattered dates take minutes."""
    said = ql.run("replay", str(recorded("reference/sec_edgar_json")), str(recorded("alt/sec_current_filings_atom"))).stdout
    assert "HTML page" in said and "reference.company_tickers.v1: 9,610 records" in said
    adapters = Adapters(Settings(home=ql.home))
    for stream in STREAMS:
        land(stream, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake)
        assert all(a.clean and not a.pending for a in audit(stream, lake=adapters.lake, broker=adapters.broker))
    outcomes = []
    for table in TABLES:
        dates = sorted(adapters.lake.counts(table.reads[0].dataset.spec))
        outcomes += [o for chunk in build(table, dates, adapters, "test") for o in chunk]
    return outcomes


def one(ql: Commands, query: str, *options: str) -> dict[str, Any]:
    (row,) = ql.sql(query, *options)
    return row


def as_known(ql: Commands, fact: tuple[str, str, str, str], moment: str) -> Decimal:
    concept, cik, start, end = fact
    where = f"concept = '{concept}' and cik = '{cik}' and \"start\" = '{start}' and \"end\" = '{end}'"
    return Decimal(one(ql, f"select value from {FACTS}_asof where {where}", "--as-known-at", moment)["value"])


def test_every_fact_is_a_row_and_restatements_are_counted(home: Commands) -> None:
    restated = "select cik, taxonomy, concept, unit, \"start\", \"end\" from {} group by all having count(distinct value) > 1"
    query = f"select cik, count(*) n, (select count(*) from ({restated.format(FACTS)}) r where r.cik = f.cik) restated from {FACTS} f group by cik order by cik"
    assert home.sql(query) == [{"cik": AAPL, "n": 24579, "restated": 425}, {"cik": MRVL, "n": 8053, "restated": 467}]


def test_depreciation_of_three_fiscal_years_is_what_was_filed(home: Commands) -> None:
    rows = home.sql(
        f"select value from {FACTS}_asof where cik = '{MRVL}' and taxonomy = 'us-gaap' and concept = 'OtherDepreciationAndAmortization' "
        "and \"end\" - \"start\" > 350 and \"end\" >= '2024-01-01' order by \"end\""
    )
    assert [Decimal(row["value"]) for row in rows] == [299_800_000, 304_300_000, 348_600_000]


@pytest.mark.parametrize(("fact", "moment", "value"), [
    (APPLE_2009, "2009-12-31", "6.29"), (APPLE_2009, "2010-02-01", "9.08"),
    (MARVELL_2021, "2021-12-31", "128639000"), (MARVELL_2021, "2022-06-30", "128600000"),
])
def test_a_restated_fact_is_what_was_known_then(home: Commands, fact: tuple[str, str, str, str], moment: str, value: str) -> None:
    assert as_known(home, fact, f"{moment}T00:00:00Z") == Decimal(value)


def test_facts_are_known_at_their_acceptance_where_it_is_known(home: Commands) -> None:
    rows = home.sql(
        f"select cik, known_at_precision how, count(*) n, min(known_at) filter (filed = '2010-01-25')::text least from {FACTS} group by all order by all"
    )
    assert [(r["cik"], r["how"], r["n"]) for r in rows] == [(AAPL, "day", 24579), (MRVL, "exact", 8053)]
    assert rows[0]["least"].startswith("2010-01-26 05:00:00")


def test_two_values_of_one_filed_date_are_marked(home: Commands) -> None:
    where = f"cik = '{AAPL}' and concept = 'UnrecognizedTaxBenefits' and \"end\" = '2014-09-27'"
    row = one(home, f"select value, accn, conflict from {FACTS}_asof where {where}", "--as-known-at", "2015-02-01T00:00:00Z")
    assert (Decimal(row["value"]), row["accn"], row["conflict"]) == (4_033_000_000, "0001193125-15-023732", True)


def test_filings_and_their_parties_are_counted_once(home: Commands) -> None:
    current = "select accession from raw_reference_filings where source_name like 'sec/current/%'"
    both = "select accession from raw_reference_filings group by 1 having count(distinct split_part(source_name, '/', 2)) = 2"
    counts = {
        "entries": f"count(*) from ({current})",
        "entered": f"count(*) from curated_reference_filings where accession in ({current})",
        "parties": "count(*) from curated_reference_filing_parties",
        "filings": "count(*) from curated_reference_filings",
        "accessions": "count(distinct accession) from curated_reference_filings",
        "in_both_lists": f"count(*) from ({both})",
        "of_these_with_document": f"count(primary_document) from curated_reference_filings where accession in ({both})",
        "index": "count(*) from curated_reference_filing_index",
    }
    found = one(home, "select " + ", ".join(f"(select {count}) {name}" for name, count in counts.items()))
    assert found == {
        "entries": 5100, "entered": 3315, "parties": 5057, "filings": 6826, "accessions": 6826, "in_both_lists": 2, "of_these_with_document": 2,
        "index": 4031,
    }  # fmt: skip


def test_every_date_is_good_and_conflicts_alone_are_warned_of(built: tuple[Commands, list[Outcome]]) -> None:
    _, outcomes = built
    assert all(o.good for o in outcomes)
    assert {r.check for o in outcomes for r in o.results if not r.passed} == {"one_value_a_filed_date"}


def test_a_second_replay_adds_nothing(home: Commands) -> None:
    query = "select " + ", ".join(f"(select count(*) from {stream.spec.sql_name}) {stream.name}" for stream in STREAMS)
    raw = one(home, query)
    assert not any(o.changed for o in replayed_and_built(home))
    assert one(home, query) == {name: 2 * rows for name, rows in raw.items()}
