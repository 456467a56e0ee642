"""What is done about a log that broke: a person accepts what was lost, or begins again; the embedded broker's end is put on record.

Each changes only what the raw table knows of its logs; rows are never removed.
"""

from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime

from quantlake.contract import Stream
from quantlake.landing.land import put
from quantlake.landing.logs import PROPERTY, Log, Logs
from quantlake.ports import Broker, Lake, LogBrokenError


def accept_loss(stream: Stream, *, broker: Broker, lake: Lake) -> list[str]:
    """Give up what was lost of the stream's logs, for the audit to keep on record; what, a line each. The next landing goes on.

    Expired offsets are skipped. A truncated log goes on as another one from where it now ends, since its offsets are used again. A log
    that ended without a clean stop is given up from where landing got to.
    """
    return _mended(stream, broker, lake, again=False)


def reset(stream: Stream, *, broker: Broker, lake: Lake) -> list[str]:
    """Begin again with what the broker holds, as a new log; what was landed before stays, under the old one. What it did, a line each."""
    return _mended(stream, broker, lake, again=True)


def record_ends(streams: Iterable[Stream], lake: Lake) -> list[tuple[Stream, Log]]:
    """Put on record that logs which were not closed have ended: those of an embedded broker that died, when the next one starts.

    These, and those recorded before that nobody has accepted yet.
    """
    ended = []
    for stream in streams:
        with lake.lock(stream.spec):
            written = lake.properties(stream.spec).get(PROPERTY, "")
            logs = Logs.parse({PROPERTY: written})
            left = [log for log in logs.logs if log.status == "open"]
            for log in left:
                logs = logs.lost(log.id)
            if left:
                put(stream, lake, logs, written)
            ended += [(stream, log) for log in logs.logs if log.status == "lost"]
    return ended


def _mended(stream: Stream, broker: Broker, lake: Lake, *, again: bool) -> list[str]:
    broker_id = broker.log_id(stream.topic)
    lake.ensure(stream.spec)
    with lake.lock(stream.spec):
        written = lake.properties(stream.spec).get(PROPERTY, "")
        logs = Logs.parse({PROPERTY: written})
        at = datetime.now(UTC).isoformat(timespec="seconds")
        done = []
        for log in [*logs.open_elsewhere(broker_id), *(log for log in logs.logs if log.status == "lost")]:
            logs = logs.given_up(log.id, "ended", at)
            done.append(f"log {log.id} ended, committed to {reached(log)}; anything after is given up")
        current = logs.current(broker_id)
        if again and logs[current].offsets:
            logs = logs.restarted(current, at)
            done.append(f"log {current} is over, committed to {reached(logs[current])}; {logs.current(broker_id)} begins with what the broker holds")
        elif not again:
            logs, told = _without_lost(stream, broker, logs, current, at)
            done += told
        if done:
            put(stream, lake, logs, written)
    return done


def _without_lost(stream: Stream, broker: Broker, logs: Logs, current: str, at: str) -> tuple[Logs, list[str]]:
    try:
        with closing(broker.read(stream.topic, logs[current].offsets, last=logs[current].last, batch_rows=1)) as batches:  # type: ignore[type-var]
            next(batches, None)  # its first act is to look whether all is there
    except LogBrokenError as error:
        for lost in error.lost:
            if lost.why == "expired":
                logs = logs.expired(current, lost.partition, lost.end, at)
        if cut := {lost.partition: lost.first for lost in error.lost if lost.why == "truncated"}:
            logs = logs.truncated(current, cut, at)
        return logs, [str(lost) for lost in error.lost]
    return logs, []


def reached(log: Log) -> str:
    """How far a log was committed, for people."""
    return ", ".join(f"{o} of partition {p}" for p, o in sorted(log.offsets.items())) or "nothing"
