"""Dividends and adjusted closes that do not agree with each other, or with what the price did.

Here: which payouts are in another unit, twice, missing, or not adjusted for. Not here: prices (vendor_levels).

An adjusted close is the close times a factor; on an ex-date the factor before is the one after times 1 - dividend / close before
(CRSP's and Yahoo's way, https://help.yahoo.com/kb/SLN28256.html), or close / (close + dividend) (Quandl's). So its step says of what
amount the vendor adjusts, the **implied** one. In a week's bar the step may come a row later. Where printed and implied agree, or none
is implied, only the price can tell: an ex-date's price falls by half to the whole of the amount (Elton and Gruber 1970).
Amounts are therefore judged by odds: the likelihood of the fall under the amount, its hundredth and its hundredfold (Student's t of 4
degrees around a fall of 1/2, 3/4 or all of it, equally likely), over payouts of a like yield together, times how common such yields are
(log-normal, 1 % a payout, a decade wide). A price that nobody traded on the day says nothing.
Adjusted closes are found by event: the one ex-date whose step is wrong, not the years of rows before it.

The classes of errors are those of yfinance's price repair, https://ranaroussi.github.io/yfinance/advanced/price_repair.html.
"""

import math
from collections.abc import Sequence

import polars as pl

from quantlake.datasets.market.vendor_series import AT, SERIES, UNIT, finding, printed, rounded

FREEDOM = 4
FALLS = (0.5, 0.75, 1.0)  # of the amount
LEAST_LEFT = 1e-3  # of the price: what pays out more than the whole price cannot be
COMMON_YIELD, DECADE = 0.01, math.log(10)
LIKE = 3.0  # yields within a factor 3 are judged together
BACK_DAYS, AHEAD_DAYS = 800, 380  # payouts judged together: of two years before, and the next of a yearly payer
SURE = 6.0  # log odds, 400 to 1: against a vendor that agrees with itself
SURE_OF_GAINS = 2.0
MOST_RAISED = 0.3  # a hundredfold that yields more is no candidate
TOLERANCE = {"1d": 0.05, "1w": 0.35}  # implied beside printed; a week's step is of another day's close
TIMES_NOISE = 8.0  # so many times the usual deviation of a step is none of printed digits
LEAST_STEP = 2e-3  # a smaller step without a dividend is not looked at
MOST_STEP = 0.5
TWICE_DAYS, TWICE_LIKE = 4, 1.25  # nobody pays a like dividend twice within four days; weekly payers do in six
TWICE_DAYS_UNPAID, ALONE_DAYS, SURE_OF_TWICE = 20, 60, 2.0


def findings(rows: pl.DataFrame) -> pl.DataFrame:
    """Of rows of vendor_levels: what is found of dividends, capital gains and adjusted closes.

    Rules on ``dividend``: ``dividend_100x``, ``dividend_twice``, ``dividend_not_split_adjusted``, ``dividend_missing``; on ``adj_close``:
    ``dividend_adjusted_100x``, ``dividend_not_adjusted``, ``dividend_adjustment``, ``capital_gain_counted_twice``, ``adj_close_no_number``.
    """
    series = _implied(rows)
    judged = _pooled(_evidence(_related(series))).filter("level")
    return pl.concat([
        _hundredfold(judged), _twice(judged), _unadjusted(judged), _gains(judged), _missing(series), _no_number(series)
    ])  # fmt: skip


def _implied(rows: pl.DataFrame) -> pl.DataFrame:
    """With ``implied`` (null where adj_close does not say), ``implied_after`` (by Quandl's formula), ``implied_at`` (when known);
    ``level`` (whether the row and the one before are at the right level), ``after`` (the next row's step), ``acts`` (anything paid)."""
    weekly = pl.col("interval") == "1w"
    later = pl.col("step").shift(-1).over(SERIES)
    step = pl.when(weekly).then(pl.col("step") * later.fill_null(1)).otherwise("step")
    level = (pl.col("off") == 0) & (pl.col("off").shift().over(SERIES).fill_null(0) == 0)
    known_at = pl.when(weekly).then(pl.max_horizontal("known_at", pl.col("known_at").shift(-1).over(SERIES))).otherwise("known_at")
    return rows.with_columns(
        implied=pl.col("before") * (1 - step), implied_after=pl.col("_close") * (1 / step - 1), implied_at=known_at,
        level=level, after=later, acts=(pl.col("paid") != 0) | (pl.col("gain") != 0),
    )  # fmt: skip


