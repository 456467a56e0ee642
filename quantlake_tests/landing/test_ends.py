"""An end that was met, and records that were written behind it before the poll was over: the offset to go on from is behind them."""

from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, Message

from quantlake.adapters.broker.reading import Reading
from quantlake.contract import QuantLakeError
from quantlake.landing.land import Landing
from quantlake.landing.logs import Logs
from quantlake.ports import Batch, Records
from quantlake_tests.landing.ticks import ticks


def message(offset: int, error: KafkaError | None = None) -> Message:
    return Message(topic="t", partition=0, offset=offset, key=b"k", value=b"v", headers=[], timestamp=(1, 0), error=error)


class Client:
    """A consumer that hands over these messages: the real one cannot be told when to meet an end."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    def consume(self, *_: Any) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 0

    def assign(self, *_: Any) -> None:
        pass


END = None


@pytest.mark.parametrize(("polled", "ends"), [((0, 1), {}), ((0, 1, END), {0: 2}), ((0, END, 1), {}), ((END, 0, 1, END), {0: 2}), ((END, 0, 1), {})])
def test_an_end_before_records_of_the_same_poll_is_none(polled: tuple[int | None, ...], ends: dict[int, int]) -> None:
    reached, messages = 0, []
    for offset in polled:
        messages.append(message(reached, KafkaError(KafkaError._PARTITION_EOF)) if offset is END else message(offset))
        reached = reached if offset is END else offset + 1
    reading = Reading(Client(*messages), "t", "nowhere", 100, 1 << 20, Client)  # type: ignore[arg-type]
    batch = next(reading.onward([0], {}, Event()))
    assert (batch.records.offsets.tolist(), dict(batch.ends)) == ([0, 1], ends)


def test_an_end_takes_no_record_back() -> None:
    logs = Logs().entered("log")
    landing = Landing(ticks, "log", "log", logs, logs.text())
    records = Records(np.zeros(5, np.int32), np.arange(6, 11), np.zeros(5, np.int64), [b"k"] * 5, [None] * 5, [b"v"] * 5, np.ones(5, np.int64))
    landing.take(Batch(records, {0: 6}, {0: 6}, skipped={}))
    assert landing.moved()["log"].offsets == {0: 11}
    landing.take(Batch(replace(records, offsets=np.arange(11, 16)), {0: 17}, {}, skipped={0: np.array([[16, 17]])}))  # a transaction's marker
    assert landing.moved()["log"].offsets == {0: 17}


@pytest.mark.parametrize(("offsets", "skipped"), [((0, 1, 3), []), ((1, 2), []), ((0, 1), [[2, 3], [4, 5]]), ((0, 1, 1), [])])
def test_an_offset_of_which_nothing_is_said_ends_the_landing(offsets: tuple[int, ...], skipped: list[list[int]]) -> None:
    """Whatever handed it over forgot a record: nothing is committed."""
    logs = Logs().entered("log")
    landing, n = Landing(ticks, "log", "log", logs, logs.text()), len(offsets)
    records = Records(np.zeros(n, np.int32), np.array(offsets), np.zeros(n, np.int64), [b"k"] * n, None, [b"v"] * n, np.ones(n, np.int64))
    batch = Batch(records, {0: skipped[-1][1]} if skipped else {}, {}, skipped={0: np.array(skipped)} if skipped else {})
    with pytest.raises(QuantLakeError, match=r"partition 0 went on by \d offsets and said of \d what they hold"):
        landing.take(batch)
