"""The web server's GraphQL, as the Dagster UI uses it."""

import json
import urllib.request
from typing import Any

from quantlake.contract.catalog import discover
from quantlake_tests.e2e.commands import wait_for

REPOSITORY = '{repositoryName: "__repository__", repositoryLocationName: "quantlake.definitions"}'
LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
STATUS = "query S($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
RUNS = """
query R($id: String!) {
  runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) { ... on Runs { results { runId status tags { key value } } } }
}
"""
ENDED = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")
ASSETS = [dataset.path.split("/") for dataset in discover().datasets]


class Api:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read())
        assert "errors" not in found, found
        return found["data"]

    def loaded(self) -> bool:
        try:
            return bool(self.ask("{ assetNodes { id } }")["assetNodes"])
        except OSError:
            return False

    def stop_sensor(self, name: str) -> None:
        """For a test that wants to be the one who requests."""
        query = f"{{ sensorOrError(sensorSelector: {_selector(name)}) {{ ... on Sensor {{ sensorState {{ id }} }} }} }}"
        state = self.ask(query)["sensorOrError"]["sensorState"]["id"]
        self.ask("mutation S($id: String!) { stopSensor(id: $id) { __typename } }", id=state)

    def start_sensor(self, name: str) -> None:
        self.ask(f"mutation {{ startSensor(sensorSelector: {_selector(name)}) {{ __typename }} }}")

    def active(self) -> list[str]:
        """The runs that are queued or going."""
        query = "{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) { ... on Runs { results { runId } } } }"
        return [run["runId"] for run in self.ask(query)["runsOrError"]["results"]]

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """The ticks of a sensor, newest first: status, skipReason, runIds."""
        query = f"{{ sensorOrError(sensorSelector: {_selector(sensor)}) {{ ... on Sensor {{ sensorState {{ ticks(limit: 100) {{ status skipReason runIds }} }} }} }} }}"
        return self.ask(query)["sensorOrError"]["sensorState"]["ticks"]

    def launch_backfill(self, dates: list[str]) -> str:
        """Of every asset; the backfill's id."""
        params = {"assetSelection": [{"path": path} for path in ASSETS], "partitionNames": dates}
        launched = self.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def ended(self, backfill: str, seconds: float) -> str:
        wait_for(lambda: self.ask(STATUS, id=backfill)["partitionBackfillOrError"]["status"] in ENDED, seconds)
        return str(self.ask(STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    def runs(self, backfill: str) -> list[dict[str, Any]]:
        """Its runs, newest first: runId, status, tags."""
        found = self.ask(RUNS, id=backfill)["runsOrError"]["results"]
        return [run | {"tags": {t["key"]: t["value"] for t in run["tags"]}} for run in found]


def _selector(sensor: str) -> str:
    return REPOSITORY[:-1] + f', sensorName: "{sensor}"}}'
