"""`quantlake land` as a person meets it where no server is needed: one line for what cannot be meant."""

from pathlib import Path

import pytest

from quantlake_tests.e2e.commands import Commands


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--accept-loss"], "name the topic whose loss is accepted"),
        (["--reset"], "name the topic whose loss is accepted, or which begins again"),
        (["--topic", "market.trades.v1", "--accept-loss", "--reset"], "choose one"),
        (["--topic", "nope"], "no stream has the topic 'nope'; there are alt.news.v1, market.trades.v1"),
        (["--every", "3"], "--every and --rows say when --follow commits"),
        ([], "no broker is running in"),
    ],
)
def test_what_cannot_be_meant_is_one_line(home: Path, arguments: list[str], said: str) -> None:
    done = Commands(home / "home").run("land", *arguments, ok=False)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
