"""Logs: what contracts told of, in the order of their block.

Here: what a log is, which ones are removed, and that a whole block's are all there. Not here: what logs mean (token_transfers.py, dex_swaps.py).
"""

import polars as pl

from quantlake.contract import Boolean, Column, Input, Integer, Rows, Stream, Table, Text, TextList
from quantlake.datasets.onchain import blocks, common, receipts

COLUMNS = (
    *common.BLOCK,
    Column("log_index", Integer, "Place in its block, from 0.", minimum=0),
    Column("transaction_hash", Text, "Its transaction's hash, lower case."),
    Column("transaction_index", Integer, "Its transaction's place in the block, from 0.", minimum=0),
    Column("address", Text, "The contract that told it, lower case."),
    Column("topics", TextList, "Up to four words of 32 bytes, as hex; the first says which event it is, but of anonymous ones."),
    Column("data", Text, "The rest of the event, as hex; `0x` where none."),
    Column("removed", Boolean, "Whether the node said that its block is no longer the chain's; null: it did not say.", null=True),
)

raw = Stream(
    __name__,
    doc="A log as received.",
    owner=common.OWNER,
    topic="onchain.logs.v1",
    topic_partitions=2,
    message_key="block_hash",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "block_hash", "log_index"),
)


@raw.fill
def complete(logs: pl.DataFrame) -> pl.DataFrame:
    return common.completed(logs)


def lasting(received: pl.LazyFrame) -> pl.LazyFrame:
    """Of raw logs in order of arrival those that were not removed after."""
    log = ["partition_date", *raw.key]
    rows = received.with_row_index("_at")
    ends = rows.filter("removed").group_by(log).agg(_end=pl.col("_at").max())
    kept = rows.join(ends, on=log, how="left", maintain_order="left").filter(pl.col("_end").is_null() | (pl.col("_at") > pl.col("_end")))
    return kept.drop("_at", "_end")


logs = Table(
    __name__,
    of=raw,
    looks_up=(Input(blocks.blocks), Input(receipts.receipts)),
    doc="A log of a block, once.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "log_index"),
    ended_by="removed",
    sort_by=("chain_id", "block_number", "block_hash", "log_index"),
    columns=(*COLUMNS, *common.RECEIVED, *common.curated("`log_missing` (all receipts of its block are there, and not all logs)")),
    stands=common.STANDS,
    checks=(
        Rows(
            "log_index_contiguous", pl.col("flags").list.contains("log_missing"), "of whole blocks whose logs are not all there",
            ("block_number", "block_hash", "log_index"), quarantine=True, most=common.MOST_HELD_BACK,
        ),
    ),
)  # fmt: skip


@logs.build
def curate(received: pl.LazyFrame, blocks: pl.LazyFrame, receipts: pl.LazyFrame) -> pl.LazyFrame:
    of_block = ["chain_id", "block_hash"]
    done = receipts.group_by(of_block).agg(_done=pl.col("transaction_index").n_unique())
    whole = blocks.join(done, on=of_block).filter(pl.col("_done") == pl.col("transaction_count")).select(*of_block, _whole=True).unique()
    place = pl.col("log_index")
    missing = (place.n_unique() != place.max() + 1).over(of_block)
    found = _known(received).join(whole, on=of_block, how="left", maintain_order="left")
    flags = common.flagged({"log_missing": pl.col("_whole").fill_null(False) & missing})
    return found.with_columns(flags=flags, instrument_id=pl.lit(None, pl.String)).drop("_whole")


def _known(received: pl.LazyFrame) -> pl.LazyFrame:
    """What is said again of a log after it was removed was not known before it came: by its block's time it would lie before that."""
    frame = received.collect()
    if not frame["removed"].any():
        return frame.lazy()
    removed = pl.when("removed").then("known_at").cum_max().forward_fill().over("partition_date", *raw.key)
    again = removed.is_not_null() & ~pl.col("removed").fill_null(False)
    return frame.lazy().with_columns(
        known_at=pl.when(again).then(pl.max_horizontal("known_at", "_timestamp", removed)).otherwise("known_at"),
        known_at_source=pl.when(again).then(pl.lit("receive")).otherwise("known_at_source"),
    )
