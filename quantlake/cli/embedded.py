"""The embedded servers of a home: the broker, its announcement, and the landing beside it.

A clean stop lands what is pending and closes the logs; after a crash the audit shows the log as unverified.
"""

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from quantlake.adapters.broker.tansu import Tansu
from quantlake.adapters.locks import file_lock
from quantlake.contract import EmbeddingIndex, QuantLakeError, Stream
from quantlake.contract.catalog import Catalog
from quantlake.contract.wire import subject, wire_schema
from quantlake.landing.land import Landed, Report, close, land
from quantlake.landing.mend import record_ends
from quantlake.ports import Broker, Lake, Registry
from quantlake.wiring import Adapters, catalog

LAKE_KINDS = ("iceberg", "feast")  # kinds whose rows lie in Iceberg
PRODUCERS_SECONDS = 0.5  # a resident producer looks for the announcement before each batch: what it sent by then is landed, the rest it keeps


def register_contracts(catalog: Catalog, broker: Broker, registry: Registry, lake: Lake) -> list[tuple[Stream, bool, int]]:
    """Evolve the Iceberg tables that there are, create every stream's topic and register its subject: rows of a new schema have a place
    before anyone may send some. Gives (stream, topic is new, schema id) of each."""
    for dataset in catalog.datasets:
        for spec in (dataset.spec, dataset.rejected_spec):
            if dataset.kind in LAKE_KINDS and lake.exists(spec):
                lake.ensure(spec)
    return [
        (s, broker.create_topic(s.topic, s.topic_partitions), registry.register(subject(s), wire_schema(s))) for s in catalog.streams
    ]


class Embedded:
    """Context manager: servers up inside, cleanly stopped at exit (not so after an error: nothing then claims a clean end)."""

    def __init__(self, adapters: Adapters, catalog: Catalog, *, port: int = 0, report: Report | None = None) -> None:
        if not adapters.embedded:
            raise QuantLakeError("QUANTLAKE_PROFILE is production: its servers are not ours to start; unset it for the embedded ones")
        self._adapters, self._catalog, self._port, self._report = adapters, catalog, port, report
        self._stack = ExitStack()

    def __enter__(self) -> "Embedded":
        settings = self._adapters.settings
        settings.run.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(file_lock(settings.run / "lock", what=f"the home {settings.root}", wait_seconds=0))
        try:
            self._drain_orphan(settings.run / "broker.json")
            self.broker = Tansu.start(settings.root / "logs" / "broker.log", self._port)
            self._stack.callback(self.broker.stop)
            self.ended = record_ends(self._catalog.streams, self._adapters.lake)  # of a broker that was not stopped cleanly
            self._announce(settings.run / "broker.json")
            register_contracts(self._catalog, self._adapters.broker, self._adapters.registry, self._adapters.lake)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None or kind is KeyboardInterrupt:
                (self._adapters.settings.run / "broker.json").unlink(missing_ok=True)
                time.sleep(PRODUCERS_SECONDS)
                self.close()
        finally:
            self._stack.close()

    def open_stores(self) -> None:
        """Start what the built datasets need (PostgreSQL), so that it answers before anyone asks."""
        for dataset in self._catalog.datasets:
            if isinstance(dataset, EmbeddingIndex):
                self._adapters.vectors.ensure(dataset.spec)

    def land(self) -> Landed:
        """Land what is pending of every stream."""
        a = self._adapters
        parts = [land(s, broker=a.broker, registry=a.registry, lake=a.lake, report=self._report) for s in self._catalog.streams]
        return sum(parts, Landed())

    def close(self) -> None:
        """Land the rest and put on record that the logs end here, of datasets that were added meanwhile too."""
        a = self._adapters
        for stream in self._streams():
            close(stream, broker=a.broker, registry=a.registry, lake=a.lake, report=self._report)

    def _streams(self) -> list[Stream]:
        """Those that we knew at the start, and those that have a topic by now."""
        known = list(self._catalog.streams)
        try:
            added = [s for s in catalog().streams if s.path not in self._catalog.by_path]
        except QuantLakeError as error:  # a file that is being edited
            print(f"datasets as they were at the start are landed: {error}", file=sys.stderr, flush=True)
            return known
        for stream in added:
            try:
                self._adapters.broker.partitions(stream.topic)
            except QuantLakeError:  # it was not registered
                continue
            known.append(stream)
        return known

    @property
    def alive(self) -> bool:
        return self.broker.process.poll() is None

    def _drain_orphan(self, announcement: Path) -> None:
        """Take over the broker of a killed predecessor: what it still holds was acknowledged, so it is landed before it is ended."""
        import psutil

        try:
            announced = json.loads(announcement.read_text())
            process = psutil.Process(announced["pid"])
            if announced["cluster_id"] not in process.cmdline():
                raise psutil.NoSuchProcess(process.pid)  # the number belongs to another process by now
        except (OSError, ValueError, KeyError, TypeError, OverflowError, psutil.Error):
            announcement.unlink(missing_ok=True)
            return
        print("landing what the broker of a killed predecessor still holds", flush=True)
        try:
            self.close()
        except QuantLakeError as error:  # it hangs; its logs have ended then, as after any crash
            print(f"the broker that a killed predecessor left, process {process.pid}, is ended: {error}", file=sys.stderr, flush=True)
        finally:
            self._adapters.__dict__.pop("broker", None)  # it was opened at the old address
            process.kill()  # asked to end it sometimes stays
            process.wait(10)
            announcement.unlink(missing_ok=True)

    def _announce(self, path: Path) -> None:
        staged = path.with_suffix(f".{os.getpid()}")
        staged.write_text(json.dumps({"pid": self.broker.process.pid, "address": self.broker.address, "cluster_id": self.broker.cluster_id}))
        staged.replace(path)
        self._stack.callback(path.unlink, missing_ok=True)
