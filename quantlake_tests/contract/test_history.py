"""Recorded contracts: what may follow what, which rule refuses the rest, and that ours are recorded."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantlake.contract import Column, Dataset, Integer, Price, QuantLakeError, Stream, Text
from quantlake.contract.catalog import discover
from quantlake.contract.history import File, files, require_compatible, said
from quantlake.contract.schemas import require_backward
from quantlake.contract.wire import wire_schema
from quantlake.datasets.alt import news
from quantlake.datasets.market import trades

raw, curated = trades.raw, trades.trades
FLAG = Column("more", Text, "More.", null=True)


def changed(old: Dataset, new: Dataset | None, tmp_path: Path) -> File:
    """The file of ``new``, with ``old`` as its recorded version."""
    version = File(tmp_path / "x.history.json", (), {old.path: said(old)}).record()
    return File(tmp_path / "x.history.json", (version,), {new.path: said(new)} if new else {})


def columns(dataset: Dataset, column: str, **change: Any) -> tuple[Column, ...]:
    return tuple(replace(c, **change) if c.name == column else c for c in dataset.columns)


def test_every_contract_of_ours_is_recorded_as_it_is() -> None:
    for file in files(discover()):
        assert file.versions and not file.changes, f"{file.path.name}: run `quantlake contract check --record` and commit what it writes"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"columns": (*s.columns, FLAG)}, lambda s: {"columns": columns(s, "price", null=True)}, lambda s: {"topic_partitions": 8},
        lambda s: {"doc": "Other words."}, lambda s: {"columns": (FLAG, *s.columns)}, lambda s: {"owner": "others"}, lambda s: {"max_message_bytes": 99},
        lambda s: {"columns": columns(s, "price", doc="Other words.", above=None)},
    ],
)  # fmt: skip
def test_what_may_follow(change: Callable[[Stream], dict[str, Any]], tmp_path: Path) -> None:
    new = replace(raw, **change(raw))
    file = changed(raw, new, tmp_path)
    assert not file.refused
    require_backward("s", wire_schema(raw), wire_schema(new))
    assert file.record().number == 2


@pytest.mark.parametrize(
    ("old", "change", "field", "rule"),
    [
        (raw, lambda s: {"columns": columns(s, "price", type=Integer)}, "price", "TYPE_CHANGED"),
        (raw, lambda s: {"columns": tuple(c for c in s.columns if c.name != "exchange")}, "exchange", "COLUMN_REMOVED"),
        (raw, lambda s: {"columns": columns(s, "exchange", name="venue_code")}, "exchange", "COLUMN_REMOVED"),
        (raw, lambda s: {"columns": (*s.columns, replace(FLAG, null=False))}, "more", "ADDED_NOT_NULL"),
        (raw, lambda s: {"columns": columns(s, "exchange", null=False)}, "exchange", "NULL_FORBIDDEN"),
        (raw, lambda s: {"topic": "market.trades.v2"}, "topic", "TOPIC_CHANGED"), (raw, lambda s: {"wire": "protobuf"}, "wire", "WIRE_CHANGED"),
        (raw, lambda s: {"topic_partitions": 3}, "topic_partitions", "PARTITIONS_REMOVED"),
        (raw, lambda s: {"message_key": "venue"}, "message_key", "MESSAGE_KEY_CHANGED"), (raw, lambda s: {"key": ("venue",)}, "key", "KEY_CHANGED"),
        (raw, lambda s: {"storage_partition": "year"}, "storage_partition", "STORAGE_PARTITION_CHANGED"),
        (curated, lambda t: {"fallback_key": ("source_name",)}, "fallback_key", "FALLBACK_KEY_CHANGED"),
        (news.index, lambda i: {"dimensions": 3}, "dimensions", "DIMENSIONS_CHANGED"), (raw, None, "*", "DATASET_REMOVED"),
    ],
)  # fmt: skip
def test_what_is_refused_and_by_which_rule(
    old: Dataset, change: Callable[[Dataset], dict[str, Any]] | None, field: str, rule: str, tmp_path: Path
) -> None:
    file = changed(old, replace(old, **change(old)) if change else None, tmp_path)
    before = file.path.read_text()
    assert [(c.dataset, c.field, c.rule) for c in file.refused] == [(old.path, field, rule)]
    with pytest.raises(QuantLakeError, match=rf"{old.path}\.{'[*]' if field == '*' else field}: {rule}") as caught:
        file.record()
    assert "\n" not in str(caught.value) and file.path.read_text() == before


def test_a_column_of_protobuf_keeps_its_number(tmp_path: Path) -> None:
    old = replace(raw, wire="protobuf")
    last, first = replace(old, columns=(*old.columns, FLAG)), replace(old, columns=(FLAG, *old.columns))
    assert not changed(old, last, tmp_path).refused
    require_backward("s", wire_schema(old), wire_schema(last))
    assert {c.rule for c in changed(old, first, tmp_path).refused} == {"NUMBER_CHANGED"}
    with pytest.raises(QuantLakeError, match="number 1 was string symbol"):
        require_backward("s", wire_schema(old), wire_schema(first))
    assert changed(old, replace(old, columns=columns(old, "price", type=Price)), tmp_path).changes == []


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    (folder / "fx").mkdir(parents=True)
    (folder / "fx/rates.py").write_text(
        "from quantlake.contract import PARTITION_DATE, Column, Stream, Text\n"
        "raw = Stream(__name__, doc='A rate.', owner='fx', topic='fx.rates.v1', message_key='k', columns=(Column('k', Text, 'K.'), PARTITION_DATE))\n"
    )
    graph = discover([str(folder)])
    require_compatible(graph)  # without a history it is new
    (mine,) = [f for f in files(graph) if f.path.parent == folder / "fx"]
    mine.record()
    recorded = json.loads(mine.path.read_text())
    assert [f.changes for f in files(graph) if f.path == mine.path] == [[]]
    (folder / "fx/gone.history.json").write_text(json.dumps(recorded).replace("raw/fx/rates", "raw/fx/gone"))
    with pytest.raises(QuantLakeError, match=r"raw/fx/gone\.\*: DATASET_REMOVED"):
        require_compatible(graph)
    for text in ("", "{}", '{"versions": [{}]}', '{"versions": 3}'):
        mine.path.write_text(text)
        with pytest.raises(QuantLakeError, match=r"history .*rates\.history\.json cannot be read"):
            require_compatible(graph)
