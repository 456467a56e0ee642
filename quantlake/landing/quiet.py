"""Standard error without what a Rust panic prints on it: polars' Avro reader panics where a message is damaged, which is no news.

What anyone else writes meanwhile is kept, and written when the last user leaves.
"""

import atexit
import fcntl
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

LONGEST = 1 << 20  # of what is kept, once it is written on

_lock = Lock()
_users = 0
_stderr = -1  # what standard error was
_aside = -1  # where it goes meanwhile; never closed, since a line that somebody began to write before we left may end up there after
_written = 0  # how much of it was written on


@contextmanager
def without_panics() -> Iterator[None]:
    """Standard error is kept aside inside, of this process and all its threads."""
    global _users
    with _lock:
        if not _users:
            _begin()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _end()


def _begin() -> None:
    global _stderr, _aside, _written
    sys.stderr.flush()
    if _aside < 0:
        _aside = os.memfd_create("stderr")
        fcntl.fcntl(_aside, fcntl.F_SETFL, os.O_APPEND)  # else two threads that write at once write over one another
        atexit.register(_write_on, 2)
    elif _written > LONGEST and _written == os.fstat(_aside).st_size:
        os.ftruncate(_aside, 0)
        _written = 0
    _stderr = os.dup(2)
    os.dup2(_aside, 2)


def _end() -> None:
    sys.stderr.flush()
    _write_on(_stderr)
    os.dup2(_stderr, 2)
    _write_on(_stderr)  # what came while we wrote, before anything newer
    os.close(_stderr)


def _write_on(stderr: int) -> None:
    """Write what was kept since the last time, without panics."""
    global _written
    kept = os.pread(_aside, os.fstat(_aside).st_size - _written, _written)
    _written += len(kept)
    rest = PANIC.sub(b"", kept) if kept else b""
    while rest:
        rest = rest[os.write(stderr, rest) :]
