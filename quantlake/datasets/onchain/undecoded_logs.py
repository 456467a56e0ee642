"""Logs that seem to tell of a transfer, a swap or a new pool, and do not: so that none is left out unseen.

Here: that table. Not here: which events are decoded (``quantlake/evm/events.py``).
"""

import polars as pl

from quantlake import evm
from quantlake.contract import Column, Derived, Integer, Rows, Text
from quantlake.datasets.onchain import common
from quantlake.datasets.onchain.logs import logs

undecoded_logs = Derived(
    __name__,
    of=(logs,),
    doc="A log with the signature of an event that is decoded, whose topics or data are not that event's.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "log_index"),
    many=True,
    rare=True,
    stands=common.STANDS,
    columns=(
        *common.LOG,
        Column("address", Text, "The contract that told it, lower case."),
        Column("event", Text, "Which event it seems to be: `transfer` of an ERC-20 or ERC-721, `transfer_single`, `v2_swap`, ..."),
        Column("topic_count", Integer, "How many topics it has; old contracts index less, or nothing.", minimum=0),
        Column("data_bytes", Integer, "How many bytes of data it has.", null=True),
        common.EVENT_TIME,
        *common.derived(),
    ),
    checks=(
        Rows("none_undecoded", pl.col("event").is_not_null(), "that are not decoded", ("event", "address", "topic_count", "data_bytes"), blocking=False),
    ),
)  # fmt: skip


@undecoded_logs.build
def build(logs: pl.LazyFrame) -> pl.LazyFrame:
    return evm.undecoded(logs)
