"""A backfill of a range launched through the API of the running web server, as the Dagster UI does it."""

import json
import time
import urllib.request
from typing import Any

from quantlake.adapters.broker.tansu import free_port
from quantlake_tests.e2e.commands import commands, wait_for

DAYS = ["2024-03-04", "2024-03-05", "2024-03-06"]
LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
STATUS = "query S($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
RUNS = "query R($id: String!) { runsOrError(filter: {tags: [{key: \"dagster/backfill\", value: $id}]}) { ... on Runs { results { status } } } }"
ASSETS = [
    ["raw", "market", "trades"], ["curated", "market", "trades"], ["derived", "market", "bars_1m"], ["rollup", "market", "bars_1m"],
    ["feature", "market", "trade_activity"], ["raw", "alt", "news"], ["curated", "alt", "news"], ["embedding", "alt", "news"],
]  # fmt: skip


class Api:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())
        assert "errors" not in found, found
        return found["data"]

    def loaded(self) -> bool:
        try:
            return bool(self.ask("{ assetNodes { id } }")["assetNodes"])
        except OSError:
            return False


def test_a_range_backfill_from_the_web_server_is_one_run() -> None:
    port = free_port()
    with commands() as ql, ql.serving("dev", "--port", str(port)) as server:
        api = Api(port)
        wait_for(api.loaded, 90)
        ql.run("simulate", "--start", DAYS[0], "--days", "3", "--symbols", "2")
        params = {"assetSelection": [{"path": path} for path in ASSETS], "partitionNames": DAYS}
        launched = api.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        backfill = launched["backfillId"]
        ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")
        wait_for(lambda: api.ask(STATUS, id=backfill)["partitionBackfillOrError"]["status"] in ended, 180)
        assert api.ask(STATUS, id=backfill)["partitionBackfillOrError"]["status"] == "COMPLETED_SUCCESS"
        runs = api.ask(RUNS, id=backfill)["runsOrError"]["results"]
        assert [run["status"] for run in runs] == ["SUCCESS"] * len(runs)
        assert len(runs) == 1  # three dates of eight assets
        counted = ql.sql("select count(distinct partition_date) n from derived_market_bars_1m")
        assert counted == [{"n": 3}]
        began = time.monotonic()
        server.terminate()
        assert server.wait(60) == 0
        assert time.monotonic() - began < 30
