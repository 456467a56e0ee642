"""Vendor bar findings over real stores: what is stale when later bars come, and what a check of each rule says."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quantlake.cli.embedded import Embedded
from quantlake.contract.catalog import Catalog
from quantlake.datasets.market import vendor_bar_findings, vendor_bars, vendor_bars_repaired
from quantlake.datasets.reference import symbol_map
from quantlake.orchestration.record import asset_key
from quantlake.orchestration.refresh import refresh
from quantlake.orchestration.staleness import state
from quantlake.serving.query import QueryService
from quantlake.settings import Settings
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake.wiring import Adapters
from quantlake_tests.datasets.made_bars import Row, Walk, frame, made

TABLE = vendor_bar_findings.vendor_bar_findings
REPAIRED = vendor_bars_repaired.vendor_bars_repaired
GRAPH = Catalog((vendor_bars.raw, symbol_map.raw, symbol_map.symbols, vendor_bars.bars, TABLE, REPAIRED))
PRICES = ["close", "high", "low", "open"]


@pytest.fixture
def adapters(home: Path) -> Iterator[Adapters]:
    found = Adapters(Settings(home=home))
    with Embedded(found, GRAPH):
        yield found


def arrive(adapters: Adapters, bars: list[Row]) -> None:
    rows = frame(bars).with_columns(source_version=pl.lit(None, pl.String), source_records=pl.lit(None, pl.Int64))
    send(adapters.broker, adapters.registry, vendor_bars.raw, typed(vendor_bars.raw, rows))


def test_findings_follow_what_comes_later(adapters: Adapters) -> None:
    bars = made(Walk(days=18))
    for row in bars[:12]:
        row.update({c: row[c] * 100 for c in (*PRICES, "adj_close")})
    asked = 'select partition_date, rule, "column", expected from derived_market_vendor_bar_findings order by all'
    with dg.DagsterInstance.ephemeral() as instance:
        for part, wrong in ((bars[:13], [12]), (bars[13:], range(12))):  # one row of another level is wrong, three show which level holds
            arrive(adapters, part)
            done = refresh(GRAPH, GRAPH.datasets, adapters, instance)
            assert not done.errors and not done.rejected
            found = [tuple(r.values()) for r in QueryService(GRAPH, adapters).run(asked, None).read_all().to_pylist()]
            assert [f[:3] for f in found] == [(bars[n]["partition_date"], "unit_100x", c) for n in wrong for c in PRICES]
            repaired = QueryService(GRAPH, adapters).run("select partition_date from derived_market_vendor_bars_repaired order by 1", None)
            assert repaired.read_all().column(0).to_pylist() == [bars[n]["partition_date"] for n in wrong]
            assert not any(state(GRAPH, GRAPH.datasets, adapters, instance).stale(d) for d in GRAPH.datasets)
        assert found[0][3] == (bars[0]["close"] / 100).quantize(Decimal("0.0001")).quantize(Decimal(1).scaleb(-18))
        key = dg.AssetCheckKey(asset_key(TABLE), "unit_100x")
        events = [r.event.dagster_event for r in instance.event_log_storage.get_asset_check_execution_history(key, 100) if r.event]
        told = {(e.partition, e.passed, e.blocking) for event in events if event and (e := event.asset_check_evaluation_data)}
    first, twelfth, last = (str(bars[n]["partition_date"]) for n in (0, 12, 17))
    assert {(first, False, False), (twelfth, False, False), (twelfth, True, False)} <= told  # a warning, and taken back
    assert last not in {partition for partition, *_ in told}  # nothing was ever found there, so there is nothing to check
