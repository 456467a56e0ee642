"""The recorded history of contracts: what each dataset file said before, and whether what it says now may follow.

Here: a contract as it is recorded beside its file (``trades.py``: ``trades.history.json``), and the rules of change. Not here: tables
and registries, which have rules of their own and are changed only by what has passed these.

A change is compatible where old rows, old messages and old readers stay as good as they were. What can be derived is not recorded.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from quantlake.contract.catalog import Catalog
from quantlake.contract.datasets import Dataset, EmbeddingIndex, FeatureView, Stream, Table
from quantlake.contract.errors import QuantLakeError

SUFFIX = ".history.json"
NOT_NULL = " not null"
Said = dict[str, Any]  # what a contract says of one dataset


@dataclass(frozen=True)
class Change:
    """One difference. ``field``: the column or property; ``rule``: its name where it is refused, else "" (compatible)."""

    dataset: str
    field: str
    what: str
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.dataset}.{self.field}: {self.rule or 'compatible'}: {self.what}"


@dataclass(frozen=True)
class Version:
    """A recorded version of a dataset file: what it said of each of its datasets, by path."""

    number: int
    recorded: date
    datasets: Mapping[str, Said]


@dataclass(frozen=True)
class File:
    """A dataset file's history and what it says now; ``changes`` from its newest version, none where it has none."""

    path: Path
    versions: tuple[Version, ...]
    now: Mapping[str, Said]

    @property
    def changes(self) -> list[Change]:
        return self.since(self.versions[-1]) if self.versions else []

    @property
    def refused(self) -> list[Change]:
        return [c for c in self.changes if c.rule]

    def since(self, version: Version) -> list[Change]:
        """What differs from a version."""
        found = [c for path, old in version.datasets.items() for c in _changed(path, old, self.now.get(path))]
        return found + [Change(path, "*", "added") for path in self.now if path not in version.datasets]

    def record(self) -> Version:
        """Add what the file says now as its next version. Raises ``QuantLakeError`` where that is refused or cannot be written."""
        if self.refused:
            raise refusal(self.refused)
        new = Version(len(self.versions) + 1, datetime.now(UTC).date(), self.now)
        versions = [{"version": v.number, "recorded": v.recorded.isoformat(), "datasets": v.datasets} for v in (*self.versions, new)]
        try:
            self.path.write_text(json.dumps({"versions": versions}, indent=1) + "\n")
        except OSError as error:
            raise QuantLakeError(f"the history {self.path} cannot be written: {error.strerror}") from error
        return new


def files(catalog: Catalog) -> list[File]:
    """Every dataset file with its history, and every history whose file is gone. Raises ``QuantLakeError`` for one that is damaged."""
    modules: dict[str, list[Dataset]] = {}
    for dataset in catalog.datasets:
        modules.setdefault(dataset.module, []).append(dataset)
    found = {}
    for module, datasets in modules.items():
        place = Path(str(sys.modules[module].__file__))
        found[place.with_suffix(SUFFIX)] = {d.path: said(d) for d in datasets}
    for folder in {path.parent.parent for path in found}:
        for orphan in folder.glob(f"*/*{SUFFIX}"):
            found.setdefault(orphan, {})
    return [File(path, _versions(path), now) for path, now in sorted(found.items())]


def require_compatible(catalog: Catalog) -> None:
    """Raise ``QuantLakeError`` naming field and rule where a contract is no compatible successor of what was recorded of it."""
    refused = [c for file in files(catalog) for c in file.refused]
    if refused:
        raise refusal(refused)


def refusal(refused: Sequence[Change]) -> QuantLakeError:
    listed = "; ".join(map(str, refused))
    return QuantLakeError(f"a contract changed against its recorded history: {listed}. Take it back, or give what is new a name of its own")


def said(dataset: Dataset) -> Said:
    """What a contract says that old rows, messages and readers depend on."""
    found: Said = {
        "columns": {c.name: c.type.name + ("" if c.null else NOT_NULL) for c in dataset.columns},
        "key": list(dataset.key),
        "storage_partition": dataset.storage_partition,
    }
    if isinstance(dataset, Stream):
        found |= {
            "topic": dataset.topic, "topic_partitions": dataset.topic_partitions, "message_key": dataset.message_key, "wire": dataset.wire,
            "files": dataset.files, "tombstones": dataset.tombstones,
        }  # fmt: skip
    if isinstance(dataset, Table):
        found["fallback_key"] = list(dataset.fallback_key)
    if isinstance(dataset, FeatureView):
        found["entities"] = list(dataset.entities)
    if isinstance(dataset, EmbeddingIndex):
        found["dimensions"] = dataset.dimensions
    return found


def _changed(path: str, old: Said, new: Said | None) -> Iterator[Change]:
    if new is None:
        yield Change(path, "*", "the dataset is gone, and its rows would have no contract", "DATASET_REMOVED")
        return
    yield from _columns_changed(path, old, new)
    for name in sorted(old.keys() - {"columns"}):  # what an earlier release did not record cannot have changed
        was, is_ = old.get(name), new.get(name)
        if was == is_:
            continue
        grown = name == "topic_partitions" and isinstance(was, int) and isinstance(is_, int) and is_ > was
        if name == "fallback_key" and isinstance(was, list) and isinstance(is_, list) and is_[: len(was)] == was:
            grown = not set(is_[len(was) :]) & set(old["columns"])  # old rows have null there, and identify each other as before
        rule = "" if grown else "PARTITIONS_REMOVED" if name == "topic_partitions" else f"{name.upper()}_CHANGED"
        yield Change(path, name, f"was {_shown(was)}, is {_shown(is_)}", rule)


def _columns_changed(path: str, old: Said, new: Said) -> Iterator[Change]:
    was, is_ = old["columns"], new["columns"]
    for name, before in was.items():
        after = is_.get(name)
        if after is None:
            yield Change(path, name, "the column is gone, and old messages and readers have it", "COLUMN_REMOVED")
        elif before.removesuffix(NOT_NULL) != after.removesuffix(NOT_NULL):
            yield Change(path, name, f"was {before}, is {after}", "TYPE_CHANGED")
        elif before != after and after.endswith(NOT_NULL):
            yield Change(path, name, "may no longer be null, and old rows may be", "NULL_FORBIDDEN")
        elif before != after:
            yield Change(path, name, "may be null")
    for name, after in is_.items():
        if name not in was and after.endswith(NOT_NULL):
            yield Change(path, name, f"added as {after}, and old rows lack it; make it nullable", "ADDED_NOT_NULL")
        elif name not in was:
            yield Change(path, name, f"added as {after}, nullable")
    if new.get("wire") == "protobuf" and old.get("wire") == "protobuf":
        places = {name: n for n, name in enumerate(is_, 1)}
        for number, name in enumerate(was, 1):
            if places.get(name, number) != number:
                yield Change(path, name, f"was field {number} on the wire, is {places[name]}; new columns go last", "NUMBER_CHANGED")


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def _versions(path: Path) -> tuple[Version, ...]:
    try:
        listed: Iterable[Any] = json.loads(path.read_text())["versions"]
        found = tuple(Version(int(v["version"]), date.fromisoformat(v["recorded"]), dict(v["datasets"])) for v in listed)
        if not found or any(not isinstance(kind, str) for v in found for s in v.datasets.values() for kind in dict(s["columns"]).values()):
            raise ValueError("no version, or columns without types")
        return found
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise QuantLakeError(f"the history {path} cannot be read ({type(error).__name__}: {error}); take it back from version control") from error
