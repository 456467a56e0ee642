"""What the tables of on-chain data share: which block a row is of, whose time it has, and exact amounts.

Here: those columns, what a producer may omit, which rows stand. Not here: datasets, decoding (``quantlake/evm``).

A row is keyed by the hash of its block and never changes. 256-bit amounts are decimal text, since no number of a store holds them all.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from quantlake.contract import (
    PARTITION_DATE,
    SOURCE_COLUMNS,
    Boolean,
    Column,
    Integer,
    Rows,
    Settled,
    Standing,
    Stream,
    Text,
    Timestamp,
)
from quantlake.datasets.market.common import EVENT_TIME_NS, INSTRUMENT_ID, ITEM_INDEX, RECEIVE_TIME, flags

OWNER = "onchain-data"
UNDATED = datetime(1970, 1, 1, tzinfo=UTC)
"""The ``event_time`` of rows whose file does not say when their block was; their ``block_timestamp`` is null."""

CHAIN_ID = Column("chain_id", Integer, "The chain (EIP-155): 1 is Ethereum's main net.", minimum=0)
BLOCK_NUMBER = Column("block_number", Integer, "Its block's height.", minimum=0)
BLOCK_HASH = Column("block_hash", Text, "Its block's hash, lower case.")
BLOCK_TIMESTAMP = Column("block_timestamp", Timestamp, "Its block's time, UTC; null where the file does not say.", null=True)
BLOCK = (CHAIN_ID, BLOCK_NUMBER, BLOCK_HASH, BLOCK_TIMESTAMP)
LOG = (
    *BLOCK,
    Column("log_index", Integer, "Place of its log in the block, from 0.", minimum=0),
    Column("transaction_hash", Text, "Its transaction's hash, lower case."),
)
"""Of what a log tells of."""
EVENT_TIME = Column("event_time", Timestamp, "The block's time, UTC; the start of 1970 where the file does not say.")

KNOWN_AT_SOURCE = Column(
    "known_at_source", Text,
    "Whose time `known_at` is: the block's (history), or ours of receiving it (live, and where a file does not say when its block was).",
    allowed=("block", "receive"), provenance=True,
)  # fmt: skip
BAD_TEXT = Column("bad_text", Boolean, "Whether a text of it is no UTF-8; what is none is replaced.", null=True)
RECEIVED = (
    Column("source", Text, "Who sent or kept it: `json_rpc`, `ethereum_etl`, `parity_trace`, `ethereum` (live).", provenance=True),
    Column("venue", Text, "The chain's name, lower case: `ethereum`; `chain-<id>` where it has none here.", provenance=True),
    Column("symbol", Text, "What a market calls it; null: a chain knows addresses.", null=True, provenance=True),
    EVENT_TIME,
    EVENT_TIME_NS,
    Column("event_time_source", Text, "Whose clock `event_time` is: the block's, or none.", allowed=("block", "none"), provenance=True),
    RECEIVE_TIME,
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    KNOWN_AT_SOURCE,
    PARTITION_DATE,
    *SOURCE_COLUMNS,
    ITEM_INDEX,
)
"""What every row of a stream has beside its block."""
NOTHING_YET = {"instrument_id": pl.lit(None, pl.String), "flags": pl.lit([], pl.List(pl.String))}
FINAL_DEPTH = 64  # blocks: two epochs of the beacon chain, after which a block is final
STANDS = Standing(
    by="curated/onchain/canonical_blocks",
    place=("chain_id", "block_number"),
    value="block_hash",
    dated="block_timestamp",
    name="is_canonical",
    settled=Settled(name="is_finalized", height="block_number", within="chain_id", said="finalized_number", depth=FINAL_DEPTH),
)
"""A row stands while no other block than its own is known to be the chain's at its height."""

