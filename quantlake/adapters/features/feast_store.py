"""Feast behind the port ``FeatureStore``: offline the lake's tables, online SQLite, Redis or another of Feast's stores.

Here: how a view is registered, offered online and joined. Not here: how features are computed or published to the lake.
Feast's import costs 4 to 7 s of CPU, so it happens in the first call and not before.
"""

import hashlib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from quantlake.adapters.locks import file_lock
from quantlake.contract import FeatureView, Float, Integer, QuantLakeError, TableSpec, Text, Timestamp

if TYPE_CHECKING:
    import feast
    from feast.infra.provider import Provider

PROJECT = "quantlake"
CHUNK = 1_000  # entities a read: SQLite bounds the variables of a statement
TIMES = ("event_time", "known_at")
Key = tuple[Any, ...]


class FeastStore:
    """Feast with its registry and, unless ``online`` says otherwise, its online SQLite file in ``repo``.

    ``read`` is the lake's; ``online`` is Feast's configuration of an online store, such as ``{"type": "redis",
    "connection_string": "host:6379"}``; ``registry`` an SQLAlchemy URL, needed where several machines share the store. Writers
    take turns under ``locks/feast``.
    """

    def __init__(
        self,
        repo: Path,
        read: Callable[[TableSpec, Collection[date] | None], pa.Table],
        online: Mapping[str, Any] | None,
        locks: Path,
        *,
        registry: str | None = None,
    ) -> None:
        self._repo, self._read, self._locks = repo, read, locks
        self._online = dict(online) if online else {"type": "sqlite", "path": str(repo / "online.db")}
        if self._online["type"] == "redis":
            self._online.setdefault("skip_dedup", True)  # Feast's own comparison drops corrections of the same event time
        self._registry = registry or f"sqlite:///{repo / 'registry.db'}"

    @cached_property
    def feast(self) -> "feast.FeatureStore":
        """Feast's own store, for notebooks: what is asked of it is point-in-time too."""
        with _quiet():
            import feast
            from feast.repo_config import RepoConfig

            from quantlake.adapters.features.lake_offline import LakeOfflineStoreConfig

            self._repo.mkdir(parents=True, exist_ok=True)
            config = RepoConfig(
                project=PROJECT,
                provider="local",
                registry={"registry_type": "sql", "path": self._registry, "cache_ttl_seconds": 60},
                offline_store=LakeOfflineStoreConfig(read=self._read),
                online_store=self._online,
                entity_key_serialization_version=3,
                repo_path=self._repo,
            )
            with self._lock():
                return feast.FeatureStore(config=config)

    def apply(self, views: Sequence[FeatureView]) -> None:
        """Register entities, sources and views whose definition changed.

        Raises ``QuantLakeError`` for an entity that is not text or a feature that is neither float nor integer.
        """
        for view in views:
            _check(view)
        with self._lock(), _quiet():
            changed = [v for v in views if self._registered(v.name) != _digest(v)]
            if changed:
                self.feast.apply([part for view in changed for part in _definition(view)])

    def write_online(self, view: FeatureView, rows: pa.Table) -> int:
        """Offer rows (``view.columns``); each entity keeps the one of the greatest (event_time, known_at). Returns entities written."""
        self._require(view)
        newest = _newest(view, rows)
        with self._lock(), _quiet():
            stored = self._stored_times(view, list(newest))
            fresh = [row for key, row in newest.items() if key not in stored or stored[key] < tuple(row[t] for t in TIMES)]
            if fresh:
                self._provider.online_write_batch(self.feast.config, self._view(view), [_online_row(view, r) for r in fresh], None)
        return len(fresh)

    def read_online(self, view: FeatureView, entities: Mapping[str, Sequence[Any]]) -> pa.Table:
        """Join keys and features, a row an entity in the order asked, null where unknown. The ttl is not applied here."""
        self._require(view)
        schema = pa.schema([(c.name, c.type.arrow) for c in view.columns if c.name in view.entities or c in view.features])
        features = [f"{view.name}:{c.name}" for c in view.features]
        asked = {key: list(entities[key]) for key in view.entities}
        if not asked[view.entities[0]]:
            return schema.empty_table()
        with _quiet():
            found = self.feast.get_online_features(features=features, entity_rows=asked).to_dict()
        return pa.table({name: found[name] for name in schema.names}, schema=schema)

    def historical(self, view: FeatureView, entity_rows: pa.Table) -> pa.Table:
        """``entity_rows`` (join keys, ``event_timestamp``, and what else it has), each with the features known then.

        That is, the row of the greatest event_time, and then known_at, with both at or before ``event_timestamp`` and the event
        time within the ttl; null where there is none. Order and rows are kept.
        """
        self._require(view)
        names = [c.name for c in view.features]
        schema = pa.schema([*entity_rows.schema, *((c.name, c.type.arrow) for c in view.features)])
        if not entity_rows.num_rows:
            return schema.empty_table()
        asked = entity_rows.select([*view.entities, "event_timestamp"])
        asked = asked.append_column("_row", pa.array(range(len(asked)), pa.int64()))
        with _quiet():
            job = self.feast.get_historical_features(asked.to_pandas(), [f"{view.name}:{n}" for n in names], filter_by_created_timestamp=True)
            found = job.to_arrow().sort_by("_row")
        return pa.table([*entity_rows.columns, *(found[n].cast(schema.field(n).type) for n in names)], schema=schema)

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self._locks / "feast", what=f"the feature store in {self._repo}")

    @cached_property
    def _provider(self) -> "Provider":
        from feast.infra.provider import get_provider

        return get_provider(self.feast.config)

    def _registered(self, name: str) -> str | None:
        """The digest of the view's registered definition, read afresh; None: not registered."""
        from feast.errors import FeatureViewNotFoundException

        try:
            return str(self.feast.registry.get_feature_view(name, PROJECT).tags.get("digest"))
        except FeatureViewNotFoundException:
            return None

    def _view(self, view: FeatureView) -> "feast.FeatureView":
        return self.feast.get_feature_view(view.name)

    def _require(self, view: FeatureView) -> None:
        """Register the view if nobody has; a changed definition waits for ``apply``."""
        with _quiet():
            known = self._registered(view.name)
        if known is None:
            self.apply([view])

    def _stored_times(self, view: FeatureView, keys: Sequence[Key]) -> dict[Key, tuple[Any, ...]]:
        """(event_time, known_at) of the entities that are online."""
        stored = {}
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            entities = [_entity_key(view, key) for key in chunk]
            found = self._provider.online_read(self.feast.config, self._view(view), entities, list(TIMES))
            for key, (_, values) in zip(chunk, found, strict=True):
                if values and all(values.get(t) and values[t].unix_timestamp_val for t in TIMES):
                    stored[key] = tuple(values[t].unix_timestamp_val for t in TIMES)
        return stored


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast warns of its own dependencies' ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
