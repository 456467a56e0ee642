"""The catalogue: every dataset there is, found by importing dataset modules; the path below the package is the key.

Here: discovery, lookup, and the order of the graph. Not here: anything about one dataset.
"""

import importlib
import pkgutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from quantlake.contract.datasets import Dataset, Stream, Table
from quantlake.contract.errors import QuantLakeError


@dataclass(frozen=True)
class Catalog:
    """Datasets by path, inputs before what is built from them."""

    datasets: tuple[Dataset, ...]

    @cached_property
    def by_path(self) -> dict[str, Dataset]:
        return {d.path: d for d in self.datasets}

    @cached_property
    def by_sql_name(self) -> dict[str, Dataset]:
        return {d.spec.sql_name: d for d in self.datasets}

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(d for d in self.datasets if isinstance(d, Stream))

    def __getitem__(self, path: str) -> Dataset:
        """A dataset by ``layer/family/name``. Raises ``QuantLakeError`` naming what there is."""
        if path not in self.by_path:
            raise QuantLakeError(f"there is no dataset {path!r}; there are {', '.join(self.by_path)}")
        return self.by_path[path]

    def stream(self, name: str) -> Stream:
        """A stream by ``family/name``, with or without ``raw/``. Raises ``QuantLakeError`` naming what there is."""
        found = self.by_path.get(name if name.startswith("raw/") else f"raw/{name}")
        if not isinstance(found, Stream):
            known = ", ".join(s.path.removeprefix("raw/") for s in self.streams)
            raise QuantLakeError(f"there is no stream {name!r}; there are {known}")
        return found

    def downstream(self, of: Dataset) -> set[str]:
        """Paths of everything whose dates a dataset makes, directly or not; not of what only looks it up."""
        found = {of.path}
        for dataset in self.datasets:
            if any(i.dataset.path in found for i in dataset.reads if i.makes != "none"):
                found.add(dataset.path)
        return found - {of.path}

    def roots(self, of: Dataset) -> set[Stream]:
        """The streams whose rows make a dataset's dates in the end."""
        if isinstance(of, Stream):
            return {of}
        return {root for i in of.reads if i.makes != "none" for root in self.roots(i.dataset)}


def discover(extra: Iterable[str] = ()) -> Catalog:
    """All datasets: QuantLake's own, those of ``extra`` (package names or folders) and of the entry points ``quantlake.datasets``.

    Raises ``QuantLakeError`` if a module fails to import, or naming both files if two define one key.
    """
    from importlib.metadata import entry_points

    places = ["quantlake.datasets", *extra, *(e.value for e in entry_points(group="quantlake.datasets"))]
    found: dict[str, Dataset] = {}
    taken: dict[str, Dataset] = {}  # SQL names, which are tables' too, and topics
    for module in (m for place in places for m in _modules(place)):
        for value in vars(module).values():
            if not isinstance(value, Dataset) or value.module != module.__name__ or found.get(value.path) is value:
                continue
            if value.path in found:
                other = sys.modules[found[value.path].module].__file__
                raise QuantLakeError(f"two datasets are {value.path}: {other} and {module.__file__}; rename one of the files")
            found[value.path] = value
            views = [f"table {value.spec.sql_name}_{view}" for view in value.views_besides]
            topic = [f"topic {value.topic}"] if isinstance(value, Stream) else []
            for name in (f"table {value.spec.sql_name}", *views, *topic):
                if name in taken:
                    both = " and ".join(str(sys.modules[d.module].__file__) for d in (taken[name], value))
                    raise QuantLakeError(f"{taken[name].path} and {value.path} would share the {name}: {both}; rename one")
                taken[name] = value
    return Catalog(tuple(_ordered(found)))


def _modules(place: str) -> Iterator[ModuleType]:
    if Path(place).is_dir():
        yield from _folder_modules(Path(place).resolve())
        return
    package = _import(place, place)
    # without onerror a package whose own import fails is skipped without a word
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda name: _reraise(name, place)):
        if not info.ispkg:
            yield _import(info.name, place)


def _folder_modules(folder: Path) -> Iterator[ModuleType]:
    """The modules ``family/name.py`` of a plain folder, as a package, so that they may import one another relatively."""
    name = f"quantlake_datasets_{folder.name}"
    if name in sys.modules and sys.modules[name].__path__ != [str(folder)]:  # another folder of this name is loaded
        name += f"_{zlib.crc32(str(folder).encode()):08x}"
    families = sorted(p for p in folder.iterdir() if p.is_dir() and p.name.isidentifier() and not p.name.startswith("_"))
    for path, package in ((folder, name), *((family, f"{name}.{family.name}") for family in families)):
        if package not in sys.modules:
            sys.modules[package] = ModuleType(package)
            sys.modules[package].__path__ = [str(path)]
    for family in families:
        for file in sorted(family.glob("*.py")):
            if not file.name.startswith("_"):
                yield _import(f"{name}.{family.name}.{file.stem}", str(folder))


def _import(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception:
        _reraise(name, place)


def _reraise(name: str, place: str) -> NoReturn:
    """The exception being handled, as ours naming the module."""
    error = sys.exc_info()[1]
    if isinstance(error, QuantLakeError):
        raise error
    raise QuantLakeError(f"datasets of {place!r}: {name} failed to import: {type(error).__name__}: {error}") from error


def _ordered(found: dict[str, Dataset]) -> list[Dataset]:
    """Inputs first; by layer, then path, so that the order never depends on the file system."""
    done: dict[str, Dataset] = {}

    def visit(dataset: Dataset) -> None:
        for i in dataset.inputs:
            if found.get(i.path) is not i:
                raise QuantLakeError(f"{dataset.path} is built from {i.path}, which is in no dataset folder that is loaded")
            visit(i)
        done.setdefault(dataset.path, dataset)

    for path in sorted(found):
        visit(found[path])
    for dataset in found.values():
        if dataset.stands and not isinstance(found.get(dataset.stands.by), Table):
            raise QuantLakeError(f"the rows of {dataset.path} stand by {dataset.stands.by}, which is no curated table that is loaded")
    return list(done.values())
