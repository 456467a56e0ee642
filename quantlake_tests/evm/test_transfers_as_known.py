"""Transfers and swaps as known at a time: with what tokens and pools had said by then."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import Built, Table
from quantlake.contract.compute import compute
from quantlake.datasets.onchain import dex_pools, logs, tokens
from quantlake.datasets.onchain.dex_swaps import dex_swaps
from quantlake.datasets.onchain.token_transfers import token_transfers
from quantlake.serving.as_known import AsKnown
from quantlake_tests.evm.plain import AT, TRANSFER, V2_SWAP, a_log, address, data, frame, topic

RECEIVED = {"source": "json_rpc", "source_name": "x", "venue": "ethereum", "event_time": AT, "event_time_source": "block", "known_at_source": "receive", "flags": []}
LATER, LAST = AT + timedelta(days=3), AT + timedelta(days=5)


def publish(lake: Iceberg, table: Table, *rows: dict[str, Any]) -> None:
    held = frame(table, [RECEIVED | row for row in rows]).with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC"))).collect()
    lake.publish(table.spec, sorted(set(held["partition_date"])), held.to_arrow().cast(table.spec.arrow))


def publish_built(lake: Iceberg, dataset: Built, looked_up: Table) -> None:
    """What a build of now stores."""
    inputs = [pl.DataFrame(lake.read(t.spec)).lazy() for t in (logs.logs, looked_up)]
    lake.publish(dataset.spec, [AT.date()], compute(dataset, inputs, AT.date()))


def as_known(lake: Iceberg, dataset: Built, moment: datetime) -> tuple[list[dict[str, Any]], bool]:
    """Its rows as known then, and whether they were stored."""
    found = AsKnown.of(dataset, moment, lake)
    return pl.concat([found.stored().collect(), *found.frames()]).to_dicts(), bool(found.served)


def test_a_transfer_is_known_with_its_log_and_normalised_once_its_decimals_are(lake: Iceberg) -> None:
    publish(lake, logs.logs, a_log([TRANSFER, topic(1), topic(2)], data(15), contract=7))
    publish(lake, tokens.tokens, {"chain_id": 1, "address": address(7), "decimals": 1, "known_at": LATER, "partition_date": LATER.date()})
    publish_built(lake, token_transfers, tokens.tokens)
    assert as_known(lake, token_transfers, AT - timedelta(seconds=1)) == ([], False)
    for moment, normalized, flags, stored in ((AT, None, ["unknown_decimals"], False), (LATER, Decimal("1.5"), [], True)):
        (row,), served = as_known(lake, token_transfers, moment)
        assert (row["value"], row["value_normalized"], row["flags"], row["known_at"], served) == ("15", normalized, flags, AT, stored)


def test_a_swap_has_the_tokens_that_its_pool_was_known_to_have(lake: Iceberg) -> None:
    pool = {"chain_id": 1, "pool": address(7), "token1": address(9)}
    publish(lake, logs.logs, a_log([V2_SWAP, topic(1), topic(2)], data(5, 0, 0, 7), contract=7))
    publish(
        lake, dex_pools.pools,
        pool | {"token0": address(1), "factory": address(8), "known_at": LATER, "partition_date": LATER.date()},
        pool | {"token0": address(2), "factory": address(3), "known_at": LAST, "partition_date": LAST.date()},
    )  # fmt: skip
    publish_built(lake, dex_swaps, dex_pools.pools)
    for moment, token0 in ((AT, None), (LATER, address(1)), (LAST, address(1))):
        (row,), _ = as_known(lake, dex_swaps, moment)
        assert (row["amount0"], row["token0"], row["flags"]) == ("5", token0, [] if token0 else ["unknown_pool"])
