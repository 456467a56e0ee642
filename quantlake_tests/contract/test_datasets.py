"""What holds of every dataset of the catalogue, whoever wrote it."""

import re
from datetime import date

import fastavro
import pyarrow as pa
import pytest

from quantlake.contract import Column, Dataset, EmbeddingIndex, FeatureView, Ordered, Rollup, Rows, Stream, Table, Vector
from quantlake.contract.catalog import discover
from quantlake.contract.datasets import SUPERSEDED_AT, Built
from quantlake.contract.suites import check_names
from quantlake.contract.wire import avro_record, subject, wire_arrow

NAME = re.compile(r"[a-z_][a-z0-9_]*")
KINDS = {"raw": "iceberg", "curated": "iceberg", "derived": "iceberg", "rollup": "clickhouse", "feature": "feast", "embedding": "pgvector"}
CATALOG = discover()
STREAMS = CATALOG.streams
every_dataset = pytest.mark.parametrize("dataset", CATALOG.datasets, ids=lambda d: d.path)
every_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda d: d.path)


def names(columns: tuple[Column, ...]) -> list[str]:
    return [c.name for c in columns]


@every_dataset
def test_its_place_is_its_path(dataset: Dataset) -> None:
    layer, family, name = dataset.path.split("/")
    assert KINDS[layer] == dataset.kind
    assert all(NAME.fullmatch(part) for part in (layer, family, name))
    assert dataset.spec.sql_name == f"{layer}_{family}_{name}" and CATALOG.by_sql_name[dataset.spec.sql_name] is dataset
    assert dataset.rejected_spec.sql_name == f"rejected_{layer}_{family}_{name}"


@every_dataset
def test_it_says_what_it_is_and_whose(dataset: Dataset) -> None:
    assert dataset.doc.strip() and dataset.doc.endswith(".") and "\n" not in dataset.doc
    assert re.fullmatch(r"[a-z][a-z0-9-]*", dataset.owner)
    assert dataset.start >= date(1970, 1, 1) or isinstance(dataset, Stream)
    assert all(dataset.start >= i.start for i in dataset.inputs)


@every_dataset
def test_every_column_is_documented_and_typed(dataset: Dataset) -> None:
    columns = dataset.stored_columns
    assert len(set(names(columns))) == len(columns)
    for column in columns:
        assert NAME.fullmatch(column.name), column.name
        assert column.doc.strip().endswith("."), f"{column.name}: {column.doc!r}"
        assert isinstance(column.type.arrow, pa.DataType)
    schema = dataset.spec.arrow
    assert schema.names == names(columns)
    assert all(schema.field(c.name).nullable == c.null and schema.field(c.name).type == c.type.arrow for c in columns)
    assert schema.field("partition_date").type == pa.date32()


@every_dataset
def test_limits_fit_their_columns(dataset: Dataset) -> None:
    for column in dataset.columns:
        kind = column.type.arrow
        numeric = pa.types.is_decimal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        assert numeric or (column.minimum is None and column.above is None), column.name
        assert pa.types.is_string(kind) or not column.allowed, column.name
    for check in dataset.checks:
        assert isinstance(check, Rows) or len(check.columns) > 1
        assert set(check.columns) <= set(names(dataset.columns))


@every_dataset
def test_its_key_exists_and_holds_no_known_at(dataset: Dataset) -> None:
    fallback = dataset.fallback_key if isinstance(dataset, Table) else ()
    sort_by = dataset.sort_by if isinstance(dataset, Table) else ()
    assert dataset.key and {*dataset.key, *fallback, *sort_by} <= set(names(dataset.columns))
    assert "known_at" not in {*dataset.key, *fallback}
    columns = {c.name: c for c in dataset.columns}
    assert fallback or isinstance(dataset, Stream) or not any(columns[c].null for c in dataset.key)
    assert {*dataset.key, "partition_date"} <= set(names(dataset.fingerprint_columns))


@every_dataset
def test_it_has_the_columns_of_time(dataset: Dataset) -> None:
    columns = {c.name: c for c in dataset.columns}
    assert not columns["partition_date"].null
    if isinstance(dataset, Table):
        assert {"event_time", "known_at"} <= set(columns) and not columns["known_at"].null
        assert dataset.stored_columns[-1] is SUPERSEDED_AT
        assert dataset.business_columns and not {"known_at", "partition_date", *dataset.key} & set(dataset.business_columns)


@every_dataset
def test_its_checks_have_names_of_their_own(dataset: Dataset) -> None:
    checks = check_names(dataset)
    assert len({name for name, _ in checks}) == len(checks)
    blocking = {name for name, blocks in checks if blocks}
    if isinstance(dataset, Stream):
        assert not blocking, "raw is kept as received"
    else:
        assert {"schema", "not_null", "unique_key"} <= blocking and ("row_count", False) in checks
        assert ("ordered" in blocking) == any(isinstance(c, Ordered) for c in dataset.checks)
        assert {(c.name, c.blocking) for c in dataset.checks if isinstance(c, Rows)} <= set(checks)
    assert ("equals_derived" in blocking) == (isinstance(dataset, Rollup) and dataset.equals is not None)


@every_dataset
def test_it_can_be_built(dataset: Dataset) -> None:
    assert all(CATALOG[i.path] is i for i in dataset.inputs)
    if isinstance(dataset, Built) and not isinstance(dataset, Table):
        assert dataset.function is not None
    if isinstance(dataset, Rollup):
        assert "{input}" in dataset.sql
    if isinstance(dataset, FeatureView):
        assert dataset.features and {*dataset.entities, "event_time"} <= set(names(dataset.columns))
    if isinstance(dataset, EmbeddingIndex):
        assert {"text"} <= set(names(dataset.columns)) and [c.type for c in dataset.columns].count(Vector) == 1
        assert set(dataset.text) <= set(names(dataset.of.columns))


@every_dataset
def test_what_is_rejected_can_hold_any_candidate(dataset: Dataset) -> None:
    columns = dataset.rejected_spec.columns
    stored = len(dataset.stored_columns)
    assert names(columns[:stored]) == names(dataset.stored_columns) and all(c.null for c in columns[:stored])
    assert len(set(names(columns))) == len(columns)


@every_stream
def test_its_messages_are_avro_records(stream: Stream) -> None:
    schema = avro_record(stream)
    fastavro.parse_schema(schema)
    assert schema["name"] == stream.name and schema["namespace"] == f"quantlake.{stream.family}"
    assert [f["name"] for f in schema["fields"]] == names(stream.columns) == wire_arrow(stream).names
    for field, column in zip(schema["fields"], stream.columns, strict=True):
        assert field["doc"] == column.doc
        assert (field["type"][0] == "null" and field["default"] is None) if column.null else "default" not in field
    assert stream.message_key in names(stream.columns)
    assert all(c.null for c in stream.stored_columns if c.name in names(stream.columns))


def test_topics_and_subjects_are_each_streams_own() -> None:
    assert len({s.topic for s in STREAMS}) == len({subject(s) for s in STREAMS}) == len(STREAMS)
    assert all(s.topic_partitions > 0 and re.fullmatch(r"[a-z0-9_.]+\.v[0-9]+", s.topic) for s in STREAMS)
