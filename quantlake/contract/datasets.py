"""What a dataset is: one frozen description from which schema, topic, tables, checks, docs and lineage follow.

Here: the kinds of dataset and what can be derived from each. Not here: how any of it is stored, scheduled or served.
A dataset knows its place by its module: ``Table(__name__, ...)`` in ``.../market/trades.py`` is ``curated/market/trades``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import ClassVar, Literal, get_args

import polars as pl
import pyarrow as pa

from quantlake.contract import editions
from quantlake.contract.checks import Check
from quantlake.contract.columns import Column, StoragePartition, TableSpec
from quantlake.contract.errors import QuantLakeError
from quantlake.contract.inputs import Input
from quantlake.contract.sessions import Sessions
from quantlake.contract.standing import Standing
from quantlake.contract.types import Bytes, Date, Integer, Text, Timestamp

Build = Callable[..., pl.LazyFrame]
Fill = Callable[[pl.DataFrame], pl.DataFrame]

COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")  # as Kafka takes them
BROKER_COLUMNS = (
    Column("_log", Text, "The log the record was read from: cluster id / topic id.", provenance=True),
    Column("_topic", Text, "Kafka topic.", provenance=True),
    Column("_partition", Integer, "Kafka partition.", provenance=True),
    Column("_offset", Integer, "Kafka offset.", provenance=True),
    Column("_timestamp", Timestamp, "The broker's time of the record.", null=True, provenance=True),
    Column("_key", Bytes, "Record key, as received.", null=True, provenance=True),
    Column("_headers", Text, "Record headers as JSON pairs, values in base64.", null=True, provenance=True),
    Column("_schema_id", Integer, "Registry id of the writer's schema.", null=True, provenance=True),
    Column("_error_class", Text, "Set on a dead letter: why it could not be decoded.", null=True, provenance=True),
    Column("_error", Text, "Set on a dead letter: the decoder's own words.", null=True, provenance=True),
    Column("_value", Bytes, "Set on a dead letter: the record's bytes.", null=True, provenance=True),
)
SUPERSEDED_AT = Column("superseded_at", Timestamp, "When the key's next version was known; null on the latest.", null=True, provenance=True)
REJECTED_COLUMNS = (
    Column("_run_id", Text, "The Dagster run that rejected the partition."),
    Column("_check", Text, "The blocking checks this row failed; null on the innocent rows of a rejected partition.", null=True),
    Column("_reason", Text, "What the failed checks found."),
    Column("_rejected_at", Timestamp, "When."),
)


@dataclass(frozen=True, kw_only=True)
class View:
    """A further view of a curated table, ``<sql name>_<name>``: of the latest rows, or those of then, one for each ``per``.

    It is the greatest by the columns ``newest`` in their order. ``conflict`` names a column and a column of dates: the view's own column
    ``conflict`` says whether the rows of the same ``per`` and date as the row shown have different values.
    """

    name: str
    per: tuple[str, ...]
    newest: tuple[str, ...]
    conflict: tuple[str, str] | None = None
    doc: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """What all kinds share. ``module`` is the defining module's ``__name__``; ``doc`` says what one row is.

    ``max_lag`` bounds how old its last materialization may be where no ``sessions`` say when the next one is due. ``stands``: by which
    curated table some of its rows do not stand; views show those that do, and what is built from it is given all.
    """

    layer: ClassVar[str]
    kind: ClassVar[str]
    module: str = field(kw_only=False)
    doc: str
    owner: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    storage_partition: StoragePartition = "day"
    max_lag: timedelta = timedelta(days=4)
    stands: Standing | None = None

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        if len({n.lower() for n in names}) < len(names):
            raise QuantLakeError(f"{self.path}: a column is named twice in {names}; SQL does not tell cases apart")
        stored = {c.name for c in self.stored_columns[len(self.columns) :]}
        if wrong := [n for n in names if n in stored or not COLUMN_NAME.fullmatch(n)]:
            raise QuantLakeError(f"{self.path}: {wrong} cannot be columns: letters, digits and _ alone, and not one of {sorted(stored)}")
        if self.storage_partition not in get_args(StoragePartition):
            raise QuantLakeError(f"{self.path}: storage_partition is {self.storage_partition!r}; there are {', '.join(get_args(StoragePartition))}")
        missing = [c for c in self.key if c not in names]
        if missing:
            raise QuantLakeError(f"{self.path}: the key names {missing}, which are no columns; it has {names}")
        if "partition_date" not in names:
            raise QuantLakeError(f"{self.path}: every dataset has the column partition_date; add PARTITION_DATE")
        if next(c for c in self.columns if c.name == "partition_date").type is not Date:
            raise QuantLakeError(f"{self.path}: partition_date is no date; add PARTITION_DATE")
        if self.stands and not isinstance(self, Table | Derived):
            raise QuantLakeError(f"{self.path}: stands is for curated and derived tables")
        if self.stands and (absent := self.stands.columns - set(names)):
            raise QuantLakeError(f"{self.path}: its rows stand by {sorted(absent)}, which are no columns")
        if self.max_lag < timedelta(minutes=1):
            raise QuantLakeError(f"{self.path}: max_lag is {self.max_lag}; Dagster judges no lag below a minute")

    @property
    def family(self) -> str:
        return self.module.split(".")[-2]

    @property
    def name(self) -> str:
        return self.module.split(".")[-1]

    @property
    def path(self) -> str:
        """The asset key as text: ``layer/family/name``."""
        return f"{self.layer}/{self.family}/{self.name}"

    @property
    def reads(self) -> tuple[Input, ...]:
        """What it is built from, in the order its function takes the rows; maybe its own rows of the day before."""
        return ()

    @property
    def inputs(self) -> tuple["Dataset", ...]:
        """The other datasets that it is built from."""
        return tuple(i.dataset for i in self.reads if i.dataset is not self)

    @property
    def start(self) -> date:
        """The first date it can have."""
        return max(i.dataset.start for i in self.reads if i.makes != "none" and i.dataset is not self)

    @property
    def sessions(self) -> Sessions | None:
        """The sessions that should have rows, and by when: those of its first input. None: there are none."""
        return self.inputs[0].sessions if self.inputs else None

    @property
    def calendar(self) -> str | None:
        """The exchange calendar (``exchange_calendars`` name) whose sessions should have rows; None: no such expectation."""
        return self.sessions.calendar if self.sessions else None

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        return self.columns

    @property
    def spec(self) -> TableSpec:
        return TableSpec(self.layer, self.family, self.name, self.stored_columns, self.storage_partition, self.key, self.doc)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that tell a row from others."""
        return self.key

    @property
    def views_besides(self) -> tuple[str, ...]:
        """The names of what SQL shows of it besides its own view (``<sql name>_<view>``)."""
        return ("versions",) if self.stands else ()

    @property
    def rejected_spec(self) -> TableSpec:
        """Where the candidate rows of a partition go that failed a blocking check: the same columns, all nullable, and why."""
        loose = tuple(Column(c.name, c.type, c.doc, null=True) for c in self.stored_columns)
        return TableSpec("rejected", self.layer, f"{self.family}_{self.name}", (*loose, *REJECTED_COLUMNS), self.storage_partition)

    @property
    def fingerprint_columns(self) -> tuple[Column, ...]:
        """Business columns, key, event time and known-at: what must be equal wherever and whenever it is built."""
        return tuple(c for c in self.stored_columns if c.name in self.key or not c.provenance)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream(Dataset):
    """A Kafka topic and the raw table it lands in, exactly as received, with broker coordinates.

    ``files`` says what its recorded files are: ``complete`` (a new edition replaces the old) or ``log`` (versions by key only).
    ``sessions`` say on which days an exchange's rows are due, and by when; what is built from it is due then too.
    ``fill`` completes the columns a producer may omit (``known_at``, ``partition_date``, ...).
    ``tombstones`` says what a message without a value means to its curated tables: nothing, or (``delete``) that the rows whose
    ``message_key`` column, as its producer encodes it, is the message's key end at the message's broker time.
    ``max_message_bytes``: a larger message is landed as a dead letter, its bytes kept and not decoded.
    ``wire`` is how messages are encoded. In Protobuf a column's number is its place among ``columns``, so new ones go last.
    ``spill_days``: by how many days the items of a message may lie off its ``partition_date``; a curated date reads so many around it.
    """

    layer: ClassVar[str] = "raw"
    kind: ClassVar[str] = "iceberg"
    topic: str
    files: Literal["complete", "log"] = "log"
    topic_partitions: int = 1
    message_key: str
    wire: Literal["avro", "protobuf"] = "avro"
    tombstones: Literal["ignore", "delete"] = "ignore"
    max_message_bytes: int = 8 << 20
    spill_days: int = 0
    first_date: date = date(1970, 1, 1)  # of a chain's first block; one start for all, or no run can have all assets
    sessions: Sessions | None = None
    filler: Fill | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.message_key not in [c.name for c in self.columns]:
            raise QuantLakeError(f"{self.path}: its message_key {self.message_key!r} is no column")
        if not TOPIC.fullmatch(self.topic) or self.topic_partitions < 1:
            raise QuantLakeError(f"{self.path}: no topic is {self.topic!r} of {self.topic_partitions} partitions: letters, digits, . _ and - alone, and at least 1")
        lists = [c.name for c in self.columns if c.null and pa.types.is_list(c.type.arrow)]
        if self.wire == "protobuf" and lists:
            raise QuantLakeError(f"{self.path}: Protobuf does not tell an empty list from none; make {lists} not nullable")

    def fill(self, function: Fill) -> Fill:
        """Decorator: the function that completes what a producer omitted; takes and returns the message's columns."""
        object.__setattr__(self, "filler", function)
        return function

    @property
    def start(self) -> date:
        return self.first_date

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """The message's columns, all nullable (a dead letter and a tombstone have none), then the broker's."""
        loose = tuple(Column(c.name, c.type, c.doc, null=True, provenance=c.provenance) for c in self.columns)
        return (*loose, *BROKER_COLUMNS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Built(Dataset):
    """A dataset that a pure function builds from others."""

    function: Build | None = field(default=None, init=False)

    def build(self, function: Build) -> Build:
        """Decorator: the pure function from the inputs' lazy frames (one each, in order) to this dataset's rows."""
        object.__setattr__(self, "function", function)
        return function


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Built):
    """A curated table: typed, deduplicated by key, each key's versions kept with ``known_at`` and ``superseded_at``.

    Where a column of ``key`` is null, ``fallback_key`` identifies the row instead.
    Its function receives the decodable raw rows of each stream in arrival order and must keep their order; without one (one stream
    only), rows pass as they are. It may be given the rows of many dates at once, so where it compares rows it does so date by date
    (``.over("partition_date", ...)``). Of a stream with ``spill_days`` it gets one date with the neighbouring dates' rows, and returns
    rows of these as well: only the date's own are taken. After the streams come the rows of other tables that it ``looks_up``.

    ``versions``: those of a key lie in one partition (``within``), or in any (``across``: ``partition_date`` is the date on which each
    could be known). ``ended_by``: a boolean column; a key whose version of then has it true is not shown.
    """

    layer: ClassVar[str] = "curated"
    kind: ClassVar[str] = "iceberg"
    of: Stream | tuple[Stream, ...]
    fallback_key: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    versions: Literal["within", "across"] = "within"
    ended_by: str | None = None
    looks_up: tuple[Input, ...] = ()
    views: tuple[View, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        names = {c.name for c in self.columns}
        for view in self.views:
            if missing := {*view.per, *view.newest, *(view.conflict or ())} - names:
                raise QuantLakeError(f"{self.path}: its view {view.name} names {sorted(missing)}, which are no columns")
        if self.views and self.stands:
            raise QuantLakeError(f"{self.path}: it has further views, and rows that may not stand: one or the other")
        if self.ended_by is not None and self.ended_by not in names:
            raise QuantLakeError(f"{self.path}: ended_by names {self.ended_by!r}, which is no column")
        for stream in self.streams:
            if stream.tombstones == "delete" and (self.key != (stream.message_key,) or self.fallback_key or len(self.streams) > 1):
                raise QuantLakeError(
                    f"{self.path}: {stream.path} says that a tombstone deletes, so it must be the only stream, and its message key "
                    f"{stream.message_key!r} the whole key, which is {(*self.key, *self.fallback_key)}: rows of one message key could lie "
                    "on several dates, a tombstone on one only"
                )

    def by_file(self, stream: Stream) -> bool:
        """Whether editions of a stream's files count as a whole (``contract.editions``)."""
        return self.versions == "across" and stream.files == "complete" and {c.name for c in stream.columns} >= editions.ACROSS

    @property
    def streams(self) -> tuple[Stream, ...]:
        return self.of if isinstance(self.of, tuple) else (self.of,)

    @property
    def reads(self) -> tuple[Input, ...]:
        streams = (Input(s, -s.spill_days, s.spill_days, editions=self.by_file(s), makes="readers") for s in self.streams)
        return (*streams, *(replace(i, makes="none") for i in self.looks_up))

    @property
    def identity(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.key, *self.fallback_key)))

    @property
    def views_besides(self) -> tuple[str, ...]:
        return ("versions", *(view.name for view in self.views))

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        return (*self.columns, SUPERSEDED_AT)

    @property
    def business_columns(self) -> tuple[str, ...]:
        """What makes a version differ from its predecessor."""
        skip = {*self.key, *self.fallback_key, "known_at", "partition_date"}
        return tuple(c.name for c in self.columns if not c.provenance and c.name not in skip)


