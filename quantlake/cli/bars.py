"""Commands for bars: bars, plot."""

import csv
import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantlake.cli import show
from quantlake.cli.asking import TABLE_ROWS
from quantlake.contract import QuantLakeError
from quantlake.datasets.market.bars import INTERVALS
from quantlake.datasets.market.conditions import Policy
from quantlake.wiring import catalog, platform

if TYPE_CHECKING:
    import polars as pl


class Format(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


def bars(
    symbol: Annotated[str, typer.Argument(help="As the source prints it: IBM, BTCUSD.")],
    day: Annotated[str, typer.Argument(metavar="DATE", help="The partition date: 2013-10-07.")],
    interval: Annotated[str, typer.Option(help=f"Length of a bar: {', '.join(INTERVALS)}.")] = "1m",
    policy: Annotated[Policy, typer.Option(help="Which trades count: sip (the tape's own rules) or lean (as LEAN's bars).")] = Policy.sip,
    venue: Annotated[str | None, typer.Option(help="Of this venue alone, e.g. usa, coinbase.")] = None,
    regular: Annotated[bool, typer.Option("--regular", help="Of the exchange's regular session alone; the closing auction is printed after it.")] = False,
    fill: Annotated[bool, typer.Option("--fill", help="A bar of volume 0 at the last close where nothing traded.")] = False,
    from_vendor: Annotated[str | None, typer.Option(metavar="INTERVAL", help="Of a vendor's shorter bars, e.g. 1s, instead of trades.")] = None,
    as_known_at: Annotated[str | None, typer.Option(help="As known at this time (ISO 8601; UTC where it has no offset).")] = None,
    format: Annotated[Format, typer.Option(help="table, json (one array of objects) or csv.")] = Format.table,
) -> None:
    """Bars of one symbol and date, computed from its trades by either policy. Times are UTC, prices exact."""
    from quantlake.serving.as_known import moment
    from quantlake.serving.bars import Bars

    asked = Bars(catalog(), platform())
    on = _date(day)
    if from_vendor:
        found = asked.of_vendor(symbol, on, interval, from_vendor, venue=venue)
    else:
        then = None if as_known_at is None else moment(as_known_at)
        found = asked.of_trades(symbol, on, interval, policy=policy, venue=venue, regular=regular, fill=fill, as_known_at=then)
    _write(found, format)


def plot(
    dataset: Annotated[str, typer.Argument(help="family/name of bars: market/bars_1m, market/vendor_bars, ...")],
    symbol: Annotated[str, typer.Option(help="As the source prints it.")],
    day: Annotated[str, typer.Option("--date", metavar="DATE", help="The partition date: 2013-10-07.")],
    venue: Annotated[str | None, typer.Option(help="Of this venue alone.")] = None,
    interval: Annotated[str | None, typer.Option(help="Of vendor_bars: 1s, 1m, 1h, 1d.")] = None,
    price_type: Annotated[str, typer.Option(help="Of vendor_bars: trade, bid or ask.")] = "trade",
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="A .png, .svg or .html file; default: the terminal.")] = None,
) -> None:
    """Draw candles and volume of a symbol's day."""
    from quantlake.cli import charts

    rows = charts.candles(catalog(), platform(), dataset, symbol, _date(day), venue, interval, price_type)
    if to is None:
        charts.to_terminal(rows, f"{symbol}, {dataset}, {day} (UTC)")
    else:
        charts.to_file(rows, f"{symbol}, {dataset}, {day}", to)
        show.out.print(f"wrote {to}: {rows.height:,} bar{'s' if rows.height != 1 else ''}", highlight=False, soft_wrap=True)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise QuantLakeError(f"{text!r} is no date; write it as 2024-03-05") from None


def _write(found: "pl.DataFrame", format: Format) -> None:
    if format is Format.json:
        show.json_array(found.iter_rows(named=True))
        return
    names = found.columns
    rows = ([show.plain(v) for v in row] for row in found.iter_rows())
    if format is Format.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows([_text(v) for v in row] for row in rows)
        return
    shown = [n for n in names if n not in ("notional", "known_at", "partition_date", "instrument_id")]
    short = found.select(shown).head(TABLE_ROWS)
    show.table(shown, ([_short(v) for v in row] for row in short.iter_rows()), right=[n for n in shown if n not in ("symbol", "venue", "flags")])
    if found.height > TABLE_ROWS:
        show.err.print(f"the first {TABLE_ROWS} of {found.height:,} bars; --format csv or json gives all", highlight=False)


def _text(value: Any) -> Any:
    return "" if value is None else " ".join(value) if isinstance(value, list) else value


def _short(value: Any) -> Any:
    plain = show.plain(value)
    if isinstance(value, list):
        return " ".join(value)
    digits = isinstance(plain, str) and "." in plain and plain.replace(".", "").replace("-", "").isdigit()
    return plain.rstrip("0").rstrip(".") if digits else plain
