"""Commands that put reference data of libraries on Kafka: calendars."""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from quantlake.cli import show
from quantlake.contract import QuantLakeError
from quantlake.wiring import platform


def calendars(
    names: Annotated[str, typer.Option("--calendars", help="XNYS,XLON,CMES: as exchange_calendars calls them.")],
    first: Annotated[str, typer.Option(help="First session date; default 1990, or where the calendar begins.")] = "",
    last: Annotated[str, typer.Option(help="Last session date; default a year from today.")] = "",
) -> None:
    """Send the sessions of exchanges, as the library exchange_calendars knows them, as raw/reference/calendars."""
    from quantlake.datasets.reference import calendars as dataset
    from quantlake.sources import calendars as source
    from quantlake.sources.publish import send

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    begin, end = (_date(option, text) for option, text in (("--first", first), ("--last", last)))
    today = datetime.now(UTC).date()
    reaches = {name: source.reach(name, today) for name in wanted}
    tables = [source.from_library(name, begin or earliest, end or latest) for name, (earliest, latest) in reaches.items()]
    adapters = platform()
    sent = sum(send(adapters.broker, adapters.registry, dataset.raw, rows) for rows in tables)
    show.out.print(f"{dataset.raw.topic}: {sent:,} records", highlight=False)


def _date(option: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise QuantLakeError(f"{option} {text!r} is no date; write it as 2024-03-04") from None
