"""`quantlake audit` over a home whose broker runs: what is clean, what is not, in JSON and for a reader."""

import json
from datetime import date
from typing import Any

import polars as pl

from quantlake.datasets.market.trades import raw
from quantlake.landing.land import land
from quantlake.ports import Message
from quantlake.wiring import catalog
from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.orchestration.market import arrive, market, trade

DAY = date(2024, 3, 4)
KEYS = {
    "topic", "log", "partition", "status", "first", "end", "ranges", "rows", "dead_letters", "duplicates", "duplicate_ranges", "gaps",
    "gap_ranges", "losses", "pending", "skipped", "doubtful", "clean", "reason",
}  # fmt: skip
DEEP = {"compared", "mismatches", "mismatched", "not_compared", "unlanded"}


def told(ql: Commands, *options: str, ok: bool = True) -> list[dict[str, Any]]:
    found = json.loads(ql.run("audit", "--json", *options, ok=ok).stdout)
    assert ok == all(part["clean"] for part in found)
    return found


def test_the_audit_at_the_command_line() -> None:
    with commands() as ql, market(ql.home) as adapters:
        arrive(adapters, *(trade(DAY, n) for n in range(40)))
        adapters.broker.produce(raw.topic, [Message(b"k", b"[bold]plain")])
        land(raw, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake)
        arrive(adapters, *(trade(DAY, n) for n in range(40, 45)))
        found = told(ql)
        assert {p["topic"] for p in found} == {raw.topic, "market.exchange_messages.v1", "reference.symbol_map.v1"}, "a topic that is not there yet has no log"
        found = told(ql, "--topic", raw.topic)
        assert len(found) == raw.topic_partitions
        assert all(set(p) >= KEYS and not set(p) & DEEP and p["status"] == "live" and p["reason"] == "" for p in found)
        assert [sum(p[n] for p in found) for n in ("rows", "dead_letters", "pending", "gaps", "duplicates")] == [40, 1, 5, 0, 0]
        deep = told(ql, "--deep", "--topic", raw.topic, "--topic", "alt.news.v1")
        assert all(set(p) >= KEYS | DEEP for p in deep) and sum(p["compared"] for p in deep) == 41
        text = ql.run("audit").stdout
        assert text.rstrip().endswith("\nclean") and "mismatches" not in text and f"log {found[0]['log']}" in text.replace("\n", "")
        known = ", ".join(s.topic for s in catalog().streams)
        assert f"no stream has the topic 'nothing'; there are {known}" in ql.error("audit", "--topic", raw.topic, "--topic", "nothing")

        rows = pl.DataFrame(adapters.lake.read(raw.spec))
        (partition,) = {p for p, symbol in rows.select("_partition", "symbol").iter_rows() if symbol}
        damaged = rows.filter((pl.col("_offset") != 7) | pl.col("symbol").is_null())
        damaged = damaged.with_columns(side=pl.when(pl.col("_offset") == 9, pl.col("symbol").is_not_null()).then(pl.lit("sell")).otherwise("side"))
        adapters.lake.publish(raw.spec, sorted(set(rows["partition_date"])), damaged.to_arrow())
        told(ql, "--topic", "alt.news.v1")
        (shallow,) = [p for p in told(ql, ok=False) if not p["clean"]]
        assert (shallow["partition"], shallow["gaps"], shallow["gap_ranges"]) == (partition, 1, [[7, 8]]) and shallow["ranges"][0] == [0, 7]
        (wrong,) = [p for p in told(ql, "--deep", ok=False) if not p["clean"]]
        assert (wrong["mismatches"], wrong["mismatched"]) == (1, [{"offset": 9, "columns": ["side"]}])
        text = ql.run("audit", "--deep", ok=False).stdout
        assert text.rstrip().endswith("NOT clean") and f"{raw.topic} partition {partition}: no row at [7, 8): 1 missing; rows that are not" in text
        assert f"partition {partition} offset 9: the row differs from its record in side" in text
