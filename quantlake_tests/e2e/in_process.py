"""The command line within the test's own process: all of it but 2 s of imports a command, for tests that ask many times."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from quantlake.cli.main import main
from quantlake_tests.e2e.commands import Commands


class Asked:
    """``quantlake ARGUMENTS`` over the home of some commands."""

    def __init__(self, ql: Commands) -> None:
        self.ql, self.folder = ql, ql.folder

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What it writes to standard output and error."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            for name, value in (("QUANTLAKE_HOME", str(self.ql.home)), ("DAGSTER_EVENT_BATCH_SIZE", "200")):
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["quantlake", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        assert ended.value.code == status, err.getvalue()
        return out.getvalue(), err.getvalue()

    def text(self, *arguments: str) -> str:
        return self.run(*arguments)[0]

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.text(*arguments, "--format", "json"))
        return found

    def error(self, *arguments: str) -> str:
        """The one line of a command that must fail."""
        out, err = self.run(*arguments, status=1)
        lines = [line for line in err.splitlines() if line]  # a progress bar leaves an empty one
        assert not out and len(lines) == 1 and lines[0].startswith("quantlake: "), err
        return lines[0]
