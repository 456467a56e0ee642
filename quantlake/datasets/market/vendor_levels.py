"""Prices at a wrong level: in another unit, or before or after a split that other rows are not.

Here: jumps by a factor that no market makes, and which side of a jump is wrong. Not here: dividends (vendor_payouts).

A **jump** is a row's move of a factor 100 (pounds and pence, dollars and cents), or of the ratio of a split printed within
``SPLIT_DAYS`` of it: prices that are adjusted for splits do not show them, and raw ones show them on their day only. Between jumps the
level is the same. A level that holds (three rows, and not left again for the one before within ``EXCURSION_DAYS``) is the right one for
the rows before it, so the newest that begins within ``AHEAD_DAYS`` after a row is: a vendor's newest unit is the one to go by, and a
single odd row, be it the newest, changes nothing. A row at any other level is wrong by the difference.

Limits: half a price lost within three weeks of a 2:1 split cannot be told from the split; of a change of unit the rows of
``AHEAD_DAYS`` before are found, older ones are as wrong. The idea of jumps by a split's ratio or by 100 is that of yfinance's price
repair, https://ranaroussi.github.io/yfinance/advanced/price_repair.html.
"""

import math
from typing import Literal

import polars as pl

from quantlake.datasets.market.vendor_series import (
    AT,
    MILLION,
    PRICES,
    SERIES,
    UNIT,
    UNIT_TOLERANCE,
    finding,
    log,
    printed,
    rounded,
)

LEAST_SPLIT = math.log(1.2)  # smaller splits are lost in what prices do by themselves
SPLIT_TOLERANCE = 0.3  # of the split's log ratio, for the price's own move
TIMES_VOLATILITY = 4.0  # a split within so many times the usual move is lost in it
STEPS_OF_DIVIDENDS = (0.2, 1.0)  # of adj_close
SPLIT_DAYS = 21  # ex-date, payment and a vendor's own doing lie within three weeks
HOLDS_ROWS = 3
EXCURSION_DAYS = 60
AHEAD_DAYS = 300
NEAREST: tuple[Literal["forward", "backward"], ...] = ("forward", "backward")


