"""The market datasets over a real home, and trades to send to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import dagster as dg
import polars as pl

from quantlake.cli.embedded import Embedded
from quantlake.contract.catalog import Catalog
from quantlake.datasets.market import bars_1m, exchange_messages, trade_activity, trades
from quantlake.datasets.reference import symbol_map
from quantlake.settings import Settings
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake.wiring import Adapters

GRAPH = Catalog((
    trades.raw, exchange_messages.raw, symbol_map.raw, symbol_map.symbols, trades.trades, bars_1m.bars, trade_activity.trade_activity,
    bars_1m.rollup,
))  # fmt: skip
BUILT = tuple(d.path for d in GRAPH.datasets if d.inputs and trades.raw in GRAPH.roots(d))


def trade(day: date, number: int, price: str = "10.25", known_at: datetime | None = None) -> dict[str, object]:
    at = datetime(day.year, day.month, day.day, 15, number % 60, tzinfo=UTC)
    return {
        "symbol": "ACME", "venue": "simx", "trade_id": f"{day}-{number}", "price": Decimal(price), "size": Decimal("1.5"), "side": "buy",
        "exchange": None, "conditions": None, "event_time": at, "known_at": known_at or at, "partition_date": day, "source_name": "test",
        "source_version": None, "source_records": None, "line_number": number,
    }  # fmt: skip


def arrive(adapters: Adapters, *rows: dict[str, object]) -> None:
    """Send trades."""
    schema = {c.name: pl.from_arrow(trades.raw.spec.arrow.empty_table()).schema[c.name] for c in trades.raw.columns}  # type: ignore[union-attr]
    send(adapters.broker, adapters.registry, trades.raw, typed(trades.raw, pl.DataFrame(list(rows), schema=schema)))


@contextmanager
def market(home: Path) -> Iterator[Adapters]:
    """Adapters over a home whose servers run."""
    found = Adapters(Settings(home=home))
    with Embedded(found, GRAPH):
        yield found


def materializations(instance: dg.DagsterInstance, path: str) -> dict[str, int]:
    """How often each partition of an asset was materialized."""
    found: dict[str, int] = {}
    for record in instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(path.split("/"))), limit=1000).records:
        found[str(record.partition_key)] = found.get(str(record.partition_key), 0) + 1
    return found