def _related(series: pl.DataFrame) -> pl.DataFrame:
    """The payouts, with ``relation``: how what adj_close implies is related to what is printed."""
    tolerance = pl.col("interval").replace_strict(TOLERANCE, return_dtype=pl.Float64)
    slack = TIMES_NOISE * pl.col("noise") * pl.col("before")
    implied = pl.col("implied")

    def near(amount: pl.Expr) -> pl.Expr:
        of = [(value - amount).abs() <= tolerance * amount + slack for value in (implied, pl.col("implied_after"))]
        return of[0] | of[1].fill_null(False)

    paid, split = pl.col("paid"), pl.col("split")
    relation = (
        pl.when(implied.is_null()).then(pl.lit("unknown"))
        .when(near(paid)).then(pl.lit("agrees"))
        .when((pl.col("gain") > 0) & near(paid + pl.col("gain"))).then(pl.lit("with_gain"))
        .when(near(paid / UNIT) & (implied > paid / UNIT / 2)).then(pl.lit("hundredth"))
        .when(near(paid * UNIT)).then(pl.lit("hundredfold"))
        .when((split != 1) & near(paid / split) & (implied > slack)).then(pl.lit("split"))
        .when(implied.abs() <= tolerance * paid + slack).then(pl.lit("none"))
        .otherwise(pl.lit("other"))
    )  # fmt: skip
    payouts = series.filter((pl.col("paid") > 0) & pl.col("before").is_not_null())
    return payouts.with_columns(relation=relation, yielded=paid / pl.col("before"))


def _likelihood(times: float, falls: Sequence[float], extra: pl.Expr | None = None) -> list[pl.Expr]:
    """Log-likelihoods of the ex-date's move where ``times`` the yield was paid, of each fall."""
    paid = pl.col("yielded") * times + (0 if extra is None else extra)
    fallen = [(1 - fall * paid).clip(LEAST_LEFT).log() for fall in falls]
    surprise = [(pl.col("ex_move") - fall) / pl.col("spread") for fall in fallen]
    says = ~(pl.col("silent") & (pl.col("ex_move") == 0)) & (pl.col("jump") == 0)
    return [pl.when(says).then(-(FREEDOM + 1) / 2 * (1 + s**2 / FREEDOM).log()).otherwise(0.0) for s in surprise]


def _common(times: float) -> pl.Expr:
    """Log of how common ``times`` the yield is."""
    return -(((pl.col("yielded") * times / COMMON_YIELD).log() / DECADE) ** 2) / 2


CANDIDATES = {"as_printed": 1.0, "hundredth": 1 / UNIT, "hundredfold": UNIT}


def _evidence(payouts: pl.DataFrame) -> pl.DataFrame:
    """With log-likelihoods of each candidate and fall, of all of the dividend (``alone``) and of it and the gain (``with_gain``); and
    ``unpaid``, the log odds that nothing was paid."""
    parts = {f"{name}_{i}": e for name, times in CANDIDATES.items() for i, e in enumerate(_likelihood(times, FALLS))}
    commons = {f"{name}_common": _common(times) for name, times in CANDIDATES.items()}
    (alone,), (nothing,), (with_gain,) = (
        _likelihood(times, (1.0,), extra) for times, extra in ((1.0, None), (0.0, None), (1.0, pl.col("gain") / pl.col("before")))
    )
    return payouts.with_columns(**parts, **commons, alone=alone, with_gain=with_gain, unpaid=nothing - alone)


