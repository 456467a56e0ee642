"""Where answers are read: beside the client in a thread, or in processes of their own where there are many.

Here: those processes, and that they end with this one. Not here: reading (blocks.py).
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from quantlake.contract import QuantLakeError
from quantlake.sources.live.ethereum.blocks import Found, Seen, decoded
from quantlake.sources.live.ethereum.rpc import Reply

MANY_BLOCKS = 200  # less is read before the processes have started: 2 s


class Decoder:
    """Reads replies; to be closed. ``processes``: how many may be started."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._executor: Executor = ThreadPoolExecutor(1)

    @contextmanager
    def many(self, blocks: int) -> Iterator[None]:
        """So many are read within: many are worth processes."""
        if not self._processes or blocks < MANY_BLOCKS:
            yield
            return
        thread = self._executor
        self._executor = ProcessPoolExecutor(self._processes, multiprocessing.get_context("spawn"), _started)
        try:
            yield
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = thread

    async def __call__(self, replies: Sequence[Reply], seen: Seen) -> Found:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, decoded, replies, seen)
        except BrokenProcessPool:
            raise QuantLakeError("a process that reads blocks was ended from outside (for its memory?); start again: it goes on where it was") from None

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _started() -> None:
    """Ctrl-C is the client's to deal with; and a client that is killed tells nobody, so its processes watch it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
