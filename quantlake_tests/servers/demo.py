"""The demo on both profiles, compared fingerprint by fingerprint: `make demo-servers`.

The same simulated messages go through the embedded stack, through a production profile over real servers, and through another one whose
servers are struck while commands run: killed with SIGKILL and started again, S3, which keeps its state in memory, cut off and
reconnected. A command that ends with an error is run again, as a person would. Exit status 0 only if every fingerprint is equal.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from quantlake.cli.demo import DAYS, SEED, START, SYMBOLS
from quantlake_tests.servers.everything import Servers

QUANTLAKE = str(Path(sys.executable).parent / "quantlake")
SIMULATE = ("simulate", "--start", str(START), "--days", str(DAYS), "--symbols", str(SYMBOLS), "--seed", str(SEED))
ATTEMPTS = 6
SOON, LATE = 1.0, 4.0  # seconds after a command's start at which its server is struck; its imports take the first
DOWN_SECONDS = 1.0
STRUCK: list[tuple[str, tuple[str, ...]]] = [  # which server is struck in which command, in this order
    ("kafka", SIMULATE),
    ("kafka", ("land", "--topic", "market.trades.v1")),
    ("apicurio", ("land", "--topic", "market.quotes.v1")),
    ("iceberg-rest", ("land", "--topic", "alt.news.v1")),
    ("s3", ("refresh", "--select", "curated/market/trades")),
    ("iceberg-rest", ("refresh", "--select", "curated/market/quotes")),
    ("s3", ("refresh", "--select", "curated/alt/news")),
    ("postgres", ("refresh", "--select", "embedding/alt/news")),
    ("iceberg-rest", ("refresh", "--select", "derived/market/bars_1m")),
    ("redis", ("refresh", "--select", "feature/market/trade_activity")),
]
QUERIES = {
    "trades of each symbol": ("select symbol, count(*), sum(size * 1.0), max(price) from curated_market_trades group by all order by all",),
    "quotes before each trade": (
        "with q as (select symbol, event_time, max(bid_price) as bid from curated_market_quotes group by all) "  # of one instant, one
        "select t.symbol, count(q.bid), max(t.price - q.bid) from curated_market_trades t "
        "asof join q on t.symbol = q.symbol and t.event_time >= q.event_time group by all order by all",
    ),
    "bars as known on the second day": ("select symbol, count(*), sum(volume) from derived_market_bars_1m group by all order by all",
                                        "--as-known-at", f"{START + timedelta(days=1)}T20:00:00Z"),
    "dead letters": ("select _topic, _error_class, count(*) from deadletters group by all",),
}
out = Console(width=None if sys.stdout.isatty() else 200, highlight=False)

Key = tuple[str, str]  # asset, partition


@dataclass
class Profile:
    """A home and its settings; runs ``quantlake`` over it, every line of it kept in ``log``."""

    name: str
    environment: Mapping[str, str]
    log: Path
    failed: list[str] = field(default_factory=list)

    def run(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([QUANTLAKE, *arguments], env=dict(self.environment), capture_output=True, text=True, check=False)
        with self.log.open("a") as log:
            log.write(f"$ quantlake {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        if ok and done.returncode:
            raise SystemExit(f"{self.name}: `quantlake {' '.join(arguments)}` ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def fingerprints(self) -> dict[Key, tuple[int, str]]:
        """Rows and fingerprint of every asset and partition, and of the answers to ``QUERIES``."""
        found = json.loads(self.run("fingerprint", "--json").stdout)
        answers = {(f"sql: {name}", ""): self.run("sql", *query, "--format", "csv").stdout for name, query in QUERIES.items()}
        return {(f["asset"], f["partition"]): (f["rows"], f["fingerprint"]) for f in found} | {
            key: (answer.count("\n") - 1, hashlib.sha256(answer.encode()).hexdigest()) for key, answer in answers.items()
        }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo-servers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-kills", action="store_true", help="only the run in which nothing is struck")
    parser.add_argument("--catalog", choices=["rest", "glue"], default="rest", help="the Iceberg catalogue (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the instants at which servers are struck")
    asked = parser.parse_args(arguments)
    with _folder() as folder:
        embedded = Profile("embedded", _clean() | {"QUANTLAKE_HOME": str(folder / "embedded")}, folder / "embedded.log")
        out.print("the demo on the embedded profile")
        embedded.run("demo")
        demo = Profile("embedded", {**embedded.environment, "QUANTLAKE_HOME": str(folder / "embedded" / "demo")}, embedded.log)
        runs = {"embedded": demo.fingerprints()}
        plan = [("production", False)] if asked.without_kills else [("production", False), ("production, struck", True)]
        for name, struck in plan:
            runs[name] = _production(name, folder / name.replace(", ", "-"), asked.catalog, random.Random(asked.seed) if struck else None)
    return _compared(runs)


def _production(name: str, folder: Path, catalog: str, chance: random.Random | None) -> dict[Key, tuple[int, str]]:
    """The demo's steps over servers of its own, in ``folder``; struck by ``chance``."""
    folder.mkdir()
    folder.chmod(0o755)
    names = ["kafka", "apicurio", "s3", "redis", "postgres", *(["iceberg-rest"] if catalog == "rest" else [])]
    out.print(f"the demo on the production profile{', its servers struck' if chance else ''}")
    servers = Servers.start(folder, names)
    try:
        for server, version, _, where in servers.table():
            out.print(f"  {server:14} {version:8} {where}", soft_wrap=True)
        settings = servers.settings()
        profile = Profile(name, _clean() | settings, folder / "commands.log")
        profile.run("contract", "register")
        if chance:
            for server, command in STRUCK:
                if server in servers.running:
                    _struck(profile, servers, server, command, chance)
        else:
            profile.run(*SIMULATE)
        profile.run("refresh")
        profile.run("audit", "--deep")
        return profile.fingerprints()
    finally:
        servers.stop()


