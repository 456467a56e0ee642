"""The graph as a whole: what it holds, that loading it is cheap and opens nothing, and that others' datasets join it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from quantlake_tests.e2e.commands import ROOT, commands

DATASET = '''
"""Ratings: an analyst's word."""

from quantlake.contract import PARTITION_DATE, Column, Stream, Table, Text, Timestamp

COLUMNS = (
    Column("analyst", Text, "Who said it."),
    Column("symbol", Text, "Of what."),
    Column("rating", Text, "What was said.", allowed=("buy", "hold", "sell")),
    Column("event_time", Timestamp, "When it was said."),
    Column("known_at", Timestamp, "When it could be known."),
    PARTITION_DATE,
)
raw = Stream(__name__, doc="A rating as received.", owner="research", topic="alt.ratings.v1", message_key="symbol", columns=COLUMNS)
ratings = Table(__name__, of=raw, doc="A rating.", owner="research", key=("analyst", "symbol"), columns=COLUMNS)
'''
PROBE = """
import json, sys, time
import dagster
before = time.process_time()
from quantlake.definitions import defs
spent = time.process_time() - before
graph = defs.resolve_asset_graph()
assets = {"/".join(k.path): sorted("/".join(p.path) for p in graph.get(k).parent_keys) for k in graph.get_all_asset_keys()}
checks = sorted(k.to_user_string() for k in graph.asset_check_keys)
heavy = [m for m in ("pyiceberg", "duckdb", "feast", "great_expectations", "confluent_kafka", "openlineage", "psycopg", "chdb") if m in sys.modules]
jobs = sorted(j.name for j in defs.resolve_all_job_defs() if not j.name.startswith("__"))
print(json.dumps({"assets": assets, "checks": checks, "heavy": heavy, "jobs": jobs, "spent": spent}))
"""


def graph(folder: Path, **environment: str) -> dict[str, object]:
    """What a code location loaded with (nearly) no environment in an empty folder holds."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder)} | environment
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROBE], cwd=folder, env=bare, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_graph_is_what_it_was_and_opens_nothing(tmp_path: Path) -> None:
    found = graph(tmp_path)
    symbols = "curated/reference/symbol_map"
    market = {"trades": ["exchange_messages", "trades"], "quotes": ["exchange_messages", "quotes"], "book_deltas": ["exchange_messages"],
              "vendor_bars": ["vendor_bars"], "open_interest": ["open_interest"]}  # fmt: skip
    reference = ("calendars", "company_tickers", "corporate_actions", "filing_index", "filings", "fundamentals", "instruments", "rates", "symbol_map", "universe_daily")
    onchain = {
        "blocks": ["raw/onchain/blocks"], "canonical_blocks": ["raw/onchain/chain_status"], "contracts": ["raw/onchain/contracts"],
        "dex_pools": ["raw/onchain/dex_pools", "raw/onchain/logs"], "logs": ["curated/onchain/blocks", "curated/onchain/receipts", "raw/onchain/logs"],
        "receipts": ["raw/onchain/receipts"], "tokens": ["raw/onchain/tokens"], "traces": ["raw/onchain/traces"],
        "transactions": ["curated/onchain/blocks", "raw/onchain/transactions"],
    }  # fmt: skip
    streams = [
        *(f"alt/{n}" for n in ("news", "social")),
        *(f"market/{n}" for n in ("exchange_messages", "open_interest", "quotes", "trades", "vendor_bars")),
        *(f"onchain/{n}" for n in ("blocks", "chain_status", "contracts", "dex_pools", "logs", "receipts", "tokens", "traces", "transactions")),
        *(f"reference/{n}" for n in reference),
    ]
    assert found["assets"] == {
        **{f"raw/{n}": [] for n in streams},
        **{f"curated/reference/{n}": [f"raw/reference/{n}"] for n in reference},
        **{f"curated/market/{name}": [symbols, *(f"raw/market/{n}" for n in of)] for name, of in market.items()},
        **{f"derived/market/bars_{n}": ["curated/market/trades"] for n in ("1s", "1m", "1h", "1d")},
        "derived/market/quote_bars": ["curated/market/quotes"],
        "derived/market/book_close": ["curated/market/book_deltas"],
        "derived/market/book_top": ["curated/market/book_deltas", "derived/market/book_close"],
        "derived/market/feed_gaps": ["curated/market/trades", "derived/market/book_close", "derived/market/book_top"],
        "derived/market/adjustments": ["curated/market/vendor_bars", "curated/reference/corporate_actions"],
        "derived/market/daily_adjusted": ["curated/market/vendor_bars", "derived/market/adjustments"],
        "derived/market/vendor_bar_findings": ["curated/market/vendor_bars"],
        "derived/market/vendor_bars_repaired": ["curated/market/vendor_bars", "derived/market/vendor_bar_findings"],
        "derived/reference/symbol_overlaps": [symbols],
        "curated/reference/filing_parties": ["raw/reference/filings"],
        "curated/reference/fundamentals": ["curated/reference/filings", "raw/reference/fundamentals"],
        "rollup/market/bars_1m": ["curated/market/trades", "derived/market/bars_1m"],
        "feature/market/trade_activity": ["derived/market/bars_1m"],
        "curated/alt/news": [symbols, "raw/alt/news"], "curated/alt/social": [symbols, "raw/alt/social"],
        "derived/alt/news_clusters": ["curated/alt/news"], "embedding/alt/news": ["curated/alt/news"],
        **{f"curated/onchain/{name}": of for name, of in onchain.items()},
        "derived/onchain/chain_links": ["curated/onchain/blocks", "curated/onchain/canonical_blocks"],
        "derived/onchain/dex_swaps": ["curated/onchain/dex_pools", "curated/onchain/logs"],
        "derived/onchain/token_transfers": ["curated/onchain/logs", "curated/onchain/tokens"],
        "derived/onchain/token_transfers_1d": ["curated/onchain/canonical_blocks", "derived/onchain/token_transfers"],
        "derived/onchain/undecoded_logs": ["curated/onchain/logs"],
    }  # fmt: skip
    assert found["jobs"] == ["curated", "derived", "embedding", "feature", "maintenance", "raw", "rollup"]
    assert "rollup/market/bars_1m:equals_derived" in found["checks"]  # type: ignore[operator]
    raw = [c for c in found["checks"] if c.startswith("raw/")]  # type: ignore[attr-defined]
    assert raw == [f"raw/{name}:{check}" for name in streams for check in ("dead_letters", "exactly_once")]
    assert found["heavy"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_in_one_file_elsewhere_joins_the_graph(tmp_path: Path) -> None:
    with commands() as ql:
        place = ql.folder / "ours" / "alt"
        place.mkdir(parents=True)
        (place / "ratings.py").write_text(DATASET)
        ql.environment["QUANTLAKE_DATASETS"] = str(place.parent)
        found = graph(tmp_path, QUANTLAKE_DATASETS=str(place.parent))
        assert found["assets"]["curated/alt/ratings"] == ["raw/alt/ratings"]  # type: ignore[index]
        assert "curated/alt/ratings:allowed_values" in found["checks"]  # type: ignore[operator]
        with ql.serving("up"):
            row = {"analyst": "A", "symbol": "IBM", "rating": "buy", "event_time": "2024-03-04T12:00:00Z", "partition_date": "2024-03-04"}
            ql.produce("alt/ratings", row)
            ql.run("refresh", "--select", 'key:"raw/alt/ratings"+')
        assert ql.sql("select analyst, rating from curated_alt_ratings") == [{"analyst": "A", "rating": "buy"}]
        assert any('"curated/alt/ratings"' in line for line in (ql.home / "lineage" / "events.jsonl").read_text().splitlines())


def test_plain_dagster_works_from_the_root_with_no_variable_set() -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    command = [str(Path(sys.executable).parent / "dagster"), "asset", "list", "-m", "quantlake.definitions"]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "curated/market/trades" in done.stdout
