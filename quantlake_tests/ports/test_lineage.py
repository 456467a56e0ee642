"""The lineage port on OpenLineage: what an event says, that lines stay whole, that a dead backend costs nothing."""

import json
import logging
import socket
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from quantlake.adapters.lineage import openlineage
from quantlake.adapters.lineage.openlineage import OpenLineage
from quantlake.datasets.market.trades import raw, trades
from quantlake.ports import LineageEvent
from quantlake_tests.ports.children import child, ended

PORT = "Lineage"
RUN = "8a1bd0a4-94d5-4d5c-8a53-0f1b7f3c2a10"
DAY = date(2024, 2, 29)


def _event(state: Any = "COMPLETE", **other: Any) -> LineageEvent:
    return LineageEvent(**{"state": state, "run_id": RUN, "dataset": trades, "inputs": [raw], "partition": DAY, **other})


class Backend:
    """What a lineage backend does, on loopback: takes events by POST. It can want a token, answer otherwise, and be ended and started."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status, self.authorization = 201, ""
        self.port = 0
        self.connections: list[socket.socket] = []
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                allowed = self.headers.get("Authorization", "") == backend.authorization and self.path == "/api/v1/lineage"
                if allowed and backend.status == 201:
                    backend.received.append(json.loads(body))
                self.send_response(backend.status if allowed else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                backend.connections.append(request)
                super().process_request(request, client_address)

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self.connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()


@pytest.fixture
def backend() -> Iterator[Backend]:
    started = Backend()
    yield started
    started.stop()


@pytest.fixture(params=["file", "http"])
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(adapter_name: str, backend: Backend, tmp_path: Path) -> str:
    """Where events go: a file in a folder that is not there yet, or an address."""
    return backend.url if adapter_name == "http" else str(tmp_path / "new" / "events.jsonl")


@pytest.fixture
def emitted(place: str, backend: Backend) -> Callable[..., list[dict[str, Any]]]:
    """Emit events by one adapter, and give all that arrived."""
    lineage = opened(place)

    def emit(*events: LineageEvent) -> list[dict[str, Any]]:
        lineage.emit(events)
        return arrived(place, backend)

    return emit


def opened(place: str) -> OpenLineage:
    return OpenLineage.to_url(place) if place.startswith("http") else OpenLineage.to_file(Path(place))


def arrived(place: str, backend: Backend) -> list[dict[str, Any]]:
    return backend.received if place == backend.url else [json.loads(line) for line in Path(place).read_text().splitlines()]


def test_a_complete_event_names_run_job_and_datasets(emitted: Callable[..., list[dict[str, Any]]]) -> None:
    (event,) = emitted(_event(row_count=7))
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


def test_datasets_carry_schema_owner_and_documentation(emitted: Callable[..., list[dict[str, Any]]]) -> None:
    (event,) = emitted(_event())
    for side, dataset in (("inputs", raw), ("outputs", trades)):
        facets = event[side][0]["facets"]
        assert [f["name"] for f in facets["schema"]["fields"]] == [c.name for c in dataset.stored_columns]
        price = next(f for f in facets["schema"]["fields"] if f["name"] == "price")
        assert price["type"] == "decimal(38,18)"
        assert price["description"] == "In the quote currency, unadjusted."
        assert facets["ownership"]["owners"][0]["name"] == "team:market-data"
        assert facets["documentation"]["description"] == dataset.doc
        assert all("_producer" in facet and "_schemaURL" in facet for facet in facets.values())


def test_states_of_a_partition_share_its_run_id_and_partitions_differ(emitted: Callable[..., list[dict[str, Any]]]) -> None:
    events = emitted(
        _event("START"),
        _event("FAIL", message="price: 1 of 3 rows not above 0, e.g. -5"),
        _event("START", partition=date(2024, 3, 1)),
    )
    ids = [e["run"]["runId"] for e in events]
    assert ids[0] == ids[1] != ids[2]
    assert events[1]["run"]["facets"]["errorMessage"]["message"] == "price: 1 of 3 rows not above 0, e.g. -5"
    assert "outputStatistics" not in (events[0]["outputs"][0].get("outputFacets") or {})


def test_a_run_id_that_is_no_uuid_still_has_a_parent(emitted: Callable[..., list[dict[str, Any]]]) -> None:
    (event,) = emitted(_event(run_id="landing-17"))
    assert uuid.UUID(event["run"]["facets"]["parent"]["run"]["runId"]).version == 5


def test_any_text_arrives_as_it_was(emitted: Callable[..., list[dict[str, Any]]]) -> None:
    messages = ["東京 🚀 שלום", "line\nline\r\u2028line", "\0\x07\\\"'", "e\u0301 is not é", "é" * 1_000_000]
    events = emitted(*(_event("FAIL", message=message) for message in messages))
    assert [e["run"]["facets"]["errorMessage"]["message"] for e in events] == messages


def test_events_arrive_in_their_order_and_counts_at_their_ends(emitted: Callable[..., list[dict[str, Any]]]) -> None:
    counts = [0, 2**63 - 1, *range(1_000)]
    events = emitted(*(_event(row_count=n, partition=day) for n, day in zip(counts, [date.min, date(9999, 12, 30), *[DAY] * 1_000], strict=True)))
    assert [e["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] for e in events] == counts
    assert events[0]["run"]["facets"]["nominalTime"]["nominalStartTime"] == "0001-01-01T00:00:00.000Z"


def test_another_process_may_send_between_two_events_of_an_open_adapter(emitted: Callable[..., list[dict[str, Any]]], place: str, backend: Backend) -> None:
    assert len(emitted(_event())) == 1
    script = "import sys; from quantlake_tests.ports.test_lineage import *; from quantlake_tests.ports.test_lineage import _event\n"
    script += "opened(sys.argv[1]).emit([_event()])"
    assert ended(child(script, place)) == 0
    assert len(emitted(_event())) == 3


def test_events_of_several_processes_stay_whole(place: str, backend: Backend) -> None:
    program = (
        "import sys; from datetime import date\n"
        "from quantlake.adapters.lineage import openlineage\n"
        "from quantlake_tests.ports.test_lineage import LineageEvent, opened, raw, trades\n"
        "openlineage.HTTP_TIMEOUT_SECONDS = 60.0\n"  # a busy machine's backend is slow, not gone
        "event = LineageEvent('FAIL', sys.argv[2], trades, [raw] * 3, date(2024, 1, 2), message='é' * 20_000)\n"
        "opened(sys.argv[1]).emit([event] * 50)"
    )
    children = [child(program, place, f"run-{n}") for n in range(3)]
    assert [ended(c) for c in children] == [0, 0, 0]
    events = arrived(place, backend)
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


@pytest.mark.parametrize("adapter_name", ["http"])
def test_a_backend_that_was_restarted_takes_events_again(
    emitted: Callable[..., list[dict[str, Any]]], backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openlineage, "PAUSE_SECONDS", 0.2)
    assert len(emitted(_event())) == 1
    backend.stop()
    assert len(emitted(_event())) == 1 and len(caplog.records) == 1
    backend.start()
    assert len(emitted(_event())) == 1  # not within the pause
    time.sleep(0.25)
    assert len(emitted(_event(), _event())) == 3
    backend.stop()
    emitted(_event())
    backend.start()
    assert len(caplog.records) == 2  # an outage a warning


@pytest.mark.parametrize("adapter_name", ["http"])
@pytest.mark.parametrize("status", [401, 403, 404, 413, 500, 503])
def test_a_backend_that_refuses_is_named_with_its_reason(
    emitted: Callable[..., list[dict[str, Any]]], backend: Backend, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    backend.status = status
    assert emitted(_event(), _event()) == []
    (record,) = caplog.records
    assert backend.url in record.getMessage() and str(status) in record.getMessage() and "\n" not in record.getMessage()


@pytest.mark.parametrize("adapter_name", ["http"])
def test_credentials_are_sent_and_never_shown(
    adapter_name: str, backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openlineage, "HTTP_TIMEOUT_SECONDS", 60.0)  # a busy machine's backend is slow, not gone
    backend.authorization = "Bearer hunter2"
    OpenLineage.to_url(backend.url, api_key="hunter2").emit([_event("START"), _event()])
    assert [e["eventType"] for e in backend.received] == ["START", "COMPLETE"]
    OpenLineage.to_url(backend.url, api_key="expired-hunter2").emit([_event()])
    OpenLineage.to_url(backend.url.replace("//", "//user:expired-hunter2@")).emit([_event()])
    OpenLineage.to_url("http://user:expired-hunter2@127.0.0.1:1").emit([_event()])
    backend.authorization = "Basic " + b64encode(b"user:p@ss").decode()
    OpenLineage.to_url(backend.url.replace("//", "//user:p%40ss@")).emit([_event("FAIL")])
    assert [e["eventType"] for e in backend.received] == ["START", "COMPLETE", "FAIL"]
    assert len(caplog.records) == 3 and "hunter2" not in caplog.text and caplog.text.count("401") == 2
