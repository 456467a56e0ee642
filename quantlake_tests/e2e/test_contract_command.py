"""A dataset's life at the command line: recorded, registered, produced to, landed; a column gained; a change refused before anyone sees it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantlake_tests.e2e.commands import Commands, commands

DATASET = '''
"""Rates of exchange."""
from quantlake.contract import PARTITION_DATE, Column, Price, Stream, Table, Text, Timestamp
COLUMNS = (
    Column("pair", Text, "Two currencies."),
    Column("rate", Price, "Of the second in the first.", above=0),
    Column("event_time", Timestamp, "When."),
    Column("known_at", Timestamp, "When known."),
    PARTITION_DATE,{more}
)
raw = Stream(__name__, doc="A rate as received.", owner="fx", topic="fx.rates.v1", message_key="pair", wire="{wire}", columns=COLUMNS)
rates = Table(__name__, of=raw, doc="A rate, once.", owner="fx", columns=COLUMNS, key=("pair", "event_time"), sort_by=("pair", "event_time"))
'''
MORE = '\n    Column("source", Text, "Who says so.", null=True),'
ROW = {"pair": "EURUSD", "rate": "1.0825", "event_time": "2024-03-04T12:00:00Z", "known_at": "2024-03-04T12:00:00Z", "partition_date": "2024-03-04"}
DAY, NEXT = "2024-03-04", "2024-03-05"


@pytest.fixture(params=["avro", "protobuf"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, wire: str) -> Path:
    (tmp_path / "teams" / "fx").mkdir(parents=True)
    (tmp_path / "teams" / "fx" / "rates.py").write_text(DATASET.format(more="", wire=wire))
    return tmp_path / "teams"


@pytest.fixture
def ql(folder: Path) -> Iterator[Commands]:
    with commands(QUANTLAKE_DATASETS=str(folder)) as found:
        yield found


def test_a_contract_evolves_and_never_breaks(ql: Commands, folder: Path, wire: str) -> None:
    file = folder / "fx" / "rates.py"
    assert re.search(r"fx/rates .* not recorded yet", ql.run("contract", "check").stdout)
    assert re.search(r"fx/rates .* recorded as version 1", ql.run("contract", "check", "--record").stdout)
    assert f"subject fx.rates.v1-value, {wire.upper()}" in ql.run("contract", "show", "fx/rates").stdout
    assert "rate" in ql.run("contract", "show", "raw/fx/rates", "--schema").stdout
    with ql.serving("up"):
        ql.produce("fx/rates", ROW)
        built(ql)
        before = {a: ql.fingerprint(a, DAY) for a in ("raw/fx/rates", "curated/fx/rates")}

        file.write_text(DATASET.format(more=MORE, wire=wire))
        assert "run `quantlake contract register`" in produced(ql, ROW)
        told = ql.run("contract", "diff", "fx/rates", "--registry").stdout
        assert re.search(r"raw/fx/rates .* source .* compatible .* added as text, nullable", told) and "is NOT the contract's" in told
        changes = json.loads(ql.run("contract", "check", "--json").stdout)
        assert {(c["dataset"], c["field"], c["compatible"]) for c in changes} == {(f"{layer}/fx/rates", "source", True) for layer in ("raw", "curated")}
        ql.run("contract", "check", "--record")
    with ql.serving("up"):  # a lander knows contracts as they were at its start
        ql.run("contract", "register")
        assert ql.sql("select source from curated_fx_rates") == [{"source": None}]
        ql.produce("fx/rates", {**ROW, "partition_date": NEXT, "event_time": f"{NEXT}T12:00:00Z", "known_at": f"{NEXT}T12:00:00Z", "source": "ecb"})
        built(ql)
        rows = ql.sql("select partition_date, rate, source from curated_fx_rates order by 1")
        assert [(r["partition_date"], r["source"]) for r in rows] == [(DAY, None), (NEXT, "ecb")] and rows[0]["rate"] == "1.082500000000000000"
        assert {a: ql.fingerprint(a, DAY) for a in before} == before
        ids = ql.sql("select partition_date, _schema_id from raw_fx_rates order by 1")
        assert ids[0]["_schema_id"] < ids[1]["_schema_id"]

        file.write_text(DATASET.format(more=MORE, wire=wire).replace('Column("rate", Price', 'Column("rate", Text').replace(", above=0", ""))
        for refused in (("contract", "check"), ("contract", "register"), ("land", "--topic", "fx.rates.v1"), ("contract", "diff", "fx/rates"), ("refresh",)):
            assert "raw/fx/rates.rate: TYPE_CHANGED: was decimal(38,18) not null, is text not null" in ql.error(*refused)
        assert "rate: TYPE_CHANGED" in produced(ql, ROW)
        file.write_text(DATASET.format(more=MORE, wire=wire))
        built(ql)
        assert ql.sql("select count(*) n from raw_fx_rates")[0]["n"] == 2
    assert "clean" in ql.run("audit").stdout


def built(ql: Commands) -> None:
    ql.run("land", "--topic", "fx.rates.v1")
    ql.run("refresh", "--select", "curated/fx/rates")


def produced(ql: Commands, row: dict[str, str]) -> str:
    """The error of sending a row."""
    path = ql.folder / "refused.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return ql.error("produce", "fx/rates", str(path))


def test_what_is_asked_of_no_dataset_or_version(ql: Commands) -> None:
    assert "there is no dataset 'fx/nothing'; there are " in ql.error("contract", "show", "fx/nothing")
    assert "curated/fx/rates is no stream" in ql.error("contract", "show", "curated/fx/rates", "--schema")
    assert "has no recorded history yet" in ql.run("contract", "diff", "fx/rates").stdout
    assert "market/trades has no version 99" in ql.error("contract", "diff", "market/trades", "--version", "99")
