"""``python -m quantlake.cli``: the ``quantlake`` command."""

from quantlake.cli import main

main()