def _struck(profile: Profile, servers: Servers, name: str, command: tuple[str, ...], chance: random.Random) -> None:
    """Run a command while a server goes away and comes back; again until it is done."""
    began = time.monotonic()
    strike = threading.Timer(after := chance.uniform(SOON, LATE), _strike, (servers.running[name],))
    strike.start()
    ended: list[str] = []
    try:
        done = profile.run(*command, ok=False)
        survived = time.monotonic() - began > after
    finally:
        strike.join()
    while done.returncode:
        ended.append(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
        if len(ended) == ATTEMPTS:
            raise SystemExit(f"{profile.name}: `quantlake {' '.join(command)}` did not come right again: {ended[-1]}")
        done = profile.run(*command, ok=False)
    when = f"struck after {after:.1f} s" if survived else f"struck after {after:.1f} s, when it had ended"
    out.print(f"  {name:14} {when:36} quantlake {' '.join(command[:3])}: {'; '.join(ended) or 'went on'}", soft_wrap=True)


def _strike(server: Any) -> None:
    if hasattr(server, "cut"):
        server.cut()
        time.sleep(DOWN_SECONDS)
        server.reconnect()
    else:
        server.kill()
        server.restart()


def _compared(runs: Mapping[str, Mapping[Key, tuple[int, str]]]) -> int:
    names, keys = list(runs), sorted({key for found in runs.values() for key in found})
    table = Table(header_style="bold")
    for column in ("asset", "partition", "rows", *names, ""):
        table.add_column(column, overflow="fold", justify="right" if column == "rows" else "left")
    unequal = 0
    in_process = "QUANTLAKE_CLICKHOUSE_URL" not in os.environ
    for asset, partition in keys:
        found = [runs[name].get((asset, partition), (0, "none")) for name in names]
        equal = len(set(found)) == 1
        unequal += not equal
        note = " (in process: no ClickHouse server)" if asset.startswith("rollup/") and in_process else ""
        digests = [digest if n == 0 or not equal else "equal" for n, (_, digest) in enumerate(found)]
        table.add_row(asset, partition, f"{found[0][0]:,}", *digests, ("" if equal else "NOT EQUAL") + note)
    out.print(table)
    out.print(f"{len(keys)} fingerprints of {len(names)} runs: {'all equal' if not unequal else f'{unequal} NOT EQUAL'}")
    return 1 if unequal or not keys else 0


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("QUANTLAKE_", "DAGSTER_"))} | {"COLUMNS": "200"}


@contextmanager
def _folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="quantlake-demo-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user where root runs this
        yield Path(folder)


if __name__ == "__main__":
    sys.exit(main())
