"""Two editions of one recorded file: IBM's trades of a day, and a correction of them as a vendor might send it.

Here: the files, and what the contracts' functions make of one edition alone. Not here: what a home makes of both (test_corrections.py).
"""

import zipfile
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from quantlake.contract import Built
from quantlake.contract.compute import compute
from quantlake.contract.versions import latest
from quantlake.datasets.market import bars_1d, bars_1h, bars_1m, bars_1s, exchange_messages, trade_activity
from quantlake.datasets.market.trades import trades
from quantlake.sources import lean
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.recorded import recorded

DAY = date(2013, 10, 7)
RECORDED = "market/lean_equity_us/tick/ibm/20131007_trade.zip"
ARRIVAL = datetime(2024, 3, 4, tzinfo=UTC)  # whenever: it decides nothing where there is one edition
LAYOUT = "equity/usa/tick/ibm/20131007_trade.zip"
BARS = (bars_1m.bars, bars_1s.bars_1s, bars_1h.bars_1h, bars_1d.bars_1d)
FOLLOWING: tuple[Built, ...] = (*BARS, trade_activity.trade_activity)
"""What is made of trades and kept in the lake."""


class Edition:
    """A version of the file in LEAN's layout below ``folder``, and what follows from it alone."""

    def __init__(self, folder: Path, member: str, lines: list[str]) -> None:
        self.folder, self.lines = folder, lines
        path = folder / LAYOUT
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, "\n".join(lines))

    @cached_property
    def trades(self) -> pl.DataFrame:
        read = pl.concat([pl.DataFrame(table) for _, table in lean.read(self.folder / LAYOUT)])
        rows = read.with_columns(_timestamp=pl.lit(ARRIVAL).cast(pl.Datetime("us", "UTC")))
        messages = pl.DataFrame(exchange_messages.raw.spec.arrow.empty_table()).lazy()
        return pl.DataFrame(compute(trades, [rows.lazy(), messages, NO_SYMBOLS], DAY))

    @cached_property
    def following(self) -> dict[str, pl.DataFrame]:
        """The rows of every table of ``FOLLOWING``, by path."""
        held = latest(self.trades.lazy(), trades).drop("superseded_at")
        made = {dataset.path: pl.DataFrame(compute(dataset, [held], DAY)) for dataset in BARS}
        of_bars = made[bars_1m.bars.path].lazy()
        return made | {trade_activity.trade_activity.path: pl.DataFrame(compute(trade_activity.trade_activity, [of_bars], DAY))}


def editions(folder: Path) -> tuple[Edition, Edition]:
    """The recorded file, and one whose later lines were corrected: prices and sizes changed, prints inserted in the middle, others dropped."""
    with zipfile.ZipFile(recorded(RECORDED)) as archive:
        (member,) = archive.namelist()
        lines = archive.read(member).decode().splitlines()
    return Edition(folder / "first", member, lines), Edition(folder / "second", member, _corrected(lines))


def _corrected(lines: list[str]) -> list[str]:
    middle = len(lines) // 2
    made = lines[:middle]
    for number, line in enumerate(lines[middle:]):
        milliseconds, price, size, *rest = line.split(",")
        if number % 700 == 1:
            made.append(",".join([milliseconds, str(int(price) + 2_500), size, *rest]))
        elif number % 700 == 2:
            made.append(",".join([milliseconds, price, str(int(size) + 1), *rest]))
        elif number % 700 != 3:  # dropped
            made.append(line)
        if number % 700 == 4:
            made += [",".join([milliseconds, str(int(price) - 2_500), "77", *rest])] * 2
    return made
