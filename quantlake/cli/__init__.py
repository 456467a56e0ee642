"""The command line, ``quantlake ...``: arguments, progress and tables. Work is done by what it calls."""

from quantlake.cli.main import main

__all__ = ["main"]
