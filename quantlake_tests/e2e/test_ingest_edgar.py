"""`quantlake ingest edgar` in a real process, from a loopback server, through a real broker, into a real lake."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantlake.datasets.reference import filings
from quantlake.landing.land import land
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import BIN, ROOT, Commands, commands, wait_for
from quantlake_tests.sources import sec_files as made
from quantlake_tests.sources.document_server import Answer, Asked, DocumentServer


@pytest.fixture(scope="module")
def ql() -> Iterator[Commands]:
    with commands() as ql, announced(ql):
        yield ql


def configured(ql: Commands, server: DocumentServer) -> Path:
    path = ql.folder / "edgar.toml"
    path.write_text(f'user_agent = "Tests tests@example.com"\nurl = "{server.url}"\ncurrent_seconds = 0.1\n')
    return path


def test_filings_are_asked_for_until_ctrl_c_and_land_once(ql: Commands) -> None:
    entries = [made.entry(accession=f"0001134657-25-{n:06}") for n in range(3)]

    def answer(asked: Asked) -> Answer:
        return Answer(200, made.page(*entries)) if "start=0" in asked.path else Answer(503)

    with DocumentServer(answer) as server:
        command = [str(BIN / "quantlake"), "ingest", "edgar", "--config", str(configured(ql, server)), "--json"]
        process = subprocess.Popen(command, env=ql.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            files = ql.home / "run"
            wait_for(lambda: any(json.loads(f.read_text())["acknowledged"] == 3 for f in files.glob("ingest-edgar-*.json")), 40)
            entries.insert(0, made.entry(accession="0001134657-25-000009"))
            wait_for(lambda: any(json.loads(f.read_text())["acknowledged"] == 4 for f in files.glob("ingest-edgar-*.json")), 20)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    summary = json.loads(out)
    assert process.returncode == 0 and "Traceback" not in err and not list(files.glob("ingest-*"))
    assert (summary["venue"], summary["messages"], summary["acknowledged"], summary["lost"]) == ("edgar", 4, 4, 0)
    adapters = Adapters(Settings(home=ql.home))
    land(filings.raw, broker=adapters.broker, registry=adapters.registry, lake=adapters.lake)
    assert sorted(adapters.lake.read(filings.raw.spec)["accession"].to_pylist()) == [f"0001134657-25-{n:06}" for n in (0, 1, 2, 9)]


def test_what_is_missing_is_named(ql: Commands) -> None:
    assert "quantlake ingest edgar --config FILE" in ql.error("ingest", "edgar")
    assert "--config is for edgar" in ql.error("ingest", "kraken", "--symbols", "BTC-USD", "--config", "x.toml")
    (ql.folder / "bad.toml").write_text("user_agent = 3")
    assert "bad.toml: user_agent is 3" in ql.error("ingest", "edgar", "--config", str(ql.folder / "bad.toml"))
