"""What commands print: one console, progress bars, tables, JSON."""

import base64
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

# piped output is for programs and logs: no folding at 80 columns
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on standard error, gone when it is done."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        yield bar


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), title: str | None = None) -> None:
    """Print a table; ``right`` names the right-aligned columns."""
    shown = RichTable(title=None if title is None else Text(title), title_justify="left", header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in ("asset", "stream"))
    for row in rows:
        shown.add_row(*(Text("" if v is None else str(v)) for v in row))  # values are no markup
    out.print(shown)


def plain(value: Any) -> Any:
    """A value as every command's JSON has it: decimals as strings, times in ISO 8601 UTC, bytes in base64."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN and no infinity
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def json_array(rows: Iterable[dict[str, Any]]) -> None:
    """Write one array of objects, a row a line, as the rows come."""
    sys.stdout.write("[")
    for i, row in enumerate(rows):
        sys.stdout.write(",\n" if i else "\n")
        sys.stdout.write(json.dumps(plain(row), ensure_ascii=False, default=str))
    sys.stdout.write("\n]\n")
    sys.stdout.flush()


def spark(values: Sequence[float]) -> str:
    """Values as a line of blocks."""
    if not values:
        return ""
    low, high = min(values), max(values)
    return "".join("▁▂▃▄▅▆▇█"[int((v - low) / (high - low or 1) * 7)] for v in values)
