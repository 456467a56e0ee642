"""A vendor's daily and weekly bars as series: what is measured of each row before it is judged.

Here: floats, the row before, moves, adjustment factors, and how much of each is usual. Not here: what is wrong with a row
(vendor_levels, vendor_payouts). Floats serve to find errors only; what is reported stands in the table, or is rounded to six digits.

A row measures the same in any table that holds the ``LOOKS_BACK_DAYS`` before it and the row after it.
"""

import math

import polars as pl

PRICES = ("open", "high", "low", "close")
SERIES = ("source", "venue", "symbol", "interval")
AT = (*SERIES, "bar_start")
LENGTHS = ("1d", "1w")
GAP_DAYS = 40  # a row after a longer silence has no row before
USUAL = "90d"  # what is usual: a median over so long before the row, of at least FEW rows
FEW = 5
MAD = 1.4826  # of a normal distribution: standard deviation / median of the absolute values
UNIT = 100.0  # pounds and pence, dollars and cents
UNIT_TOLERANCE = 0.5  # log: beside a change of unit the price itself may move by 40 %
LEAST_SPREAD = 0.005  # a day's move is never taken for surer than that: prices have ticks
UNKNOWN_SPREAD = 0.03
LEAST_NOISE = 1e-7  # vendors compute in 32-bit floats
DIGITS = 6  # of a value computed in floats
LOOKS_BACK_DAYS = 90 + GAP_DAYS + 10


def measured(bars: pl.LazyFrame) -> pl.DataFrame:
    """The rows of one or many series that have all four prices, by series and time, with what is measured of each.

    Takes the columns of ``vendor_bars`` and adds:

    - ``_open`` ... ``_close``: floats, of a row that mixes two units (``mixed``; known ``unmixed_at``) all in that of the rows beside it;
    - ``paid``, ``gain``, ``split`` (1: none), ``silent`` (whether nobody traded), ``unseen`` (whether a row without prices before it has a
      dividend, gain or split);
    - ``before``: the close before, in today's shares; ``move``: the median of the four prices' log moves since the row before, without a
      split that raw prices must show; ``ex_move``: log of the day's mean price, of a week its close, over ``before``;
    - ``step``: factor before / factor, where the factor is adj_close / close, without splits that it must show;
    - what is usual: ``volatility`` of ``move``, ``spread`` of ``ex_move``, ``noise`` (how far ``step`` is from 1, by digits printed).
    """
    of_days = pl.col("interval").is_in(LENGTHS) & (pl.col("price_type") == "trade")
    floats = {f"_{c}": pl.col(c).cast(pl.Float64) for c in PRICES}
    actions = {
        "paid": pl.col("dividend").cast(pl.Float64).fill_null(0), "gain": pl.col("capital_gain").cast(pl.Float64).fill_null(0),
        "split": pl.when(pl.col("split_ratio") > 0).then(pl.col("split_ratio").cast(pl.Float64)).otherwise(1.0),
        "silent": pl.col("volume").fill_null(0) == 0,
    }  # fmt: skip
    acted = (pl.col("paid") != 0) | (pl.col("gain") != 0) | (pl.col("split") != 1)
    rows = (
        bars.filter(of_days)
        .with_columns(**floats, **actions, adjusted=pl.col("adj_close").cast(pl.Float64))
        .sort(AT)
        .with_columns(_acts=acted.cast(pl.Int64).cum_sum().over(SERIES), _acted=acted.cast(pl.Int64))
        .filter(pl.all_horizontal(pl.col(f"_{c}") > 0 for c in PRICES))
        .collect()
    )
    return _usual(_moves(_unmixed(rows)))


def _unmixed(rows: pl.DataFrame) -> pl.DataFrame:
    """Within a bar no market moves by a factor of nearly a hundred; which of its prices are wrong, the rows before and after tell."""
    logs = [pl.col(f"_{c}").log() for c in PRICES]
    mixed = pl.max_horizontal(logs) - pl.min_horizontal(logs) > math.log(UNIT) - UNIT_TOLERANCE
    beside = pl.concat_list([*logs, *(e.shift(n).over(SERIES) for e in logs for n in (-1, 1))]).list.drop_nulls().list.median()
    off = {c: pl.col(f"_{c}").log() - beside for c in PRICES}
    of_unit = {c: mixed & ((e.abs() - math.log(UNIT)).abs() < UNIT_TOLERANCE) for c, e in off.items()}
    units = {c: pl.when(of_unit[c]).then(off[c].sign()).otherwise(0.0) for c in PRICES}
    return rows.with_columns(
        *((pl.col(f"_{c}") / UNIT**units[c]).alias(f"_{c}") for c in PRICES),
        adjusted=pl.col("adjusted") / UNIT ** units["close"],  # made of the close as it is printed
        mixed=mixed,
        unmixed_at=pl.max_horizontal("known_at", pl.col("known_at").shift(-1).over(SERIES)),
    )


def _moves(rows: pl.DataFrame) -> pl.DataFrame:
    near = (pl.col("bar_start").diff().dt.total_days() <= GAP_DAYS).over(SERIES)
    shown = pl.when(pl.col("adjustment") == "raw").then("split").otherwise(1.0)  # what prices as they were traded show of a split
    ratios = [(pl.col(f"_{c}") / pl.col(f"_{c}").shift().over(SERIES)).log() for c in PRICES]
    factor = pl.col("adjusted") / pl.col("_close")
    price = pl.when(pl.col("interval") == "1d").then(pl.mean_horizontal(f"_{c}" for c in PRICES)).otherwise("_close")
    return rows.with_columns(
        before=pl.when(near).then(pl.col("_close").shift().over(SERIES) / shown),
        move=pl.when(near).then(pl.concat_list(ratios).list.median() + shown.log()),
        step=pl.when(near).then(factor.shift().over(SERIES) / factor * shown),
        unseen=pl.col("_acts").diff().over(SERIES) > pl.col("_acted"),
    ).with_columns(ex_move=(price / pl.col("before")).log(), step=pl.when(pl.col("step").is_finite()).then("step"))


def _usual(rows: pl.DataFrame) -> pl.DataFrame:
    def usual(of: pl.Expr) -> pl.Expr:
        return of.abs().rolling_median_by("bar_start", USUAL, min_samples=FEW, closed="left").over(SERIES)

    calm = (pl.col("_acted") == 0) & (pl.col("ex_move") != 0)  # a price that does not move is an old one
    return rows.with_columns(
        volatility=(MAD * usual(pl.col("move"))).fill_null(UNKNOWN_SPREAD).clip(2 * LEAST_SPREAD),
        spread=(MAD * usual(pl.when(calm).then("ex_move"))).fill_null(UNKNOWN_SPREAD).clip(LEAST_SPREAD),
        noise=usual(pl.col("step") - 1).fill_null(0.0).clip(LEAST_NOISE),
    ).drop("_acts", "_acted")


def finding(rule: pl.Expr, column: pl.Expr, found: pl.Expr, expected: pl.Expr, known_at: pl.Expr, detail: pl.Expr) -> list[pl.Expr]:
    """The columns of a finding beside its row's; ``found`` and ``expected`` in decimals (``rounded``)."""
    return [
        *(pl.col(c) for c in AT), rule.alias("rule"), column.alias("column"), found.alias("found"), expected.alias("expected"),
        known_at.alias("known_at"), detail.alias("detail"),
    ]  # fmt: skip


def rounded(value: pl.Expr) -> pl.Expr:
    """A float as a decimal of six digits; null where a decimal(38,18) cannot hold it."""
    fits = value.is_finite() & (value.abs() < 1e20)
    return pl.when(fits).then(value).round_sig_figs(DIGITS).cast(pl.String).cast(pl.Decimal(38, 18), strict=False)


def printed(value: pl.Expr) -> pl.Expr:
    """A float in words."""
    return value.round_sig_figs(DIGITS).cast(pl.String)


def log(ratio: float) -> int:
    """A ratio as a whole number of millionths of its natural logarithm: these add up exactly."""
    return round(math.log(ratio) * MILLION)


MILLION = 1_000_000
