"""Standard error without what a Rust panic prints on it: polars' Avro reader panics where a message is damaged, which is no news.

What anyone else writes meanwhile is kept, and written when the last user leaves.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

PANIC = re.compile(rb"\n*thread '[^\n]*' (?:\(\d+\) )?panicked at [^\n]*\n.*?(?:\nnote: [^\n]*\n|\Z)", re.DOTALL)

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
                os.dup2(stderr, 2)
                written = os.pread(aside, os.fstat(aside).st_size, 0)
                os.close(stderr)
                os.close(aside)
                if written and (rest := PANIC.sub(b"", written)):
                    os.write(2, rest)