def _pooled(payouts: pl.DataFrame) -> pl.DataFrame:
    """With log odds against what is printed, over the payouts judged together: ``too_high``, ``too_low``; ``gain_counted``; ``pool_at``."""
    parts = [c for c in payouts.columns if c.rsplit("_", 1)[0] in CANDIDATES]
    theirs = payouts.select(
        *SERIES, "relation", *parts, "alone", "with_gain", "implied_at", their_time="bar_start", their_yield="yielded"
    )  # fmt: skip
    pairs = payouts.select(*AT, "relation", "yielded").join(theirs, on=[*SERIES, "relation"])
    distance = (pl.col("their_time") - pl.col("bar_start")).dt.total_days()
    like = (pl.col("their_yield") / pl.col("yielded")).log().abs() <= math.log(LIKE)
    sums = pairs.filter(distance.is_between(-BACK_DAYS, AHEAD_DAYS) & like).group_by(AT).agg(
        *(pl.col(c).mean() if c.endswith("_common") else pl.col(c).sum() for c in parts),
        pl.col("alone").sum(), pl.col("with_gain").sum(), pool_at=pl.col("implied_at").max(),
    )  # fmt: skip

    def plausible(name: str) -> pl.Expr:
        of = [pl.col(f"{name}_{i}") for i in range(len(FALLS))]
        best = pl.max_horizontal(of)
        return best + (pl.sum_horizontal((e - best).exp() for e in of) / len(FALLS)).log() + pl.col(f"{name}_common")

    odds = sums.select(
        *AT, "pool_at",
        too_high=plausible("hundredth") - plausible("as_printed"), too_low=plausible("hundredfold") - plausible("as_printed"),
        gain_counted=pl.col("alone") - pl.col("with_gain"),
    )  # fmt: skip
    return payouts.drop(*parts, "alone", "with_gain").join(odds, on=AT, how="left", maintain_order="left")


def _dividend(payouts: pl.DataFrame, rule: str, expected: pl.Expr, known_at: pl.Expr, detail: pl.Expr) -> pl.DataFrame:
    return payouts.select(finding(pl.lit(rule), pl.lit("dividend"), pl.col("dividend"), rounded(expected), known_at, detail))


def _adjustment(payouts: pl.DataFrame, rule: str, known_at: pl.Expr, detail: pl.Expr) -> pl.DataFrame:
    """What is expected is that adj_close is adjusted for the dividend as printed."""
    return payouts.select(
        finding(pl.lit(rule), pl.lit("adj_close"), rounded(pl.col("implied")), pl.col("dividend"), known_at, detail)
    )  # fmt: skip


def _hundredfold(payouts: pl.DataFrame) -> pl.DataFrame:
    """Amounts in another unit, and adjustments for such."""
    agreed = pl.col("relation").is_in(["agrees", "unknown", "none"])
    hundredth, hundredfold = pl.col("relation") == "hundredth", pl.col("relation") == "hundredfold"
    too_high = (agreed & (pl.col("too_high") > SURE)) | (hundredth & (pl.col("too_high") > 0))
    too_low = (agreed & (pl.col("too_low") > SURE) & (pl.col("yielded") * UNIT < MOST_RAISED)) | (hundredfold & (pl.col("too_low") > 0))
    odds = pl.when(too_high).then("too_high").otherwise("too_low").round(1)
    detail = pl.format("a yield of {} %; the price and how common yields are say otherwise, log odds {}", printed(pl.col("yielded") * 100), odds)
    expected = pl.when(too_high).then(pl.col("paid") / UNIT).otherwise(pl.col("paid") * UNIT)
    amounts = _dividend(payouts.filter(too_high | too_low), "dividend_100x", expected, pl.col("pool_at"), detail)
    adjusted = payouts.filter((hundredth & ~too_high) | (hundredfold & ~too_low))
    return pl.concat([amounts, _adjustment(adjusted, "dividend_adjusted_100x", pl.col("pool_at"), pl.lit("adjusted in another unit than printed"))])


