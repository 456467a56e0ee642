"""Whose the pools of decentralised exchanges are, by the contracts that made them.

Here: the best known of these. Not here: pools.
"""

import polars as pl

FACTORIES = {
    # https://docs.uniswap.org/contracts/v2/reference/smart-contracts/v2-deployments
    (1, "0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f"): "uniswap_v2",
    (10, "0x0c3c1c532f1e39edf36be9fe0be1410313e074bf"): "uniswap_v2",
    (56, "0x8909dc15e40173ff4699343b6eb8132c65e18ec6"): "uniswap_v2",
    (137, "0x9e5a52f57b3038f1b8eee45f28b3c1967e22799c"): "uniswap_v2",
    (8453, "0x8909dc15e40173ff4699343b6eb8132c65e18ec6"): "uniswap_v2",
    (42161, "0xf1d7cc64fb4452f05c498126312ebe29f30fbcf9"): "uniswap_v2",
    (43114, "0x9e5a52f57b3038f1b8eee45f28b3c1967e22799c"): "uniswap_v2",
    # https://docs.uniswap.org/contracts/v3/reference/deployments
    (1, "0x1f98431c8ad98523631ae4a59f267346ea31f984"): "uniswap_v3",
    (10, "0x1f98431c8ad98523631ae4a59f267346ea31f984"): "uniswap_v3",
    (137, "0x1f98431c8ad98523631ae4a59f267346ea31f984"): "uniswap_v3",
    (8453, "0x33128a8fc17869897dce68ed026d694621f6fdfd"): "uniswap_v3",
    (42161, "0x1f98431c8ad98523631ae4a59f267346ea31f984"): "uniswap_v3",
    # https://developer.pancakeswap.finance/contracts/v2/addresses
    (1, "0x1097053fd2ea711dad45caccc45eff7548fcb362"): "pancakeswap_v2",
    (56, "0xca143ce32fe78f1f7019d7d551a6402fc5350c73"): "pancakeswap_v2",
    # https://github.com/VeloraDEX/paraswap-dex-lib/blob/master/src/dex/uniswap-v2/config.ts
    (1, "0xc0aee478e3658e2610c5f7a4a2e1777ce9e4f2ac"): "sushiswap",
    (1, "0x115934131916c8b277dd010ee02de363c09d037c"): "shibaswap",
    (1, "0x9deb29c9a4c7a88a3c0257393b7f3335338d9a9d"): "defiswap",
}
"""Whose factory it is, by chain and address: the best known ones."""


def protocol() -> pl.Expr:
    """Whose a pool is by ``chain_id`` and ``factory``; null where the factory is none of ``FACTORIES``."""
    place = pl.format("{} {}", "chain_id", "factory")
    return place.replace_strict({f"{chain} {factory}": name for (chain, factory), name in FACTORIES.items()}, default=None, return_dtype=pl.String)
