"""Datasets' life at the command line, one in Avro and one in Protobuf: recorded, registered, produced to, landed; a column gained; a
change refused before anyone sees it."""

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
raw = Stream(__name__, doc="A rate as received.", owner="fx", topic="fx.{name}.v1", message_key="pair", wire="{name}", columns=COLUMNS)
rates = Table(__name__, of=raw, doc="A rate, once.", owner="fx", columns=COLUMNS, key=("pair", "event_time"), sort_by=("pair", "event_time"))
'''
MORE = '\n    Column("source", Text, "Who says so.", null=True),'
DAY, NEXT = "2024-03-04", "2024-03-05"
NAMES = ("avro", "protobuf")
ASSETS = [f"{layer}/fx/{name}" for name in NAMES for layer in ("raw", "curated")]


def row(day: str, **more: str) -> dict[str, str]:
    return {"pair": "EURUSD", "rate": "1.0825", "event_time": f"{day}T12:00:00Z", "known_at": f"{day}T12:00:00Z", "partition_date": day, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "teams" / "fx").mkdir(parents=True)
    write(tmp_path / "teams")
    return tmp_path / "teams"


@pytest.fixture
def ql(folder: Path) -> Iterator[Commands]:
    with commands(QUANTLAKE_DATASETS=str(folder)) as found:
        yield found


def write(folder: Path, more: str = "", change: tuple[str, str] = ("", "")) -> None:
    for name in NAMES:
        (folder / "fx" / f"{name}.py").write_text(DATASET.format(more=more, name=name).replace(*change))


def test_contracts_evolve_and_never_break(ql: Commands, folder: Path) -> None:
    assert re.search(r"fx/avro .* not recorded yet", ql.run("contract", "check").stdout)
    assert re.search(r"fx/protobuf .* recorded as version 1", ql.run("contract", "check", "--record").stdout)
    assert "subject fx.protobuf.v1-value, PROTOBUF" in ql.run("contract", "show", "fx/protobuf").stdout
    assert "message Protobuf {" in ql.run("contract", "show", "raw/fx/protobuf", "--schema").stdout
    with ql.serving("up"):
        landed(ql, DAY)
        before = fingerprints(ql, DAY)
        write(folder, MORE)
        assert "run `quantlake contract register`" in refused(ql, "avro") and "run `quantlake contract register`" in refused(ql, "protobuf")
        told = ql.run("contract", "diff", "fx/avro", "--registry").stdout
        assert re.search(r"raw/fx/avro .* source .* compatible .* added as text, nullable", told) and "is NOT the contract's" in told
        changes = json.loads(ql.run("contract", "check", "--record", "--json").stdout)
        assert {(c["dataset"], c["field"], c["compatible"]) for c in changes} == {(asset, "source", True) for asset in ASSETS}
    with ql.serving("up"):  # a lander knows contracts as they were at its start
        ql.run("contract", "register")
        assert ql.sql("select source from curated_fx_avro union all select source from curated_fx_protobuf") == [{"source": None}] * 2
        landed(ql, NEXT, source="ecb")
        for name in NAMES:
            rows = ql.sql(f"select partition_date, rate, source from curated_fx_{name} order by 1")
            assert [(r["partition_date"], r["source"]) for r in rows] == [(DAY, None), (NEXT, "ecb")] and rows[0]["rate"] == "1.082500000000000000"
        assert fingerprints(ql, DAY) == before
        ids = ql.sql("select partition_date, _schema_id, _topic from raw_fx_avro union all select partition_date, _schema_id, _topic from raw_fx_protobuf")
        assert len({(r["_topic"], r["_schema_id"]) for r in ids}) == 4

        write(folder, MORE, ('Column("rate", Price, "Of the second in the first.", above=0)', 'Column("rate", Text, "As text.")'))
        for command in (("contract", "check"), ("contract", "register"), ("land", "--topic", "fx.avro.v1"), ("refresh",)):
            error = ql.error(*command)
            assert all(f"raw/fx/{name}.rate: TYPE_CHANGED: was decimal(38,18) not null, is text not null" in error for name in NAMES)
        assert "rate: TYPE_CHANGED" in refused(ql, "protobuf")
        write(folder, MORE)
    assert "clean" in ql.run("audit").stdout and ql.sql("select count(*) n from raw_fx_avro")[0]["n"] == 2


def landed(ql: Commands, day: str, **more: str) -> None:
    for name in NAMES:
        ql.produce(f"fx/{name}", row(day, **more))
    ql.run("land")
    ql.run("refresh")


def fingerprints(ql: Commands, day: str) -> dict[str, str]:
    found = json.loads(ql.run("fingerprint", "--json").stdout)
    return {f["asset"]: f["fingerprint"] for f in found if f["partition"] == day and f["asset"] in ASSETS}


def refused(ql: Commands, name: str) -> str:
    """The error of sending a row."""
    path = ql.folder / "refused.jsonl"
    path.write_text(json.dumps(row(DAY)) + "\n")
    return ql.error("produce", f"fx/{name}", str(path))


def test_what_is_asked_of_no_dataset_or_version(ql: Commands) -> None:
    assert "there is no dataset 'fx/nothing'; there are " in ql.error("contract", "show", "fx/nothing")
    assert "curated/fx/avro is no stream" in ql.error("contract", "show", "curated/fx/avro", "--schema")
    assert "has no recorded history yet" in ql.run("contract", "diff", "fx/avro").stdout
    assert "market/trades has no version 99" in ql.error("contract", "diff", "market/trades", "--version", "99")
