"""The demo, simulated and over recorded data, as a newcomer runs it."""

import pytest

from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.recorded import recorded


def test_the_demo_is_green_and_leaves_a_home_to_ask(capfd: pytest.CaptureFixture[str]) -> None:
    with commands() as ql:
        shown = ql.run("demo").stdout
        assert "all is as it should be" in shown
        assert "rollup/market/bars_1m" in shown
        home = Commands(ql.home / "demo")
        assert home.sql("select count(*) n from deadletters") == [{"n": 1}]
        first = home.fingerprint("curated/market/trades", "2024-03-05")
        assert "all is as it should be" in ql.run("demo").stdout  # wiped and made again: the same seed, the same content
        assert home.fingerprint("curated/market/trades", "2024-03-05") == first
        (home.home / ".quantlake-demo").unlink()
        assert "was not made by the demo" in ql.error("demo")


def test_recorded_news_arrives_whole() -> None:
    """Market data: test_demo_data.py."""
    with commands() as ql:
        shown = ql.run("demo", "--data", str(recorded("alt/rss_news_json")), seconds=200).stdout
        assert "all is as it should be" in shown
        assert Commands(ql.home / "demo").sql("select count(*) n from raw_alt_news") == [{"n": 237}]

