"""The matrix of ports and adapters: how many tests of each port's suite passed, failed and were skipped on each adapter.

A module of a suite says ``PORT``; a test's adapter is its parameter ``adapter_name``, else what the module says as ``ADAPTER``.
What has neither is not counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

CELL = "port and adapter"  # of a report's properties, which reach xdist's controller
HEAD = ("port", "adapter", "passed", "failed", "skipped")


@dataclass
class Counted:
    """Tests by what became of them, and why some were skipped."""

    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", type=Path, help="write the matrix of ports and adapters to this Markdown file")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        module = item.getparent(pytest.Module)
        port = getattr(module.obj, "PORT", None) if module else None
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        adapter = parameters.get("adapter_name") or getattr(module.obj, "ADAPTER", None) if module else None
        if port and adapter:
            item.user_properties.append((CELL, (port, adapter)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    cells = counted(terminalreporter.stats)
    if not cells:
        return
    rows = [HEAD, *table(cells)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    terminalreporter.section("ports and adapters")
    for row in rows:
        terminalreporter.write_line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for line in reasons(cells):
        terminalreporter.write_line(line)
    if config.option.matrix:
        config.option.matrix.write_text(page(cells))


def counted(stats: dict[str, list[pytest.TestReport]]) -> dict[tuple[str, str], Counted]:
    """The reports of pytest's categories by port and adapter. A test that failed in its teardown has not passed."""
    cells: dict[tuple[str, str], Counted] = defaultdict(Counted)
    for category, outcome in (("failed", "failed"), ("error", "failed"), ("skipped", "skipped"), ("passed", "passed")):
        for report in stats.get(category, []):
            cell = dict(getattr(report, "user_properties", [])).get(CELL)  # other plugins put other things there
            if cell is None:
                continue
            seen = cells[tuple(cell)]
            if report.nodeid not in seen.failed:
                getattr(seen, outcome).add(report.nodeid)
            if outcome == "skipped" and isinstance(report.longrepr, tuple):
                seen.reasons.add(report.longrepr[2].removeprefix("Skipped: "))
    return dict(sorted(cells.items()))


def table(cells: dict[tuple[str, str], Counted]) -> Iterator[tuple[str, ...]]:
    for (port, adapter), seen in cells.items():
        yield port, adapter, *(str(len(tests)) for tests in (seen.passed, seen.failed, seen.skipped))


def reasons(cells: dict[tuple[str, str], Counted]) -> Iterator[str]:
    for (port, adapter), seen in cells.items():
        yield from (f"{port} on {adapter}, skipped: {reason}" for reason in sorted(seen.reasons))


def page(cells: dict[tuple[str, str], Counted]) -> str:
    """The matrix in Markdown."""
    why = [f"- {line}" for line in reasons(cells)]
    lines = [
        "# Ports and adapters", "",
        "One behaviour suite a port (`quantlake_tests/ports/`), run over every adapter: how many of its tests passed, failed and were",
        f"skipped. Written by `make test-servers` on {datetime.now(UTC):%Y-%m-%d}.", "",
        row(HEAD), row(["---"] * len(HEAD)), *map(row, table(cells)), *(["", *why] if why else []),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"
