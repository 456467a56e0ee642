"""The lineage port on OpenLineage: what an event says, that lines stay whole, that a dead backend costs nothing."""

import json
import logging
import socket
import subprocess
import sys
import time
import uuid
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from quantlake.adapters.lineage.openlineage import OpenLineage
from quantlake.datasets.market.trades import raw, trades
from quantlake.ports import LineageEvent

RUN = "8a1bd0a4-94d5-4d5c-8a53-0f1b7f3c2a10"
DAY = date(2024, 2, 29)


def _event(state: Any = "COMPLETE", **other: Any) -> LineageEvent:
    return LineageEvent(**{"state": state, "run_id": RUN, "dataset": trades, "inputs": [raw], "partition": DAY, **other})


def _emitted(path: Path, *events: LineageEvent) -> list[dict[str, Any]]:
    OpenLineage.to_file(path).emit(events)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_complete_event_names_run_job_and_datasets(tmp_path: Path) -> None:
    (event,) = _emitted(tmp_path / "new" / "events.jsonl", _event(row_count=7))
    assert event["eventType"] == "COMPLETE"
    assert {"eventTime", "producer", "schemaURL"} <= set(event)
    assert event["job"]["name"] == "curated/market/trades"
    assert event["job"]["namespace"] == "quantlake"
    assert uuid.UUID(event["run"]["runId"]).version == 5
    facets = event["run"]["facets"]
    assert facets["parent"]["run"]["runId"] == RUN
    assert facets["nominalTime"]["nominalStartTime"] == "2024-02-29T00:00:00.000Z"
    assert facets["nominalTime"]["nominalEndTime"] == "2024-03-01T00:00:00.000Z"
    assert "errorMessage" not in facets
    assert [i["name"] for i in event["inputs"]] == ["raw/market/trades"]
    (output,) = event["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 7


def test_datasets_carry_schema_owner_and_documentation(tmp_path: Path) -> None:
    (event,) = _emitted(tmp_path / "events.jsonl", _event())
    for side, dataset in (("inputs", raw), ("outputs", trades)):
        facets = event[side][0]["facets"]
        assert [f["name"] for f in facets["schema"]["fields"]] == [c.name for c in dataset.stored_columns]
        price = next(f for f in facets["schema"]["fields"] if f["name"] == "price")
        assert price["type"] == "decimal(38,18)"
        assert price["description"] == "In the quote currency, unadjusted."
        assert facets["ownership"]["owners"][0]["name"] == "team:market-data"
        assert facets["documentation"]["description"] == dataset.doc
        assert all("_producer" in facet and "_schemaURL" in facet for facet in facets.values())


def test_states_of_a_partition_share_its_run_id_and_partitions_differ(tmp_path: Path) -> None:
    events = _emitted(
        tmp_path / "events.jsonl",
        _event("START"),
        _event("FAIL", message="price: 1 of 3 rows not above 0, e.g. -5"),
        _event("START", partition=date(2024, 3, 1)),
    )
    ids = [e["run"]["runId"] for e in events]
    assert ids[0] == ids[1] != ids[2]
    assert events[1]["run"]["facets"]["errorMessage"]["message"] == "price: 1 of 3 rows not above 0, e.g. -5"
    assert "outputStatistics" not in (events[0]["outputs"][0].get("outputFacets") or {})


def test_a_run_id_that_is_no_uuid_still_has_a_parent(tmp_path: Path) -> None:
    (event,) = _emitted(tmp_path / "events.jsonl", _event(run_id="landing-17"))
    assert uuid.UUID(event["run"]["facets"]["parent"]["run"]["runId"]).version == 5


def test_lines_of_several_processes_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    program = (
        "import sys; from pathlib import Path; from datetime import date\n"
        "from quantlake.adapters.lineage.openlineage import OpenLineage; from quantlake.ports import LineageEvent\n"
        "from quantlake.datasets.market.trades import raw, trades\n"
        "event = LineageEvent('FAIL', sys.argv[2], trades, [raw] * 3, date(2024, 1, 2), message='é' * 20_000)\n"
        "OpenLineage.to_file(Path(sys.argv[1])).emit([event] * 50)"
    )
    children = [subprocess.Popen([sys.executable, "-c", program, str(path), f"run-{n}"]) for n in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(events) == 150
    assert len({e["run"]["runId"] for e in events}) == 3


def test_an_unreachable_backend_is_warned_of_once_and_costs_little(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as silent:  # accepts connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for url in ("http://127.0.0.1:1", f"http://127.0.0.1:{silent.getsockname()[1]}"):
            caplog.clear()
            lineage = OpenLineage.to_url(url)
            lineage.emit([])
            started = time.monotonic()
            with caplog.at_level(logging.WARNING):
                lineage.emit([_event()] * 100)
                lineage.emit([_event()])
            assert time.monotonic() - started < 3
            assert len([r for r in caplog.records if r.name.startswith("quantlake")]) == 1
            assert url in caplog.text


def test_a_file_that_cannot_be_written_does_not_stop_the_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events.jsonl").mkdir()
    OpenLineage.to_file(tmp_path / "events.jsonl").emit([_event()])
    assert "lineage events are dropped" in caplog.text


def test_events_are_posted_to_a_backend() -> None:
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            assert self.headers["Authorization"] == "Bearer secret"
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        OpenLineage.to_url(f"http://127.0.0.1:{server.server_port}", api_key="secret").emit([_event("START"), _event()])
        server.shutdown()
        thread.join()
    assert [e["eventType"] for e in received] == ["START", "COMPLETE"]
