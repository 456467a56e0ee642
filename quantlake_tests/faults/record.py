"""The page that long runs leave under docs/, a section a broker: what was killed where, and what was found."""

import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from quantlake_tests.faults.planted import ALTERED, DOUBLED, DROPPED
from quantlake_tests.faults.run import Run, Struck
from quantlake_tests.faults.steps import RANDOM, STEPS
from quantlake_tests.servers.kafka import VERSION

PAGE = Path(__file__).parents[2] / "docs" / "landing-faults.md"
BROKERS = {"tansu": "The embedded broker (tansu)", "kafka": f"Apache Kafka {VERSION}"}
HEAD = (
    "# Landers that were killed\n\n"
    "Each kill is SIGKILL to a real lander process at work on a real broker and a real Iceberg table: just before or just after "
    "the function of a commit step, in the first, second or third commit, or at a random instant. After each, every offset that is "
    "committed is looked for in the files of the table; after every 25, the next landing takes up the rest, and numbers, dead letters, "
    "the audit and the deep audit are compared with what was sent, and faults are planted for the audits to find.\n"
)
MODES = {"batch": "`land`", "follow": "`Follower`", "dagster": "Dagster run"}


def put(broker: str, text: str, page: Path = PAGE) -> None:
    """Write the section of a broker over its last one; those of others stay."""
    found = page.read_text().split("\n## ")[1:] if page.exists() else []
    sections = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in found} | {BROKERS[broker]: text}
    page.write_text("\n".join([HEAD, *(sections[title] for title in BROKERS.values() if title in sections)]))


def section(run: Run, asked: int, seed: int, broker: str) -> str:
    """Markdown; of a run that goes on, or was cut off, what is done of it."""
    done = "" if len(run.struck) == asked else f" So far {len(run.struck):,} of {asked:,}."
    cells: dict[tuple[str, str], list[Struck]] = defaultdict(list)
    for each in run.struck:
        cells[each.kill.name, each.kill.mode].append(each)
    steps = list(dict.fromkeys(step.name for step in STEPS))
    names = [f"{when} {step}" for step in steps for when in ("before", "after")] + [RANDOM]
    per_kill = sorted(each.seconds for each in run.struck)
    lines = [
        f"## {BROKERS[broker]}", "",
        f"Written by the run itself (`make faults BROKER={broker} KILLS={asked}`, `quantlake_tests/faults`), {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, "
        f"{len(os.sched_getaffinity(0))} cores, seed {seed}. A producer "
        "sends on while landers land and are killed"
        + (f", in {run.transactional} of {run.rounds} rounds in transactions, of which every second one is aborted" if run.transactional else "")
        + f".{done}", "",
        "| | |", "|---|---|",
        f"| kills | {len(run.struck):,}: " + ", ".join(f"{sum(e.kill.mode == m for e in run.struck):,} {name}" for m, name in MODES.items()) + " |",
        f"| at a commit step / at a random instant | {sum(e.kill.step != RANDOM for e in run.struck):,} / {sum(e.kill.step == RANDOM for e in run.struck):,} |",
        f"| rows, dead letters sent and landed | {run.rows:,}, {run.dead_letters:,} |",
        *([f"| offsets of aborted records and of transaction markers, skipped | {run.skipped:,} |"] if run.skipped else []),
        f"| **lost** | **{run.lost}** |", f"| **there twice** | **{run.doubled}** |",
        f"| planted faults found, of {run.rounds} each | " + ", ".join(f"{name}: {run.faults.get(name, 0)}" for name in (DROPPED, DOUBLED, ALTERED)) + " |",
        f"| Dagster runs that died and were failed by the next | {run.resumed_runs} |",
        f"| commits of killed landers that survived | {sum(e.survived for e in run.struck):,} |",
        f"| commits that were in flight and did not | {sum(e.in_flight for e in run.struck):,} |",
        f"| data files left behind that no snapshot has | {run.left_behind:,} |",
        f"| seconds | {run.seconds:,.0f} in all; a kill with its look {per_kill[len(per_kill) // 2]:.2f} (median), {per_kill[-1]:.1f} (longest) |", "",
        "Where each kill found the lander: kills (commits of the killed landers that survived / that had begun and left nothing).", "",
        "| killed | " + " | ".join(MODES.values()) + " |", "|---|" + "---:|" * len(MODES),
    ]  # fmt: skip
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_cell(cells[name, mode]) for mode in MODES) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: list[Struck]) -> str:
    return f"{len(found)} ({sum(e.survived for e in found)} / {sum(e.in_flight for e in found)})" if found else "-"
