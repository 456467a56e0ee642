"""Feast behind the port ``FeatureStore``: offline the lake's tables, online SQLite, Redis or another of Feast's stores.

Here: how a view is registered, offered online and joined. Not here: how features are computed or published to the lake.
Feast's import costs 2 s of CPU, so it happens in the first call and not before.
"""

import hashlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from quantlake.adapters.features.redis_online import RedisOnline
from quantlake.adapters.locks import file_lock
from quantlake.contract import FeatureView, Float, Integer, QuantLakeError, TableSpec, Text

if TYPE_CHECKING:
    from feast import FeatureStore as FeastFeatureStore
    from feast import FeatureView as FeastView
    from feast.infra.provider import Provider
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
NEVER = datetime(2, 1, 1, tzinfo=UTC)  # the times of an entity whose rows are gone: any row is newer
PROJECT = "quantlake"
CHUNK = 1_000  # entities a turn: SQLite bounds the variables of a statement, Redis the length of a turn
TIMES = ("event_time", "known_at")
Key = tuple[Any, ...]
Times = tuple[int, int]  # TIMES in microseconds since 1970


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
        self._known: set[str] = set()
        online = online or {"type": "sqlite", "path": str(repo / "online.db")}
        self._redis = RedisOnline(online) if online["type"] == "redis" else None
        self._online = self._redis.config if self._redis else dict(online)
        self._registry = registry or f"sqlite:///{repo / 'registry.db'}"

    @cached_property
    def feast(self) -> "FeastFeatureStore":
        """Feast's own store, for notebooks: what is asked of it is point-in-time too."""
        with self._calls():
            with _untypechecked():
                from feast import FeatureStore
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
                return FeatureStore(config=config)

    def apply(self, views: Sequence[FeatureView]) -> None:
        """Register entities, sources and views whose definition changed.

        Raises ``QuantLakeError`` for an entity that is not text, a feature that is neither float nor integer, or a name that a
        view of another family has.
        """
        for view in views:
            _check(view)
        store = self.feast
        with self._lock(), self._calls():
            tags = {view.name: self._tags(view.name) for view in views}
            clash = [v.path for v in views if tags[v.name].get("path", v.path) != v.path]
            if clash:
                raise QuantLakeError(f"{clash[0]}: another family has a feature view of that name; rename one")
            changed = [v for v in views if tags[v.name].get("digest") != _digest(v)]
            if changed:
                store.apply([part for view in changed for part in _definition(view)])
                store.refresh_registry()  # type: ignore[no-untyped-call]
        self._known.update(view.name for view in views)

    def write_online(self, view: FeatureView, rows: pa.Table) -> int:
        """Offer rows (``view.columns``); each entity keeps the one of the greatest (event_time, known_at), of equals the last offered.

        Returns how many entities were written.
        """
        self._require(view)
        newest, written = _newest(view, rows), 0
        for keys in _batched(newest, CHUNK):
            with self._turn():
                stored = self._stored_times(view, keys)
                written += self._write(view, [newest[key] for key in keys if key not in stored or stored[key] <= _times(newest[key])])
        return written

    def withdraw(self, view: FeatureView, gone: pa.Table, remaining: Callable[[], pa.Table]) -> int:
        """Take back rows that the offline table is about to lose; before its commit, so that a kill between repeats it.

        An entity that shows one of ``gone`` gets the newest of its ``remaining()`` rows, nulls where it has none. Returns how many.
        """
        self._require(view)
        lost: dict[Key, set[Times]] = {}
        for row in gone.select([*view.entities, "event_time", "known_at"]).to_pylist():
            lost.setdefault(tuple(row[key] for key in view.entities), set()).add(_times(row))

        def shown(keys: Sequence[Key]) -> list[Key]:
            return [key for key, times in self._stored_times(view, keys).items() if times in lost[key]]

        with self._calls():
            if not any(shown(keys) for keys in _batched(lost, CHUNK)):
                return 0
        newest, withdrawn = _newest(view, remaining()), 0
        nothing = dict.fromkeys((c.name for c in view.features), None) | dict.fromkeys(TIMES, NEVER)
        for keys in _batched(lost, CHUNK):
            with self._turn():
                withdrawn += self._write(view, [newest.get(k) or nothing | dict(zip(view.entities, k, strict=True)) for k in shown(keys)])
        return withdrawn

    def read_online(self, view: FeatureView, entities: Mapping[str, Sequence[Any]]) -> pa.Table:
        """Join keys and features, a row an entity in the order asked, null where unknown. The ttl is not applied here."""
        self._require(view)
        schema = pa.schema([(c.name, c.type.arrow) for c in view.columns if c.name in view.entities or c in view.features])
        if set(entities) != set(view.entities):
            raise QuantLakeError(f"{view.path} is asked by {', '.join(view.entities)}; found {', '.join(entities) or 'nothing'}")
        asked = {key: list(entities[key]) for key in view.entities}
        if not asked[view.entities[0]]:
            return schema.empty_table()
        with self._calls():
            features = [f"{view.name}:{c.name}" for c in view.features]
            found = self.feast.get_online_features(features=features, entity_rows=asked).to_dict()
        return pa.table({name: found[name] for name in schema.names}, schema=schema)

    def historical(self, view: FeatureView, entity_rows: pa.Table) -> pa.Table:
        """``entity_rows`` (join keys, ``event_timestamp``, and what else it has), each with the features known then.

        That is, of the rows whose event time is within the ttl before ``event_timestamp`` and whose ``known_at`` is not after it
        the one of the greatest (event_time, known_at); null where there is none. Rows and their order are kept.
        """
        self._require(view)
        wanted = {c.name: c.type.arrow for c in view.features}
        schema = pa.schema([*entity_rows.schema, *wanted.items()])
        if not entity_rows.num_rows:
            return schema.empty_table()
        asked = entity_rows.select([*view.entities, "event_timestamp"])
        asked = asked.append_column("_row", pa.array(range(len(asked)), pa.int64()))
        with self._calls():
            features = [f"{view.name}:{name}" for name in wanted]
            job = self.feast.get_historical_features(asked.to_pandas(), features, filter_by_created_timestamp=True)
            found = job.to_arrow().sort_by("_row")
        return pa.table([*entity_rows.columns, *(found[name].cast(kind) for name, kind in wanted.items())], schema=schema)

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self._locks / "feast", what=f"the feature store in {self._repo}")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the only writer online: of this machine, and of all where a Redis is shared."""
        with self._lock(), self._calls():
            if self._redis is None:
                yield
            else:
                store: Any = self._provider.online_store
                with self._redis.turn(store._get_client(self.feast.config.online_store)):
                    yield

    @contextmanager
    def _calls(self) -> Iterator[None]:
        """Around what Feast does: its warnings of its own dependencies' ways are silenced, its online store's errors put in a line."""
        with warnings.catch_warnings(), self._redis.errors() if self._redis else nullcontext():
            warnings.simplefilter("ignore")
            yield

    @cached_property
    def _provider(self) -> "Provider":
        from feast.infra.provider import get_provider

        return get_provider(self.feast.config)

    def _tags(self, name: str) -> dict[str, str]:
        """The tags of a registered view, read afresh; {} where it is not registered."""
        from feast.errors import FeatureViewNotFoundException

        try:
            return dict(self.feast.registry.get_feature_view(name, PROJECT).tags)
        except FeatureViewNotFoundException:
            return {}

    def _view(self, view: FeatureView) -> "FeastView":
        return self.feast.get_feature_view(view.name)

    def _require(self, view: FeatureView) -> None:
        """Register the view if nobody has; a changed definition waits for ``apply``."""
        if view.name in self._known:
            return
        with self._calls():
            store, registered = self.feast, self._tags(view.name)
            if not registered:
                self.apply([view])
            store.refresh_registry()  # type: ignore[no-untyped-call]
        self._known.add(view.name)

    def _stored_times(self, view: FeatureView, keys: Sequence[Key]) -> dict[Key, Times]:
        """(event_time, known_at) of the entities that are online."""
        stored: dict[Key, Times] = {}
        entities = [_entity_key(view, key) for key in keys]
        found = self._provider.online_read(self.feast.config, self._view(view), entities, list(TIMES))
        for key, (_, values) in zip(keys, found, strict=True):
            times = [values[t] for t in TIMES if t in values] if values else []
            if times and all(t.HasField("int64_val") for t in times):  # of an unknown entity Redis gives values without content
                stored[key] = (times[0].int64_val, times[1].int64_val)
        return stored

    def _write(self, view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> int:
        if rows:
            self._provider.online_write_batch(self.feast.config, self._view(view), [_online_row(view, row) for row in rows], None)
        return len(rows)


@contextmanager
def _untypechecked() -> Iterator[None]:
    """Within, classes are made as ``python -O`` makes them: typeguard rewrites the source of every one of Feast's to check its calls,
    which is 2.7 of the 4.7 s of CPU of its import."""
    import typeguard

    def plain(target: Any = None, **_: Any) -> Any:
        return plain if target is None else target

    theirs: Any = typeguard
    kept, theirs.typechecked = theirs.typechecked, plain
    try:
        yield
    finally:
        theirs.typechecked = kept


def _check(view: FeatureView) -> None:
    wrong = [c.name for c in view.columns if c.name in view.entities and c.type is not Text]
    wrong += [c.name for c in view.features if c.type not in (Float, Integer)]
    if wrong:
        raise QuantLakeError(f"{view.path}: {', '.join(wrong)} cannot go to Feast; entities are text, features float or integer")


def _digest(view: FeatureView) -> str:
    return hashlib.sha256(repr((view.spec, view.entities, view.ttl, view.owner)).encode()).hexdigest()


def _definition(view: FeatureView) -> list[Any]:
    from feast import Entity, FeatureView, Field, ValueType
    from feast.types import Float64, Int64, String

    from quantlake.adapters.features.lake_offline import LakeSource

    entities = [Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in view.entities]
    features = [Field(name=c.name, dtype=Float64 if c.type is Float else Int64, description=c.doc) for c in view.features]
    keys = [Field(name=key, dtype=String) for key in view.entities]
    tags = {"digest": _digest(view), "path": view.path}
    made = FeatureView(
        name=view.name, entities=entities, ttl=view.ttl, schema=[*keys, *features], source=LakeSource(view.spec),
        tags=tags, description=view.doc, owner=view.owner,
    )  # fmt: skip
    return [*entities, made]


def _newest(view: FeatureView, rows: pa.Table) -> dict[Key, dict[str, Any]]:
    """Each entity's newest row."""
    last = pl.DataFrame(rows).sort("event_time", "known_at").unique(view.entities, keep="last").to_dicts()
    return {tuple(row[key] for key in view.entities): row for row in last}


def _batched(keys: Iterable[Key], size: int) -> Iterator[tuple[Key, ...]]:
    """``itertools.batched``, which Python has from 3.12 on."""
    left = iter(keys)
    while chunk := tuple(islice(left, size)):
        yield chunk


def _times(row: Mapping[str, Any]) -> Times:
    return (row["event_time"] - EPOCH) // MICROSECOND, (row["known_at"] - EPOCH) // MICROSECOND


def _entity_key(view: FeatureView, key: Key) -> "EntityKey":
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=view.entities, entity_values=[Value(string_val=value) for value in key])


def _online_row(view: FeatureView, row: Mapping[str, Any]) -> tuple["EntityKey", dict[str, "Value"], datetime, datetime | None]:
    """A row as Feast's online stores take it, with its two times beside the features: Feast reads back the first only."""
    from feast.protos.feast.types.Value_pb2 import Value

    values = {name: Value(int64_val=micros) for name, micros in zip(TIMES, _times(row), strict=True)}
    for column in view.features:
        value = row[column.name]
        field = "double_val" if column.type is Float else "int64_val"
        values[column.name] = Value() if value is None else Value(**{field: value})
    return _entity_key(view, tuple(row[key] for key in view.entities)), values, row["event_time"], row["known_at"]
