"""Lineage by OpenLineage's own client: run events to a file of JSON lines, or to a backend over HTTP.

Here: how a built partition becomes a run event. Not here: when one is emitted (orchestration does that).
"""

import json
import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quantlake.contract import Dataset
from quantlake.ports import LineageEvent

PRODUCER = "urn:quantlake"
RUNS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
HTTP_TIMEOUT_SECONDS = 2.0
PAUSE_SECONDS = 60.0

log = logging.getLogger(__name__)


class OpenLineage:
    """The port ``Lineage``.

    ``transport`` is a transport configuration of openlineage-python (``{"type": "file" | "http" | "kafka" | ..., ...}``),
    ``namespace`` names jobs and datasets. A backend that fails is warned of once and then left alone for a minute: the events
    in between are dropped, since a run of 1,000 dates would otherwise wait 2,000 timeouts.
    """

    def __init__(self, transport: Mapping[str, Any], namespace: str = "quantlake") -> None:
        self._transport = dict(transport)
        self._namespace = namespace
        self._facets: dict[Dataset, dict[str, Any]] = {}
        self._paused_until = 0.0
        self._warned = False

    @classmethod
    def to_file(cls, path: Path, namespace: str = "quantlake") -> "OpenLineage":
        """Append every event as one line of JSON to ``path``; any number of processes may share it."""
        return cls({"type": "file", "log_file_path": str(path), "append": True}, namespace)

    @classmethod
    def to_url(cls, url: str, namespace: str = "quantlake", api_key: str | None = None) -> "OpenLineage":
        """POST every event to a backend such as Marquez, once, within two seconds.

        The client's default of five retries with backoff held a run up for 18 s where the backend was down.
        """
        once = {"total": 0, "connect": 0, "read": 0}
        transport: dict[str, Any] = {"type": "http", "url": url, "timeout": HTTP_TIMEOUT_SECONDS, "retry": once}
        if api_key:
            transport["auth"] = {"type": "api_key", "apiKey": api_key}
        return cls(transport, namespace)

    def emit(self, events: Sequence[LineageEvent]) -> None:
        """Send ``events`` in order; never raises for a backend (it warns once and drops)."""
        for event in events:
            if time.monotonic() < self._paused_until:
                return
            try:
                self._client.emit(self._run_event(event))
                self._warned = False
            except Exception as error:  # a transport raises whatever its library raises
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                if not self._warned:
                    target = self._transport.get("url") or self._transport.get("log_file_path") or self._transport.get("type")
                    log.warning("%s", self._hidden(f"lineage events are dropped: {target} does not take them ({_one_line(error)})"))
                self._warned = True

    def _hidden(self, text: str) -> str:
        """``text`` without the secrets of the transport: an address may have a password in it, which errors quote."""
        secrets = [urlsplit(str(self._transport.get("url", ""))).password, self._transport.get("auth", {}).get("apiKey")]
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return text

    @cached_property
    def _client(self) -> Any:
        import attr
        from openlineage.client.client import OpenLineageClient
        from openlineage.client.generated.base import set_producer
        from openlineage.client.serde import Serde
        from openlineage.client.transport import Transport, get_default_factory

        class Lines(Transport):
            """The file transport with each line handed to the kernel whole: one ``write`` on O_APPEND, never torn or mixed."""

            kind = "file"

            def __init__(self, path: Path) -> None:
                self.path = path
                self._facets: dict[int, tuple[Any, Any]] = {}  # held, so that no other has its id

            def _plain(self, dataset: Any) -> dict[str, Any]:
                """A dataset as the client writes it; its facets, which are most of it and the same each time, once."""
                if not dataset.facets:
                    return Serde.to_dict(dataset)
                if id(dataset.facets) not in self._facets:
                    self._facets[id(dataset.facets)] = dataset.facets, Serde.to_dict(dataset)["facets"]
                return Serde.to_dict(attr.evolve(dataset, facets={})) | {"facets": self._facets[id(dataset.facets)][1]}

            def emit(self, event: Any) -> None:
                datasets = {side: [self._plain(d) for d in getattr(event, side)] for side in ("inputs", "outputs")}
                whole = Serde.to_dict(attr.evolve(event, inputs=[], outputs=[])) | datasets
                line = json.dumps(whole, sort_keys=True).encode() + b"\n"
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    os.write(handle, line)
                finally:
                    os.close(handle)

        set_producer(PRODUCER)
        if self._transport["type"] == "file" and self._transport.get("append"):
            return OpenLineageClient(transport=Lines(Path(self._transport["log_file_path"])))
        return OpenLineageClient(transport=get_default_factory().create(self._transport))

    def _run_event(self, event: LineageEvent) -> Any:
        from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import error_message_run, nominal_time_run, parent_run
        from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics_facet

        day = datetime(event.partition.year, event.partition.month, event.partition.day, tzinfo=UTC)
        run_facets: dict[str, Any] = {
            "nominalTime": nominal_time_run.NominalTimeRunFacet(_iso(day), _iso(day + timedelta(days=1))),
            "parent": parent_run.ParentRunFacet(
                run=parent_run.Run(runId=_uuid(event.run_id)),
                job=parent_run.Job(namespace=self._namespace, name="orchestrator"),
            ),
        }
        if event.state == "FAIL":
            run_facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(event.message or "no reason given", "python")
        # they are most of an event, and a run's events add up: what a START says without them, its end says with them
        facets = self._dataset_facets if event.state != "START" else lambda _: {}
        statistics: dict[str, Any] = {}
        if event.state == "COMPLETE" and event.row_count is not None:
            statistics["outputStatistics"] = statistics_facet.OutputStatisticsOutputDatasetFacet(rowCount=event.row_count)
        return RunEvent(
            eventType=RunState[event.state],
            eventTime=_iso(datetime.now(UTC)),
            run=Run(runId=str(uuid.uuid5(RUNS, f"{event.run_id}/{event.dataset.path}/{event.partition}")), facets=run_facets),
            job=Job(namespace=self._namespace, name=event.dataset.path),
            inputs=[InputDataset(self._namespace, i.path, facets=facets(i)) for i in event.inputs],
            outputs=[
                OutputDataset(
                    self._namespace, event.dataset.path, facets=facets(event.dataset), outputFacets=statistics,
                )
            ],
            producer=PRODUCER,
        )

    def _dataset_facets(self, dataset: Dataset) -> dict[str, Any]:
        """Schema, ownership and documentation, built once a dataset: they are most of an event."""
        from openlineage.client.facet_v2 import documentation_dataset, ownership_dataset, schema_dataset

        if dataset not in self._facets:
            fields = [
                schema_dataset.SchemaDatasetFacetFields(name=c.name, type=c.type.name, description=c.doc, ordinal_position=n)
                for n, c in enumerate(dataset.stored_columns, 1)
            ]
            owner = ownership_dataset.Owner(f"team:{dataset.owner}", "OWNER")
            self._facets[dataset] = {
                "schema": schema_dataset.SchemaDatasetFacet(fields=fields),
                "ownership": ownership_dataset.OwnershipDatasetFacet(owners=[owner]),
                "documentation": documentation_dataset.DocumentationDatasetFacet(dataset.doc, "text/plain"),
            }
        return self._facets[dataset]


def _uuid(run_id: str) -> str:
    """The orchestrator's run id, which OpenLineage wants to be a UUID; another kind of id is hashed into one."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(RUNS, run_id))


def _iso(time_: datetime) -> str:
    return time_.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
