"""The page that a long run leaves under docs/: what was killed where, and what was found."""

import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from quantlake_tests.faults.planted import ALTERED, DOUBLED, DROPPED
from quantlake_tests.faults.run import Run, Struck
from quantlake_tests.faults.steps import RANDOM, STEPS

PAGE = Path(__file__).parents[2] / "docs" / "landing-faults.md"
MODES = {"batch": "`land`", "follow": "`Follower`", "dagster": "Dagster run"}


def page(run: Run, asked: int, seed: int) -> str:
    """Markdown; of a run that goes on, or was cut off, what is done of it."""
    done = "" if len(run.struck) == asked else f" So far {len(run.struck):,} of {asked:,}."
    cells: dict[tuple[str, str], list[Struck]] = defaultdict(list)
    for each in run.struck:
        cells[each.kill.name, each.kill.mode].append(each)
    steps = list(dict.fromkeys(step.name for step in STEPS))
    names = [f"{when} {step}" for step in steps for when in ("before", "after")] + [RANDOM]
    per_kill = sorted(each.seconds for each in run.struck)
    lines = [
        "# Landers that were killed", "",
        f"Written by the run itself (`make faults KILLS={asked}`, `quantlake_tests/faults`), {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, "
        f"{len(os.sched_getaffinity(0))} cores, seed {seed}.{done}", "",
        "Each kill is SIGKILL to a real lander process at work on a real broker (tansu) and a real Iceberg table: just before or just after "
        "the function of a commit step, in the first, second or third commit, or at a random instant, while a producer sends on. After each, every offset that is "
        "committed is looked for in the files of the table; after every 25, the next landing takes up the rest, and numbers, dead letters, "
        "the audit and the deep audit are compared with what was sent, and faults are planted for the audits to find.", "",
        "| | |", "|---|---|",
        f"| kills | {len(run.struck):,}: " + ", ".join(f"{sum(e.kill.mode == m for e in run.struck):,} {name}" for m, name in MODES.items()) + " |",
        f"| at a commit step / at a random instant | {sum(e.kill.step != RANDOM for e in run.struck):,} / {sum(e.kill.step == RANDOM for e in run.struck):,} |",
        f"| rows, dead letters sent and landed | {run.rows:,}, {run.dead_letters:,} |",
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
