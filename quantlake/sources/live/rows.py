"""Messages of one connection, as they wait and as rows.

Here: the columns of ``raw/market/exchange_messages`` for a live message. Not here: when they are sent (delivery.py).
"""

import contextlib
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from quantlake.datasets.market.exchange_messages import complete, raw
from quantlake.exchanges import MODULES
from quantlake.sources.importers import typed


@dataclass(eq=False)
class Inbox:
    """Messages of one connection (or of its REST requests) that wait, in order. ``first`` is the number of the first of them."""

    source: str
    venue: str
    connection_id: str
    url: str
    transport: str
    first: int = 1
    times: list[int] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)
    channels: list[str] | None = None  # of REST; a websocket's messages name theirs
    ended: bool = False

    def take(self, count: int) -> "Inbox":
        """The first so many, taken away."""
        taken = Inbox(self.source, self.venue, self.connection_id, self.url, self.transport, self.first, self.times[:count], self.payloads[:count])
        taken.channels = None if self.channels is None else self.channels[:count]
        for values in (self.times, self.payloads, self.channels or []):
            del values[:count]
        self.first += len(taken.times)
        return taken


def rows(part: Inbox) -> pa.Table:
    """Messages as rows of ``raw/market/exchange_messages``."""
    number = pl.int_range(part.first, part.first + len(part.times), dtype=pl.Int64, eager=True)
    frame = pl.DataFrame({"payload": part.payloads, "line_number": number, "received": pl.Series(part.times, dtype=pl.Int64)}).with_columns(
        source=pl.lit(part.source),
        venue=pl.lit(part.venue),
        transport=pl.lit(part.transport),
        connection_id=pl.lit(part.connection_id),
        source_name=pl.lit(part.connection_id),
        message_key=pl.format("{}:{}", pl.lit(part.connection_id), "line_number"),
        receive_time=(pl.col("received") // 1000).cast(pl.Datetime("us", "UTC")),
        known_at=pl.lit(None, pl.Datetime("us", "UTC")),
        partition_date=pl.lit(None, pl.Date),
    )
    if part.channels is not None:
        frame = frame.with_columns(channel=pl.Series(part.channels, dtype=pl.String), url=part.url + pl.Series(part.channels, dtype=pl.String))
    else:
        frame = frame.with_columns(channel=_named(part.source, frame["payload"]), url=pl.lit(part.url))
    return typed(raw, complete(frame))


def _named(source: str, payloads: pl.Series) -> pl.Series:
    """What messages name their channels; null where there is no parser, or where one of them is beyond it: it is sent on all the same."""
    module = MODULES.get(source)
    if module is not None:
        with contextlib.suppress(pl.exceptions.PolarsError):
            return payloads.to_frame().select(module.channel(pl.col(payloads.name))).to_series()
    return pl.Series([None] * len(payloads), dtype=pl.String)
