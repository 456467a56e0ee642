"""The audit: is every offset of every log in the raw table exactly once, as a row or as a dead letter?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from quantlake.contract import BROKER_COLUMNS, PARTITION_DATE, Column, QuantLakeError, Stream
from quantlake.contract.fingerprint import Fingerprint, fingerprints
from quantlake.landing.logs import Logs
from quantlake.ports import Broker, Lake

COORDINATES: tuple[Column, ...] = tuple(c for c in BROKER_COLUMNS if c.name in ("_log", "_topic", "_partition", "_offset", "_error_class"))


@dataclass(frozen=True)
class Audited:
    """One partition of one log. ``first`` and ``end`` bound the offsets accounted for; ``end`` is exclusive.

    status: ``live`` compared with the broker now; ``closed`` by a clean stop, its ends on record; ``unverified`` not to be reached.
    """

    topic: str
    log: str
    partition: int
    status: Literal["live", "closed", "unverified"]
    first: int
    end: int
    rows: int
    dead_letters: int
    duplicates: int
    gaps: int
    pending: int
    reason: str = ""

    @property
    def clean(self) -> bool:
        return self.status != "unverified" and self.duplicates == 0 and self.gaps == 0


def audit(stream: Stream, *, lake: Lake, broker: Broker | None) -> list[Audited]:
    """Every log of a stream against its rows. ``broker`` None: none is running."""
    logs = Logs.parse(lake.properties(stream.spec))
    coordinates = lake.read(stream.spec, columns=[c.name for c in COORDINATES])
    counted = (
        pl.DataFrame(coordinates)
        .lazy()
        .group_by("_log", "_partition")
        .agg(
            landed=pl.len(), distinct=pl.col("_offset").n_unique(), dead=pl.col("_error_class").count(),
            last=pl.col("_offset").max(), early=pl.col("_offset").min(),
        )
        .collect()
    )
    found = {(r["_log"], r["_partition"]): r for r in counted.iter_rows(named=True)}
    live, ends, why = _broker_ends(stream, broker, logs)
    if live and live not in {log.id for log in logs.logs}:
        logs = logs.entered(live)
    result = []
    for log in logs.logs:
        partitions = {*log.offsets, *(p for name, p in found if name == log.id), *(ends if log.id == live else ())}
        for partition in sorted(partitions):
            counts = found.get((log.id, partition), {"landed": 0, "distinct": 0, "dead": 0, "last": -1, "early": 0})
            committed = max(log.offsets.get(partition, 0), counts["last"] + 1)
            status: Literal["live", "closed", "unverified"]
            status = "closed" if log.status == "closed" else "live" if log.id == live else "unverified"
            reason = ""
            if status == "unverified":
                reason = f"ended without a clean stop; committed to {committed}, anything after is unknown" if log.status == "lost" else why
            result.append(Audited(
                stream.topic, log.id, partition, status, 0, committed, counts["landed"] - counts["dead"], counts["dead"],
                counts["landed"] - counts["distinct"], committed - counts["distinct"],
                max(ends.get(partition, committed) - committed, 0) if log.id == live else 0, reason,
            ))  # fmt: skip
    return result


def _broker_ends(stream: Stream, broker: Broker | None, logs: Logs) -> tuple[str | None, dict[int, int], str]:
    if broker is None:
        return None, {}, "no broker is running, and the log was not closed by a clean stop"
    try:
        live = broker.log_id(stream.topic)
        return live, broker.ends(stream.topic, logs[live].offsets), "the broker now holds another log"
    except QuantLakeError as error:
        return None, {}, str(error)


def raw_versions(stream: Stream, lake: Lake, dates: Sequence[date] | None = None) -> dict[date, Fingerprint]:
    """The data version of each raw partition: an order-free hash of its (log, topic, partition, offset, dead or not)."""
    columns = [*(c.name for c in COORDINATES), PARTITION_DATE.name]
    return fingerprints(lake.read(stream.spec, dates, columns), COORDINATES)
