"""Other processes of a test: started on a script, spoken to by lines, and always ended."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
Child = subprocess.Popen[str]


def child(script: str, *arguments: str | Path) -> Child:
    """Python running ``script`` with ``arguments`` as sys.argv[1:], in the project's root."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def said(process: Child) -> str:
    """Its next line; "" if it ended."""
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def told(process: Child, line: str) -> None:
    assert process.stdin
    process.stdin.write(line + "\n")
    process.stdin.flush()


def ended(process: Child, seconds: float = 60) -> int:
    """Wait for its end and return its status; what still runs is killed."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode
