"""The command line, ``quantlake ...``: arguments, progress and tables. Work is done by what it calls."""

import os

# polars' allocator hands memory back after half a second, and faults it in again: 5 % of what landing costs. Read as polars loads.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000,muzzy_decay_ms:10000")

from quantlake.cli.main import main

__all__ = ["main"]
