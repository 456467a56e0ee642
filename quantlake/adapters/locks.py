"""Locks that the kernel frees: an adapter's one-writer-at-a-time on one machine."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantlake.contract import QuantLakeError


@contextmanager
def file_lock(path: Path, *, what: str, wait_seconds: float = 600) -> Iterator[None]:
    """Hold an exclusive ``flock`` on ``path`` (made if absent); SIGKILL of the holder frees it.

    Raises ``QuantLakeError`` naming ``what`` and the holder's pid when it is not free after ``wait_seconds``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
                    since = f"has been held by process {holder} for over {wait_seconds:.0f} s" if wait_seconds else f"is held by process {holder}"
                    raise QuantLakeError(f"{what} {since}; wait for it or end it, then try again") from None
                time.sleep(0.05)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)
