"""Feast's offline store over the lake: a real one, so that any ``feast.FeatureStore`` with its configuration works.

Imports feast (2 s of CPU), so it is imported only by feast itself or within ``feast_store``'s functions.
"""

import json
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.ibis import (
    get_historical_features_ibis,
    pull_all_from_table_or_query_ibis,
    pull_latest_from_table_or_query_ibis,
)
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.value_type import ValueType

from quantlake import contract
from quantlake.contract import Column, QuantLakeError, TableSpec

Read = Callable[[TableSpec, Collection[date] | None], pa.Table]

_TYPES = {t.name: t for t in vars(contract).values() if isinstance(t, contract.Type)}
_VALUE_TYPES = {"text": ValueType.STRING, "integer": ValueType.INT64, "float": ValueType.DOUBLE}
_DAY = timedelta(days=1)


class LakeSource(DataSource):
    """A lake table as a Feast data source: ``event_time`` is its timestamp, ``known_at`` its created timestamp."""

    def __init__(self, spec: TableSpec) -> None:
        super().__init__(
            name=spec.sql_name, timestamp_field="event_time", created_timestamp_column="known_at", description=spec.doc
        )
        self.spec = spec

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> "LakeSource":
        kept = json.loads(data_source.custom_options.configuration)
        columns = tuple(Column(name, _TYPES[kind], doc, null=null) for name, kind, doc, null in kept.pop("columns"))
        return LakeSource(TableSpec(**kept, columns=columns, doc=data_source.description))

    def _to_proto_impl(self) -> DataSourceProto:
        kept = {k: getattr(self.spec, k) for k in ("layer", "family", "name", "storage_partition")}
        kept["columns"] = [(c.name, c.type.name, c.doc, c.null) for c in self.spec.columns]
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=f"{__name__}.LakeSource",
            custom_options=DataSourceProto.CustomSourceOptions(configuration=json.dumps(kept).encode()),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            description=self.description,
        )

    def validate(self, config: RepoConfig) -> None:
        """Nothing to ask: the contract is the schema, and an absent table reads as empty."""

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        return [(c.name, c.type.name) for c in self.spec.columns]

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        return lambda name: _VALUE_TYPES.get(name, ValueType.UNKNOWN)

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        return DataSourceProto.CUSTOM_SOURCE


class LakeOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """``read(spec, dates)`` is the lake's own; it exists in this process only."""

    type: str = f"{__name__}.LakeOfflineStore"
    read: Any


class LakeOfflineStore(DuckDBOfflineStore):
    """DuckDB's point-in-time join over the dates of lake tables that it can need. Look-ahead is impossible here."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
    ) -> RetrievalJob:
        """Feast's, but always as known at each row's time, whatever ``filter_by_created_timestamp`` says."""
        if isinstance(entity_df, str):
            raise QuantLakeError("entity rows come as a data frame here, not as SQL; run the SQL first")
        at = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        days = set(pd.to_datetime(entity_df[at], utc=True).dt.date)
        ttls = [v.ttl for v in feature_views]
        return get_historical_features_ibis(
            config=config,
            feature_views=feature_views,
            feature_refs=feature_refs,
            entity_df=entity_df,
            registry=registry,
            project=project,
            full_feature_names=full_feature_names,
            data_source_reader=_reader(config, dates_before(days, max(t for t in ttls if t)) if all(ttls) else None),
            data_source_writer=_write_data_source,
            filter_by_created_timestamp=True,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        return pull_latest_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=_reader(config, _dates_between(start_date, end_date)),
            data_source_writer=_write_data_source,
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        return pull_all_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=_reader(config, _dates_between(start_date, end_date) if start_date and end_date else None),
            data_source_writer=_write_data_source,
        )

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Any,
    ) -> None:
        raise QuantLakeError(f"{feature_view.name} is written to the lake by its asset only; materialize that")


def _reader(config: RepoConfig, dates: Collection[date] | None) -> Callable[[DataSource, str], Any]:
    def read(source: DataSource, _: str) -> Any:
        if not isinstance(source, LakeSource):
            raise QuantLakeError(f"{source.name} is no table of the lake; register views with quantlake")
        return ibis.memtable(config.offline_store.read(source.spec, dates))

    return read


def dates_before(days: Collection[date], ttl: timedelta) -> set[date]:
    """Every partition a point-in-time join at ``days`` (UTC) can need; a partition's own date may be a day off UTC's."""
    back = -(-ttl // _DAY)
    return {day + _DAY * n for day in days for n in range(-back - 1, 2)}


def _dates_between(start: datetime, end: datetime) -> set[date]:
    first, last = start.astimezone(UTC).date(), end.astimezone(UTC).date()
    return dates_before({first + _DAY * n for n in range((last - first).days + 1)}, timedelta(0))