@dataclass(frozen=True, eq=False, kw_only=True)
class Derived(Built):
    """An Iceberg table that is a pure function of curated or derived data, date by date.

    ``before``: datasets whose rows of the day before its function takes too, after those of ``of``; ``carries``: last, its own of then.
    They alone make no date: one without rows of ``of`` is not built. ``many``: its function may be given many dates at once with all that
    these read; it returns the same rows for a date whatever other dates stand beside it, and those of dates not asked for are dropped.
    ``rare``: most dates have no rows, and none is missed; checks are told of those that have.
    """

    layer: ClassVar[str] = "derived"
    kind: ClassVar[str] = "iceberg"
    of: tuple[Dataset | Input, ...]
    before: tuple[Dataset, ...] = ()
    carries: bool = False
    many: bool = False
    rare: bool = False

    @property
    def sessions(self) -> Sessions | None:
        return None if self.rare else super().sessions

    @property
    def reads(self) -> tuple[Input, ...]:
        yesterday = (*self.before, *((self,) if self.carries else ()))
        of = (d if isinstance(d, Input) else Input(d) for d in self.of)
        return (*of, *(Input(d, -1, -1, makes="none") for d in yesterday))


@dataclass(frozen=True, eq=False, kw_only=True)
class Rollup(Dataset):
    """A ClickHouse table filled by SQL over curated rows (``{input}`` in ``sql``), published only if it equals ``equals``."""

    layer: ClassVar[str] = "rollup"
    kind: ClassVar[str] = "clickhouse"
    of: Table
    sql: str
    equals: Derived | None = None

    @property
    def reads(self) -> tuple[Input, ...]:
        return (Input(self.of), *((Input(self.equals),) if self.equals else ()))


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureView(Built):
    """A Feast feature view: offline an Iceberg table, online the newest row of each entity.

    ``entities`` are its join keys, ``event_time`` the time a row's features hold from; its float and integer columns that are
    neither are the features. ``ttl`` bounds how old a value a point-in-time join may take.
    """

    layer: ClassVar[str] = "feature"
    kind: ClassVar[str] = "feast"
    of: tuple[Dataset, ...]
    entities: tuple[str, ...]
    ttl: timedelta

    @property
    def reads(self) -> tuple[Input, ...]:
        return tuple(Input(d) for d in self.of)

    @property
    def features(self) -> tuple[Column, ...]:
        skip = {*self.entities, "event_time", "known_at", "partition_date"}
        return tuple(c for c in self.columns if c.name not in skip)


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddingIndex(Dataset):
    """A pgvector index over the text of a curated table: one vector a row, HNSW, cosine distance."""

    layer: ClassVar[str] = "embedding"
    kind: ClassVar[str] = "pgvector"
    of: Table
    text: tuple[str, ...]
    dimensions: int = 384
    storage_partition: StoragePartition = "month"

    @property
    def reads(self) -> tuple[Input, ...]:
        return (Input(self.of),)