def findings(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``measured`` rows with ``off`` (millionths of a log by which the row's level is off; 0: not), and what is found.

    Rules: ``unit_100x``, ``split_unapplied`` (applied to some rows only, twice, or not). One finding a price.
    """
    judged = _judged(_jumps(rows)).with_columns(right=(-pl.col("off") / MILLION).exp())
    wrong, beside = judged.filter(pl.col("off") != 0), judged.filter((pl.col("off") == 0) & pl.col("mixed"))
    return judged, pl.concat([_of_prices(wrong, column) for column in PRICES] + [_of_single_price(beside, column) for column in PRICES])


def _of_prices(wrong: pl.DataFrame, column: str) -> pl.DataFrame:
    rule = pl.when(pl.col("off").abs() == log(UNIT)).then(pl.lit("unit_100x")).otherwise(pl.lit("split_unapplied"))
    detail = pl.format("{} of the level that holds from {}", printed(1 / pl.col("right")), pl.col("holds_from").dt.date())
    expected = rounded(pl.col(f"_{column}") * pl.col("right"))
    return wrong.select(finding(rule, pl.lit(column), pl.col(column), expected, pl.col("sure_at"), detail))


def _of_single_price(mixed: pl.DataFrame, column: str) -> pl.DataFrame:
    ratio = pl.col(column).cast(pl.Float64) / pl.col(f"_{column}")
    wrong = mixed.filter(ratio.log().abs() > UNIT_TOLERANCE)
    detail = pl.format("{} of the prices beside it", printed(ratio))
    return wrong.select(
        finding(pl.lit("unit_100x"), pl.lit(column), pl.col(column), rounded(pl.col(f"_{column}")), pl.col("unmixed_at"), detail)
    )  # fmt: skip


def _jumps(rows: pl.DataFrame) -> pl.DataFrame:
    """With ``jump`` (millionths of a log; 0: none)."""
    unit = (pl.col("move").abs() - math.log(UNIT)).abs()
    units = rows.filter(unit < UNIT_TOLERANCE).select(*AT, jump=pl.col("move").sign().cast(pl.Int64) * log(UNIT), misfit=unit)
    best = pl.concat([units, _split_jumps(rows)]).sort("misfit").unique(AT, keep="first", maintain_order=True)
    return rows.join(best.drop("misfit"), on=AT, how="left", maintain_order="left").with_columns(pl.col("jump").fill_null(0))


def _split_jumps(rows: pl.DataFrame) -> pl.DataFrame:
    """Moves by the ratio of a split nearby, without what adj_close says of a dividend: that may look like a split, or hide one."""
    ratio = pl.col("split").log()
    splits = rows.filter(ratio.abs() >= LEAST_SPLIT).select(*SERIES, ratio=ratio.abs(), split_at="bar_start")
    paid = pl.when(pl.col("step").is_between(*STEPS_OF_DIVIDENDS)).then(pl.col("step").log()).otherwise(0.0)
    moves = rows.select(*AT, "volatility", move=pl.col("move") - paid).filter(pl.col("move").abs() > LEAST_SPLIT / 2)
    misfit = (pl.col("move").abs() - pl.col("ratio")).abs()
    near = (pl.col("bar_start") - pl.col("split_at")).abs() <= pl.duration(days=SPLIT_DAYS)
    told = pl.col("ratio") >= TIMES_VOLATILITY * pl.col("volatility")
    jump = (pl.col("move").sign() * (pl.col("ratio") * MILLION).round()).cast(pl.Int64)
    fitting = moves.join(splits, on=SERIES).filter(near & told & (misfit <= SPLIT_TOLERANCE * pl.col("ratio")))
    return fitting.select(*AT, jump=jump, misfit=misfit)


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    """With ``off``, ``holds_from`` (the next row of the right level, else the last) and ``sure_at`` (when row and next one were known)."""
    jumping = rows.filter((pl.col("jump") != 0).any().over(SERIES))
    levelled = jumping.with_columns(
        level=pl.col("jump").cum_sum().over(SERIES), stretch=(pl.col("jump") != 0).cast(pl.Int64).cum_sum().over(SERIES)
    ).sort("bar_start")
    steady = _steady(levelled).select(*SERIES, holds_from="bar_start", holds_known="known_at", right="level")
    ahead = levelled.select(*AT, "level", "known_at", until=pl.col("bar_start").dt.offset_by(f"{AHEAD_DAYS}d"))
    newest = ahead.join_asof(
        steady.select(*SERIES, "holds_from", "right"), left_on="until", right_on="holds_from", by=SERIES, check_sortedness=False
    ).select(*AT, "level", "known_at", "right")  # fmt: skip
    since, before = (
        newest.join_asof(
            steady.with_columns(at="holds_from"), left_on="bar_start", right_on="at", by=[*SERIES, "right"], strategy=strategy,
            check_sortedness=False,
        )
        for strategy in NEAREST
    )  # fmt: skip
    judged = since.with_columns(before.select(held_from="holds_from")).select(
        *AT,
        off=pl.col("level") - pl.col("right"),
        holds_from=pl.coalesce("holds_from", "held_from"),
        sure_at=pl.max_horizontal("known_at", "holds_known"),
    )
    return rows.join(judged, on=AT, how="left", maintain_order="left").with_columns(pl.col("off").fill_null(0))


def _steady(levelled: pl.DataFrame) -> pl.DataFrame:
    """The rows from which on a level holds."""
    stretches = levelled.group_by(*SERIES, "stretch").agg(pl.col("level").first(), begins=pl.col("bar_start").first()).sort(*SERIES, "stretch")
    returns = (pl.col("level").shift() == pl.col("level").shift(-1)).over(SERIES)
    lasts = (pl.col("begins").shift(-1).over(SERIES) - pl.col("begins")) > pl.duration(days=EXCURSION_DAYS)
    holding = stretches.filter(~returns.fill_null(False) | lasts.fill_null(True)).select(*SERIES, "stretch")
    nth = pl.int_range(pl.len()).over(*SERIES, "stretch")
    return levelled.filter(nth >= HOLDS_ROWS - 1).join(holding, on=[*SERIES, "stretch"], how="semi", maintain_order="left")
