"""Transfers of tokens out of logs: ERC-20, ERC-721, ERC-1155.

Here: what those events' words mean, amounts in units of their token. Not here: finding logs (events.py), the table.
"""

import polars as pl

from quantlake.evm import words
from quantlake.evm.events import BATCH, BLOCK, ERC20, ERC721, SINGLE, Logs, logs_of
from quantlake.evm.lookups import on_date

KEY = ("chain_id", "block_hash", "log_index", "item_index")
COLUMNS = (
    *BLOCK, "log_index", "transaction_hash", "item_index", "token_address", "standard", "operator", "from_address", "to_address", "token_id",
    "value", "value_normalized", "event_time", "instrument_id", "known_at", "partition_date", "flags",
)  # fmt: skip
PARTIES = ("from_address", "to_address")


def transfers(logs: pl.LazyFrame, tokens: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of ``derived/onchain/token_transfers``, sorted by its key, from logs and what tokens say of themselves (the latest of each).

    ``value_normalized`` is null where an ERC-20's decimals are not known on the log's date (flag ``unknown_decimals``) or it does not fit
    exactly; of other tokens always. Logs that do not tell what their event does are left out (``undecoded`` has them).
    """
    found = _items(told(logs).filter("told"))
    said = tokens.sort("known_at", descending=True).select("chain_id", "first_seen", "decimals", pl.col("address").alias("token_address")).collect()
    known = on_date(found, said, ("chain_id", "token_address"))
    erc20 = pl.col("standard") == "erc20"
    unknown = pl.when(erc20 & pl.col("decimals").is_null()).then(pl.lit(["unknown_decimals"])).otherwise(pl.lit([], pl.List(pl.String)))
    units = known.select(pl.when(erc20).then("decimals")).to_series()
    rows = known.with_columns(value_normalized=words.normalized(known["value"], units), flags=unknown, instrument_id=pl.lit(None, pl.String))
    return rows.select(COLUMNS).sort(KEY).lazy()


def told(logs: pl.LazyFrame) -> pl.DataFrame:
    """A row each log of a transfer: what its words say, and ``told``, whether that is a transfer; batches as lists ``ids`` and ``values``."""
    erc20, erc721, single, batch, others = logs_of(logs, (ERC20, ERC721, SINGLE, BATCH))
    parts = [_erc20(erc20), _erc721(erc721), _single(single), _batch(batch), others.untold()]
    return pl.concat(parts, how="diagonal").rename({"address": "token_address"})


def _erc20(logs: Logs) -> pl.DataFrame:
    return logs.told(*PARTIES, "value", standard=pl.lit("erc20"), **_parties(logs, 1), value=words.integers(logs.word(0)))


def _erc721(logs: Logs) -> pl.DataFrame:
    token_id = words.integers(logs.topic(3))
    return logs.told(*PARTIES, "token_id", standard=pl.lit("erc721"), **_parties(logs, 1), token_id=token_id, value=pl.lit("1"))


def _single(logs: Logs) -> pl.DataFrame:
    item = {"token_id": words.integers(logs.word(0)), "value": words.integers(logs.word(1))}
    return logs.told("operator", *PARTIES, *item, standard=pl.lit("erc1155"), operator=words.addresses(logs.topic(1)), **_parties(logs, 2), **item)


def _batch(logs: Logs) -> pl.DataFrame:
    ids, values = words.pairs(logs.data)
    return logs.told(
        "operator", *PARTIES, "ids", "values", standard=pl.lit("erc1155"), operator=words.addresses(logs.topic(1)), **_parties(logs, 2),
        ids=ids, values=values,
    )  # fmt: skip


def _parties(logs: Logs, first: int) -> dict[str, pl.Series]:
    return {name: words.addresses(logs.topic(first + n)) for n, name in enumerate(PARTIES)}


def _items(rows: pl.DataFrame) -> pl.DataFrame:
    """A row an item of a batch; other rows as they are. An empty batch has none."""
    batch = pl.col("ids").is_not_null()
    alone = rows.filter(~batch).with_columns(item_index=pl.lit(0, pl.Int64))
    batches = rows.filter(batch & (pl.col("ids").list.len() > 0)).with_columns(
        pl.col("ids").alias("token_id"), pl.col("values").alias("value"), item_index=pl.int_ranges(pl.col("ids").list.len(), dtype=pl.Int64)
    )
    return pl.concat([alone, batches.explode("item_index", "token_id", "value")]).drop("ids", "values")