CHAINS = {1: "ethereum", 10: "optimism", 56: "bsc", 100: "gnosis", 137: "polygon", 8453: "base", 42161: "arbitrum", 43114: "avalanche", 11155111: "sepolia"}
MOST_HELD_BACK = 0.5  # of a date's rows: those of blocks that are not whole; beyond, the whole date is refused
LARGEST = str(2**256 - 1)
AMOUNT = r"^(0|-?[1-9][0-9]{0,77})$"


def curated(meaning: str = "nothing yet") -> tuple[Column, ...]:
    """What every curated row has beside the stream's columns; ``meaning``: of the words of ``flags``."""
    return (INSTRUMENT_ID, flags(meaning))


def derived(meaning: str = "nothing yet") -> tuple[Column, ...]:
    """What every row of a derived table has beside its block."""
    return (INSTRUMENT_ID, Column("known_at", Timestamp, "When it could first be known, UTC."), PARTITION_DATE, flags(meaning))


def flagged(odd: Mapping[str, pl.Expr]) -> pl.Expr:
    """The words whose expression is true, as a list."""
    return pl.concat_list([pl.when(condition).then(pl.lit(word)) for word, condition in odd.items()]).list.drop_nulls()


def of_no_block(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Block columns of rows that may be of none."""
    return tuple(replace(c, null=c.null or c.name != "chain_id") for c in columns)


def amount(name: str, doc: str, *, null: bool = False) -> Column:
    """A column of 256-bit whole numbers as decimal text."""
    return Column(name, Text, f"{doc} A whole number of up to 256 bits, as decimal text.", null=null)


def exact(*columns: Column) -> Rows:
    """The check that amounts are whole numbers of up to 256 bits, written in one way."""
    names = tuple(c.name for c in columns)
    bad = pl.any_horizontal(~pl.col(n).str.contains(AMOUNT) | _too_large(pl.col(n).str.strip_prefix("-")) for n in names)
    return Rows("exact_amounts", bad, "no whole number of up to 256 bits", names)


def _too_large(digits: pl.Expr) -> pl.Expr:
    return (digits.str.len_bytes() == len(LARGEST)) & (digits > LARGEST)


def merged(received: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    """Rows in their order, each with what was known of its key and date by then where it says nothing: no source has every column."""
    frame = received.collect()
    place = ["partition_date", *stream.key]
    if not frame.select(pl.struct(place).is_duplicated().any()).item():
        return frame.lazy()
    of_source = {c.name for c in RECEIVED}
    said = pl.col([c.name for c in stream.columns if c.null and c.name not in {*of_source, *place}])
    at_once = frame.with_row_index("_at").sort("known_at", maintain_order=True).with_columns(said.forward_fill().backward_fill().over(*place, "known_at"))
    return at_once.with_columns(said.forward_fill().over(place)).sort("_at").drop("_at").lazy()


def named() -> pl.Expr:
    """The chain's name by its ``chain_id``."""
    return pl.col("chain_id").replace_strict(CHAINS, default=pl.format("chain-{}", "chain_id"), return_dtype=pl.String)


def completed_claims(rows: pl.DataFrame) -> pl.DataFrame:
    """``completed``, of the date on which what is claimed was known."""
    return completed(rows.with_columns(pl.col("partition_date").fill_null(pl.col("known_at").dt.date())))


def completed(rows: pl.DataFrame) -> pl.DataFrame:
    """With what a producer may omit: the main net, times after the block's, the UTC date of its block."""
    dated = pl.col("block_timestamp").is_not_null()
    return (
        rows.with_columns(pl.col("chain_id").fill_null(1))
        .with_columns(
            pl.col("venue").fill_null(named()),
            pl.col("event_time").fill_null(pl.coalesce("block_timestamp", pl.lit(UNDATED))),
            pl.col("event_time_source").fill_null(pl.when(dated).then(pl.lit("block")).otherwise(pl.lit("none"))),
            pl.col("known_at_source").fill_null("receive"),
        )
        .with_columns(pl.col("partition_date").fill_null(pl.col("event_time").dt.date()))
    )
