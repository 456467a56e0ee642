"""Standard error without what a Rust panic prints on it: polars' Avro reader panics where a message is damaged, which is no news.

What anyone else writes meanwhile is kept, and written when the last user leaves.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

PANIC = re.compile(  # where, what, and a backtrace if there is one; the hint how to get one ends only a process's first
    rb"\n?thread '[^\n]*' (?:\(\d+\) )?panicked at [^\n]*\n[^\n]*\n(?: *(?:left|right): [^\n]*\n)*"
    rb"(?:stack backtrace:\n(?: +\d+: [^\n]*\n| +at [^\n]*\n)*)?(?:note: [^\n]*\n)?"
)

_lock = Lock()
_users = 0
_kept: tuple[int, int] | None = None  # what standard error was, and where it goes now


@contextmanager
def without_panics() -> Iterator[None]:
    """Standard error is kept aside inside, of this process and all its threads."""
    global _users, _kept
    with _lock:
        if not _users:
            sys.stderr.flush()
            aside = os.memfd_create("stderr")
            _kept = (os.dup(2), aside)
            os.dup2(aside, 2)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and _kept:
                sys.stderr.flush()
                (stderr, aside), _kept = _kept, None
                done = _write(aside, 0, stderr)
                os.dup2(stderr, 2)
                _write(aside, done, stderr)  # what came while we wrote, before anything newer
                os.close(stderr)
                os.close(aside)


def _write(aside: int, start: int, stderr: int) -> int:
    """Write what was kept from ``start`` on, without panics; where it ends."""
    written = os.pread(aside, os.fstat(aside).st_size - start, start)
    rest = PANIC.sub(b"", written) if written else b""
    while rest:
        rest = rest[os.write(stderr, rest) :]
    return start + len(written)