def _twice(payouts: pl.DataFrame) -> pl.DataFrame:
    """Of two like dividends, the one that the price is less like; the later of equals. Within days it is so, within weeks if the price
    says that this one was not paid, and no other is near: some pay weekly."""
    time, other = pl.col("bar_start"), pl.col("other_time")
    theirs = payouts.select(*SERIES, other_time="bar_start", other_paid="paid", other_odds="unpaid", other_at="known_at")
    pairs = payouts.filter(pl.col("interval") == "1d").join(theirs, on=SERIES).filter(time != other)
    distance = (time - other).abs()
    lonely = (distance <= pl.duration(days=ALONE_DAYS)).sum().over(AT) == 1
    near = (distance <= pl.duration(days=TWICE_DAYS)) | (
        (distance <= pl.duration(days=TWICE_DAYS_UNPAID)) & lonely & (pl.col("unpaid") > SURE_OF_TWICE)
    )
    like = (pl.col("other_paid") / pl.col("paid")).log().abs() <= math.log(TWICE_LIKE)
    worse = (pl.col("unpaid") > pl.col("other_odds")) | ((pl.col("unpaid") == pl.col("other_odds")) & (time > other))
    found = pairs.filter(near & like & worse).unique(AT, keep="first", maintain_order=True)
    detail = pl.format("{} is paid on {}", printed(pl.col("other_paid")), other.dt.date())
    return _dividend(found, "dividend_twice", pl.lit(0.0), pl.max_horizontal("known_at", "other_at"), detail)


def _unadjusted(payouts: pl.DataFrame) -> pl.DataFrame:
    """Dividends that adj_close is not adjusted for as printed, in other ways than a hundredfold."""
    seen = pl.col("yielded") > TIMES_NOISE * pl.col("noise")
    printed_before = payouts.filter(pl.col("relation") == "split")
    detail = pl.format("adj_close is adjusted for {}, and the split of that date is {}", printed(pl.col("implied")), printed(pl.col("split")))
    return pl.concat([
        _dividend(printed_before, "dividend_not_split_adjusted", pl.col("paid") / pl.col("split"), pl.col("implied_at"), detail),
        *(
            _adjustment(payouts.filter((pl.col("relation") == relation) & seen), rule, pl.col("implied_at"), pl.lit(why))
            for relation, rule, why in (
                ("none", "dividend_not_adjusted", "adj_close has no step"),
                ("other", "dividend_adjustment", "adj_close steps by another amount"),
            )
        ),
    ])  # fmt: skip


def _gains(payouts: pl.DataFrame) -> pl.DataFrame:
    """Capital gains that the dividend holds already, and adj_close is adjusted for again."""
    twice = (pl.col("relation") == "with_gain") & (pl.col("paid") >= pl.col("gain")) & (pl.col("gain_counted") > SURE_OF_GAINS)
    detail = pl.format("adjusted for the capital gain of {} beside the dividend, which holds it", printed(pl.col("gain")))
    return _adjustment(payouts.filter(twice), "capital_gain_counted_twice", pl.col("pool_at"), detail)


def _missing(series: pl.DataFrame) -> pl.DataFrame:
    """Steps of adj_close without a dividend."""
    implied = pl.col("implied") / pl.col("before")
    acts = pl.col("acts") | pl.col("acts").shift().over(SERIES).fill_null(False) & (pl.col("interval") == "1w")
    least = pl.max_horizontal(pl.lit(LEAST_STEP), TIMES_NOISE * pl.col("noise"))
    back = (pl.col("step") * pl.col("after") - 1).abs() < implied / 2  # an adj_close that is off on one row only
    daily = pl.col("interval") == "1d"
    steps = series.filter(daily & ~acts & ~pl.col("unseen").fill_null(False) & pl.col("level") & implied.is_between(least, MOST_STEP) & ~back.fill_null(False))
    detail = pl.lit("adj_close steps as for a dividend, and none is printed")
    return _dividend(steps, "dividend_missing", pl.col("implied"), pl.col("known_at"), detail)


def _no_number(series: pl.DataFrame) -> pl.DataFrame:
    """The first and the last row of those without an adjusted close: infinite, no number, too large (sources/csv_bars), or empty."""
    none, one = pl.col("adjusted").is_null(), pl.col("adjusted").is_not_null()
    edge = series.filter(none & (one.shift(-1).over(SERIES).fill_null(False) | one.shift().over(SERIES).fill_null(False)))
    nothing = pl.lit(None, pl.Decimal(38, 18))
    detail = pl.lit("neighbouring rows have an adjusted close")
    return edge.select(
        finding(pl.lit("adj_close_no_number"), pl.lit("adj_close"), nothing, nothing, pl.col("known_at"), detail)
    )  # fmt: skip
