"""Candles and volume, in a file or in the terminal.

Here: which rows are drawn, and drawing. Not here: bars. The libraries are the extra ``plot``.
"""

import importlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.cli import show
from quantlake.contract import QuantLakeError
from quantlake.contract.catalog import Catalog
from quantlake.ports import Platform

PRICES = ("open", "high", "low", "close")
UP, DOWN = "#1b9e77", "#d95f02"  # told apart by the colour-blind too
TERMINAL_BARS = 78


def candles(
    catalog: Catalog, platform: Platform, name: str, symbol: str, day: date, venue: str | None, interval: str | None, price_type: str = "trade"
) -> pl.DataFrame:  # fmt: skip
    """``bar_start``, open, high, low, close, volume (floats) of a dataset's bars. Raises ``QuantLakeError``: no bars, or none of these."""
    from quantlake.serving.frames import Tables

    found = [d for d in catalog.datasets if d.path == name or (f"{d.family}/{d.name}" == name and d.layer in ("derived", "curated"))]
    drawn = [d for d in found if {"symbol", "bar_start", *PRICES} <= {c.name for c in d.columns}]
    if not drawn:
        known = [f"{d.family}/{d.name}" for d in catalog.datasets if {"symbol", "bar_start", *PRICES} <= {c.name for c in d.columns}]
        raise QuantLakeError(f"{name!r} is no dataset of bars; there are {', '.join(dict.fromkeys(known))}")
    dataset = drawn[-1]
    columns = [c.name for c in dataset.columns]
    wanted = {"venue": venue, "interval": interval, "price_type": price_type}
    rows = Tables(catalog, platform).table(dataset.path).filter(pl.col("partition_date") == day, pl.col("symbol") == symbol)
    rows = rows.filter(*(pl.col(c) == v for c, v in wanted.items() if v is not None and c in columns))
    held = rows.collect()
    for column in ("venue", "interval", "source"):
        several = held[column].unique().sort().to_list() if column in columns else []
        if len(several) > 1:
            raise QuantLakeError(f"{dataset.path} has {symbol} of {day} of more than one {column}: {', '.join(several)}; give --{column}")
    held = held.filter(pl.col("open").is_not_null())
    if not held.height:
        raise QuantLakeError(f"{dataset.path} has no bar with prices of {symbol} on {day}; `quantlake status` lists what there is")
    return held.sort("bar_start").select("bar_start", *(pl.col(c).cast(pl.Float64) for c in (*PRICES, "volume")))


def to_file(rows: pl.DataFrame, title: str, path: Path) -> None:
    """A .png, .svg or .html (which needs no network) file. Raises ``QuantLakeError``: another kind, or it cannot be written."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "html"):
        raise QuantLakeError(f"{path} is no .png, .svg or .html file")
    chart = _needs_plot(lambda: _chart(rows, title))
    options: dict[str, Any] = {"inline": True} if kind == "html" else {"scale_factor": 2} if kind == "png" else {}
    try:
        chart.save(str(path), format=kind, **options)
    except OSError as error:
        raise QuantLakeError(f"{path} cannot be written: {error.strerror}") from error


def _chart(rows: pl.DataFrame, title: str) -> Any:
    import altair as alt
    import vl_convert  # noqa: F401  (what draws; asked for here so that its absence is said)

    drawn = rows.with_columns(
        bar_start=pl.col("bar_start").dt.epoch("ms"),
        moved=pl.when(pl.col("close") >= pl.col("open")).then(pl.lit("up")).otherwise(pl.lit("down")),
    )
    width = max(1.0, min(12.0, 760 / max(1, rows.height)))
    colour = alt.Color("moved:N", scale=alt.Scale(domain=["up", "down"], range=[UP, DOWN]), legend=None)
    time = alt.X("bar_start:T", title="UTC", scale=alt.Scale(type="utc"), axis=alt.Axis(format="%H:%M", labelOverlap=True))
    hidden = alt.X("bar_start:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(labels=False, ticks=False))
    prices = alt.Y("low:Q", title="price", scale=alt.Scale(zero=False))
    alt.data_transformers.disable_max_rows()
    base = alt.Chart(drawn)
    wicks = base.mark_rule().encode(hidden, prices, alt.Y2("high:Q"), color=colour)
    bodies = base.mark_bar(width=width).encode(hidden, alt.Y("open:Q"), alt.Y2("close:Q"), color=colour)
    volume = base.mark_bar(width=width).encode(time, alt.Y("volume:Q", title="volume"), color=colour)
    both = alt.vconcat((wicks + bodies).properties(width=900, height=360, title=title), volume.properties(width=900, height=110))
    return both.resolve_scale(x="shared")


def to_terminal(rows: pl.DataFrame, title: str) -> None:
    """As many candles as fit, longer where there are more; the volume below."""
    plotext = _needs_plot(lambda: importlib.import_module("plotext"))
    width = show.out.width if show.out.is_terminal else TERMINAL_BARS
    each = -(-rows.height // max(20, width - 14))
    merged = (
        rows.with_row_index("n")
        .group_by(pl.col("n") // each, maintain_order=True)
        .agg(
            pl.col("bar_start").first(), pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
            pl.col("volume").sum(),
        )
    )  # fmt: skip
    times = merged["bar_start"].dt.strftime("%H:%M:%S" if (rows["bar_start"].dt.second() != 0).any() else "%H:%M").to_list()
    at = list(range(merged.height))
    marks = at[:: max(1, merged.height // 8)]
    figure = plotext.figure
    prices = {"date": at, **{c: merged[c].to_list() for c in PRICES}}
    for height, heading in ((22, title), (8, "volume")):
        figure.clear()
        figure.plot_size(width, height)
        figure.title(heading)
        figure.draw(figure.bar(at, merged["volume"].to_list()) if heading == "volume" else figure.candlestick(prices))
        figure.ruler("x").ticks(marks, [times[i] for i in marks])
        figure.show(colorless=not show.out.is_terminal)


def _needs_plot(draw: Callable[[], Any]) -> Any:
    try:
        return draw()
    except ImportError as error:
        raise QuantLakeError(f"charts need the extra `plot` ({error.name} is missing): pip install 'quantlake[plot]'") from error
